// A real Docker Engine for one test file or bench, in the network and mount namespaces that the test's process has made its own (node.ts),
// with an image that is made here. Nothing is pulled, and nothing of it is left.
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { umount2 } from '../../../src/native/libc.ts';
import { MNT_DETACH } from '../../../src/native/constants.ts';
import { findProgram } from '../../support/requirements.ts';

/** Who waits this long waits for ever. */
const PATIENCE_MS = 120_000;
const CGROUPS = '/sys/fs/cgroup';
/** Sleeps until it is asked to stop. */
const IDLE = '["/bin/sh","-c","trap exit TERM; while :; do sleep 1 & wait $!; done"]';

export interface Docker {
  /** Of its API. */
  readonly socket: string;
  /** `docker` with these words; what it prints. Rejects with what it complains of. */
  run(...words: readonly string[]): Promise<string>;
  /** Starts a container of the image `box`: its id. */
  start(...words: readonly string[]): Promise<string>;
  /** Process id of a container's first process; 0 when it does not run. */
  pidOf(container: string): Promise<number>;
  /** Process id of the engine. */
  pid(): number;
  /** Ends the engine and leaves the containers as they are. */
  kill(): Promise<void>;
  /** Starts it again; `keeping` false: as Docker does by default, without the containers that ran when it was killed. */
  restart(keeping?: boolean): Promise<void>;
}

/** One that is not started yet. `clean` ends it, its containers too, and may be called at any time. */
export function makeDocker(): { readonly start: () => Promise<Docker>; readonly clean: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-docker-'));
  const cgroup = `vipmesh-test-${process.pid}`;
  const socket = join(folder, 'docker.sock');
  let engine: ChildProcess | undefined;
  const clean = () => {
    engine?.kill('SIGKILL');
    endAll(cgroup, folder);
    removeAll(cgroup, folder);
  };
  const run = (...words: readonly string[]) => docker(socket, words);
  const restart = async (keeping = true) => {
    engine = launch(folder, socket, cgroup, keeping);
    await answering(engine, socket, folder);
  };
  const kill = async () => {
    const ended = engine?.exitCode === null && engine.signalCode === null ? once(engine, 'exit') : undefined;
    engine?.kill('SIGKILL');
    await ended;
    // Its containerd goes by itself, a little later, and would be in the next one's way.
    await until(() => containerdOf(folder).length === 0);
    // The next one would take it for alive as long as nobody has reaped it.
    rmSync(join(folder, 'exec/containerd/containerd.pid'), { force: true });
  };
  const start = async (): Promise<Docker> => {
    await restart();
    makeImage(folder);
    await run('import', '-c', `CMD ${IDLE}`, join(folder, 'box.tar'), 'box');
    return {
      socket,
      run,
      start: async (...words) => (await run('run', '-d', ...words)).trim(),
      pidOf: async (container) => Number((await run('inspect', '-f', '{{.State.Pid}}', container)).trim()),
      pid: () => engine?.pid ?? 0,
      kill,
      restart,
    };
  };
  return { start, clean };
}

function launch(folder: string, socket: string, cgroup: string, keeping: boolean): ChildProcess {
  const log = openSync(join(folder, 'log'), 'a');
  const words = [
    ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec'), '--pidfile', join(folder, 'pid')],
    ...['-H', `unix://${socket}`, '--cgroup-parent', `/${cgroup}`, '--exec-opt', 'native.cgroupdriver=cgroupfs'],
    // A question to it is refused at once: nobody listens there, and there is no way outside.
    ...['--dns', '127.0.0.1', '--storage-driver', 'vfs'],
    ...(keeping ? ['--live-restore'] : []),
  ];
  const path = `${process.env.PATH}:/usr/sbin:/sbin`;
  rmSync(join(folder, 'pid'), { force: true });
  return spawn('setpriv', ['--pdeathsig', 'KILL', findProgram('dockerd') ?? 'dockerd', ...words], {
    stdio: ['ignore', log, log],
    env: { ...process.env, PATH: path },
  });
}

async function answering(engine: ChildProcess, socket: string, folder: string): Promise<void> {
  const log = () => readFileSync(join(folder, 'log'), 'utf8').slice(-4000);
  await until(async () => {
    if (engine.exitCode !== null) throw new Error(`dockerd has ended: ${log()}`);
    return (await docker(socket, ['version']).catch(() => '')) !== '';
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${log()}`);
  });
}

function docker(socket: string, words: readonly string[]): Promise<string> {
  // Debian's, where a machine has another one before it in its path.
  const program = ['/usr/bin/docker'].find((one) => existsSync(one)) ?? 'docker';
  return new Promise((resolve, reject) => {
    execFile(program, ['-H', `unix://${socket}`, ...words], { timeout: PATIENCE_MS }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`docker ${words.join(' ')}: ${stderr.trim() || error.message}`));
    });
  });
}

/** A file system with busybox and every name that it goes by, and `/www` with nothing in it. */
function makeImage(folder: string): void {
  const root = join(folder, 'box');
  for (const one of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'www']) mkdirSync(join(root, one), { recursive: true });
  const busybox = findProgram('busybox') ?? '/bin/busybox';
  cpSync(busybox, join(root, 'bin/busybox'), { dereference: true });
  const names = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n');
  for (const name of names) if (name !== '' && name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  execFileSync('tar', ['-C', root, '-cf', join(folder, 'box.tar'), '.']);
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error('the Docker Engine does not get there');
    await pause(50);
  }
}

function containerdOf(folder: string): readonly number[] {
  return processesWith(join(folder, 'exec', 'containerd'))
    .filter(([, words]) => !words.includes('shim'))
    .map(([pid]) => pid);
}

/** Those whose words name a path of this engine, as nobody else's do. */
function processesWith(path: string): readonly (readonly [number, string])[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ');
      return words.includes(path) ? [[Number(name), words] as const] : [];
    } catch {
      return [];
    }
  });
}

/** Containers, which outlive a killed engine, then what is left of the engine. */
function endAll(cgroup: string, folder: string): void {
  const kill = (pid: number) => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };
  for (let turn = 0; turn < 50; turn++) {
    const left = [...processesIn(join(CGROUPS, 'pids', cgroup)), ...processesIn(join(CGROUPS, cgroup))];
    const orphans = processesWith(`${folder}/`).map(([pid]) => pid);
    if (left.length + orphans.length === 0) return;
    for (const pid of [...left, ...orphans]) kill(pid);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
}

function processesIn(path: string): readonly number[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('cgroup.procs'))
    .flatMap((name) => readFileSync(join(path, name), 'utf8').split('\n').filter(Boolean).map(Number));
}

function removeAll(cgroup: string, folder: string): void {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of mounted.reverse()) umount2(path, MNT_DETACH);
  const hierarchies = existsSync(CGROUPS) ? ['', ...readdirSync(CGROUPS)] : [];
  for (const one of hierarchies) removeGroups(join(CGROUPS, one, cgroup));
  rmSync(folder, { recursive: true, force: true });
}

function removeGroups(path: string): void {
  if (!existsSync(path)) return;
  try {
    for (const one of readdirSync(path, { withFileTypes: true }))
      if (one.isDirectory()) removeGroups(join(path, one.name));
    rmdirSync(path);
  } catch {
    // A process that has just been killed is still in it; the group is empty all the same.
  }
}
