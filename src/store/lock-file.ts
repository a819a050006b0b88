// One process at a time may write a state directory. LMDB itself would let several in, each with its own idea of the current
// revision, so a file says who is in. A process that was killed leaves it behind: it counts only while its writer lives.
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { StoreError } from './errors.ts';

interface Holder {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: pids come round again, start times (in clock ticks since boot) with them do not. */
  readonly started: string;
  /** /proc/sys/kernel/random/boot_id: after a restart of the machine nobody lives. */
  readonly boot: string;
}

export interface LockFile {
  release(): void;
}

/** Throws StoreError `locked` while another process has the directory. */
export function acquireLock(path: string): LockFile {
  const self = describe(process.pid);
  if (self === undefined) throw new StoreError('no-access', `cannot read /proc/${process.pid}/stat: is /proc mounted?`);
  const text = JSON.stringify(self);
  for (let attempt = 0; attempt < 5; attempt++) {
    if (create(path, text)) return { release: () => release(path, text) };
    const found = read(path);
    if (found === undefined) continue;
    const holder = parse(found);
    if (holder !== undefined && outlives(holder)) throw locked(path, holder.pid);
    takeAway(path, found);
  }
  throw new StoreError(
    'locked',
    `${path} keeps changing: several processes are starting on this state directory at once`,
  );
}

function locked(path: string, pid: number): StoreError {
  const who = pid === process.pid ? 'this process' : `process ${pid}`;
  return new StoreError(
    'locked',
    `${path}: ${who} has this state directory open; stop it first, or choose another directory by --state-dir`,
  );
}

/** A link appears with its content or not at all, so that nobody reads a file half-written. */
function create(path: string, text: string): boolean {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, text, { mode: 0o600 });
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Removes a dead process's file; moved aside first, so that of two starters that found it only one can take it. */
function takeAway(path: string, found: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  const taken = read(aside);
  if (taken !== found && taken !== undefined) create(path, taken);
  rmSync(aside, { force: true });
}

function release(path: string, text: string): void {
  if (read(path) === text) rmSync(path, { force: true });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function parse(text: string): Holder | undefined {
  try {
    const { pid, started, boot } = JSON.parse(text) as Record<string, unknown>;
    if (typeof pid === 'number' && typeof started === 'string' && typeof boot === 'string')
      return { pid, started, boot };
  } catch {
    // Not written by this program, or damaged: nobody who lives wrote it.
  }
  return undefined;
}

/** A process that was just killed takes a moment to be gone; whoever restarts it should not have to know. */
function outlives(holder: Holder): boolean {
  if (holder.pid === process.pid) return lives(holder);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let waited = 0; waited < GRACE_MS && lives(holder); waited += 10) Atomics.wait(pause, 0, 0, 10);
  return lives(holder);
}

const GRACE_MS = 300;

function lives(holder: Holder): boolean {
  const now = describe(holder.pid);
  return now !== undefined && now.started === holder.started && now.boot === holder.boot;
}

function describe(pid: number): Holder | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the program's name in parentheses and may itself hold any character.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const started = fields[19];
  // A zombie has let go of its files.
  if (started === undefined || fields[0] === 'Z') return undefined;
  return { pid, started, boot: read('/proc/sys/kernel/random/boot_id')?.trim() ?? '' };
}
