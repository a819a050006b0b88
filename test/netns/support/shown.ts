// A command of the program that says what to try, as somebody in a second terminal meets it.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { endWithProcess, type Outcome, PROGRAM } from '../../support/agent.ts';
import { kill } from './tasks.ts';

/** Where package.json is, in which `npx vipmesh` is this program. */
const REPOSITORY = dirname(dirname(dirname(fileURLToPath(new URL('../../src/main.js', import.meta.url)))));
/** Holds `vipmesh`, as a package would install it. */
const BIN = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
writeFileSync(join(BIN, 'vipmesh'), `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`, { mode: 0o755 });
t.teardown(() => rmSync(BIN, { recursive: true }));
/** Who waits this long waits for ever. */
const PATIENCE_MS = 120_000;

export interface Shown {
  readonly process: ChildProcess;
  /** What it has said so far. */
  readonly text: () => string;
  /** Resolves with all that it has said when that fits. Rejects when it ends before. */
  says(what: RegExp): Promise<string>;
  /** Resolves with its exit code, when a signal has ended it: after that one is sent. */
  stop(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts `vipmesh` with these words, in a session of its own. Ends with the test. */
export function startShown(words: readonly string[], through: readonly string[] = []): Shown {
  const [program = '', ...rest] = [...through, process.execPath, PROGRAM, ...words];
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], cwd: REPOSITORY, detached: true });
  let said = '';
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      said += String(data);
      for (const listener of listeners) listener();
    });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  endWithProcess(() => child.kill('SIGKILL'));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    process: child,
    text: () => said,
    says: (what) => {
      const fits = new Promise<string>((resolve) => {
        const look = () => what.test(said) && resolve(said);
        listeners.add(look);
        look();
      });
      const over = ended.then((code) => Promise.reject(new Error(`it ended with ${code}: ${said}`)));
      over.catch(() => undefined);
      const late = new Promise<never>((_, reject) => {
        setTimeout(() => reject(new Error(`it did not say ${what}: ${said}`)), PATIENCE_MS).unref();
      });
      return Promise.race([fits, over, late]);
    },
    stop: (signal) => {
      child.kill(signal);
      return ended;
    },
  };
}

/** The command lines that are shown, two spaces before each, without their remarks. */
export function commandsIn(text: string): readonly string[] {
  return text.split('\n').flatMap((line) => /^ {2}(\S.*?)(?: +# .*)?$/.exec(line)?.[1] ?? []);
}

/** What a shell makes of a command line, where the reader would type it. The program is in its PATH. */
export function typed(line: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, PATH: `${BIN}:${process.env.PATH ?? ''}` };
    execFile('sh', ['-c', line], { cwd: REPOSITORY, env, timeout: PATIENCE_MS }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
  });
}

/** Processes that got this setting from the one that started them. */
export function inheritorsOf(name: string, value: string): readonly number[] {
  return readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const settings = readFileSync(`/proc/${entry}/environ`, 'utf8').split('\0');
      return settings.includes(`${name}=${value}`) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

/** kill -9, for those that are still there when a test has failed. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) kill(pid, 'SIGKILL');
}
