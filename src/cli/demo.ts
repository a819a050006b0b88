// `npm start`: real servers behind names, VIPs and a published port, and what to try. For root that is three nodes and an overlay
// network, for an ordinary user one node and a `local` network.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createClient, socketOf } from '../api/client.ts';
import { OneNode } from './demo/one-node.ts';
import { install } from './demo/packages.ts';
import type { Show, Stage } from './demo/stage.ts';
import { ThreeNodes } from './demo/three-nodes.ts';
import { type LabMachine, needPrograms } from './lab/world.ts';
import { CliError, localCommand, type Shell } from './shell.ts';

/** Program → Debian package. */
const PACKAGES = { postgres: 'postgresql', dig: 'bind9-dnsutils', curl: 'curl' };
const LAB_PACKAGES = { ip: 'iproute2', nsenter: 'util-linux', etcd: 'etcd-server' };
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function demoCommand(shell: Shell, machine: LabMachine): Command {
  return localCommand('demo', 'start real servers behind names, VIPs and a published port, and say what to try', [
    'vipmesh demo',
    'vipmesh demo --host unix:///tmp/demo.sock',
  ])
    .option(
      '-H, --host <SOCKET>',
      'API socket of the agent that is started, which is alone then (default: $VIPMESH_HOST)',
    )
    .addHelpText(
      'after',
      '\nAs root it is a lab of three nodes, which needs etcd; otherwise, or with --host, it is one node.',
    )
    .action(async (_options: object, command: Command) => {
      const { host } = command.optsWithGlobals<{ readonly host?: string }>();
      const stopping = new AbortController();
      const stop = () => {
        if (!stopping.signal.aborted) shell.out('\nStopping ...\n');
        stopping.abort();
      };
      for (const signal of SIGNALS) process.on(signal, stop);
      const folder = makeFolder();
      const asRoot = process.getuid?.() === 0;
      const stage: Stage = { asRoot, folder, stop: stopping.signal, out: (text) => shell.out(text) };
      try {
        shell.fail(await perform(stage, choose(stage, { shell, machine, host })));
      } finally {
        rmSync(folder, { recursive: true, force: true });
        for (const signal of SIGNALS) process.off(signal, stop);
      }
    });
}

/** What a demo that was killed has left goes first. */
function makeFolder(): string {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^vipmesh-demo-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const folder = join(tmpdir(), name);
    if (lstatSync(folder).uid === process.getuid?.()) rmSync(folder, { recursive: true, force: true });
  }
  const folder = mkdtempSync(join(tmpdir(), `vipmesh-demo-${process.pid}-`));
  // Other users (PostgreSQL's) have to get at their part of it.
  chmodSync(folder, 0o755);
  return folder;
}

/** Resolves with the exit code when the user has had enough of it, or it has ended by itself, and nothing is left of it. */
async function perform(stage: Stage, show: Show): Promise<number> {
  // What the demo waits for, signals and programs that were let go, does not keep a process alive.
  const awake = setInterval(() => undefined, 60_000);
  try {
    const { ended } = await show.begin();
    return await Promise.race([ended, aborted(stage.stop)]);
  } catch (error) {
    if (stage.stop.aborted) return 0;
    throw error;
  } finally {
    await show.end();
    clearInterval(awake);
  }
}

interface Choice {
  readonly shell: Shell;
  readonly machine: LabMachine;
  readonly host: string | undefined;
}

function choose(stage: Stage, { shell, machine, host }: Choice): Show {
  const own = host ?? shell.env.VIPMESH_HOST;
  const ownSocket = own !== undefined && own !== '';
  const client = createClient(socketOf(host, shell.env));
  const oneNode = (driver: 'overlay' | 'local') =>
    new OneNode(stage, { client, ownSocket: host !== undefined, driver });
  if (!stage.asRoot) return oneNode('local');
  install(stage, { ...PACKAGES, ...(ownSocket ? {} : LAB_PACKAGES) });
  if (!mayMakeNamespaces()) {
    stage.out(
      'This root may make no network namespaces (in a container, start that with --privileged), so this is the demo of one node.\n',
    );
    return oneNode('local');
  }
  if (ownSocket) return oneNode('overlay');
  const missing = whatLabsMiss();
  if (missing === undefined) return new ThreeNodes(stage, { machine, env: shell.env, stop: stage.stop });
  stage.out(`The demo of three nodes is not possible: ${missing}. This is the demo of one node.\n`);
  return oneNode('overlay');
}

function whatLabsMiss(): string | undefined {
  try {
    needPrograms();
    return undefined;
  } catch (error) {
    if (error instanceof CliError) return error.message;
    throw error;
  }
}

function mayMakeNamespaces(): boolean {
  return spawnSync('unshare', ['--net', '--mount', 'true'], { stdio: 'ignore' }).status === 0;
}

function aborted(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(0);
    else signal.addEventListener('abort', () => resolve(0), { once: true });
  });
}
