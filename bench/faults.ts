// `npm run bench:faults`: what failures and changes cost, in labs of real processes. `-- --quick`: a few minutes, printed only.
// Everything runs in namespaces of its own, which end with this process, whatever ends it. See README.md.
import { installPeers } from './install.ts';
import { BenchError } from './processes.ts';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const INSIDE = fileURLToPath(new URL('./faults/inside.js', import.meta.url));
/** A machine of its own: no port, address, process or name of the real one is met or taken. The shell waits for orphans. */
const MACHINE = [
  ...['setpriv', '--pdeathsig', 'KILL'],
  ...['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c'],
  'mount -t tmpfs -o mode=0755 tmpfs /run && mkdir /run/netns && ip link set lo up && "$@"; exit $?',
  'sh',
];
const SYSTEM_PATH = '/usr/sbin:/sbin';
/** The kernel ends the rest of the machine after its first process. */
const REMOVAL = { recursive: true, force: true, maxRetries: 20, retryDelay: 100 } as const;

/** What is missing here; undefined: nothing. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'labs are made of network namespaces, for which this must be root';
  try {
    installPeers(['haproxy', 'etcd-server', 'iproute2', 'nftables'], (text) => process.stdout.write(text));
  } catch (error) {
    if (error instanceof BenchError) return error.message;
    throw error;
  }
  return undefined;
}

/** Resolves with the exit status. */
async function runInside(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-faults-'));
  process.on('exit', () => rmSync(folder, REMOVAL));
  const [program = '', ...words] = [...MACHINE, process.execPath, INSIDE, ...process.argv.slice(2)];
  const env = { ...process.env, TMPDIR: folder, PATH: `${process.env.PATH}:${SYSTEM_PATH}` };
  const child = spawn(program, words, { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill('SIGKILL'));
  const [code] = await once(child, 'exit');
  return code ?? 1;
}

const missing = obstacle();
if (missing !== undefined) process.stderr.write(`${missing}\n`);
process.exit(missing === undefined ? await runInside() : 1);
