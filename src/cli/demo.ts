// `npm start`: an agent with real servers behind it, and what to try. Everything is started as a user would start it, by the
// program's own commands, so the demo shows nothing that a user cannot do.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { type ApiClient, createClient, socketOf } from '../api/client.ts';
import { endpointListing, resolution } from '../api/schema.ts';
import { agentStatus } from '../api/status-schema.ts';
import { databaseCommand, install } from './demo-database.ts';

const PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url));
const WEB_SERVER = fileURLToPath(new URL('./demo-server.js', import.meta.url));
const WEB_TASKS = 3;
const WEB_PORT = 8080;
/** A first start may have to wait for a slow disk; after this something is wrong, and the logs say what. */
const READY_TIMEOUT_MS = 30_000;
const POLL_MS = 100;

interface Demo {
  readonly asRoot: boolean;
  /** Holds everything that the demo writes; gone at its end. */
  readonly folder: string;
  readonly client: ApiClient;
  /** The socket is not the one that commands look for by themselves. */
  readonly ownSocket: boolean;
  /** The agent first. */
  readonly children: ChildProcess[];
  readonly out: (text: string) => void;
}

export function demoCommand(out: (text: string) => void, done: (exitCode: number) => void): Command {
  return new Command('demo')
    .description('start an agent with real servers behind it, and say what to try')
    .option('-H, --host <SOCKET>', 'API socket of the agent that is started (default: $VIPMESH_HOST)')
    .addHelpText('after', '\nExamples:\n  vipmesh demo\n  vipmesh demo --host unix:///tmp/demo.sock')
    .action(async (_options: object, command: Command) => {
      const { host } = command.optsWithGlobals<{ readonly host?: string }>();
      const demo: Demo = {
        asRoot: process.getuid?.() === 0,
        folder: mkdtempSync(join(tmpdir(), 'vipmesh-demo-')),
        client: createClient(socketOf(host, process.env)),
        ownSocket: host !== undefined,
        children: [],
        out,
      };
      done(await runDemo(demo));
    });
}

async function runDemo(demo: Demo): Promise<number> {
  // Other users (PostgreSQL's) have to get at their part of it.
  chmodSync(demo.folder, 0o755);
  const stopped = new Promise<number>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(0));
  });
  try {
    return await Promise.race([stopped, startAll(demo).then(endOf)]);
  } catch (error) {
    demo.out(`vipmesh demo: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await stopAll(demo);
  }
}

async function startAll(demo: Demo): Promise<ChildProcess> {
  await refuseOtherAgent(demo);
  if (demo.asRoot) install(demo, { postgres: 'postgresql', dig: 'bind9-dnsutils', curl: 'curl' });
  const database = databaseCommand(demo);
  const port = await freePort(WEB_PORT);
  const stack = join(demo.folder, 'demo.yaml');
  writeFileSync(stack, stackFile(port, database !== undefined));
  const state = join(demo.folder, 'state');
  const agent = vipmesh(
    demo,
    ['agent', '--stack', `demo=${stack}`, '--socket', demo.client.socket, '--state-dir', state, '--log-level', 'warn'],
    'inherit',
  );
  await until(agent, 'the agent did not become ready', async () => (await status(demo)).State === 'ready');
  // What the tasks say goes to files: a terminal is for what the reader is to try.
  const run = (service: string, command: readonly string[], name: string) =>
    vipmesh(demo, ['run', '--service', service, '--', ...command], openSync(join(demo.folder, `${name}.log`), 'a'));
  for (let slot = 1; slot <= WEB_TASKS; slot++) run('web', [process.execPath, WEB_SERVER], `web.${slot}`);
  if (database !== undefined) run('postgres', database, 'postgres');
  const wanted = database === undefined ? { web: WEB_TASKS } : { web: WEB_TASKS, postgres: 1 };
  await until(agent, 'the tasks did not become healthy', () => allEligible(demo, wanted));
  demo.out(await whatToTry(demo, port, database !== undefined));
  return agent;
}

/** Its answers would be taken for the demo's own, and its services would get the demo's tasks. */
async function refuseOtherAgent(demo: Demo): Promise<void> {
  const other = await status(demo).catch(() => undefined);
  if (other === undefined) return;
  throw new Error(
    `another agent is running on ${demo.client.socket} (pid ${other.PID}); stop it first, or give the demo a socket of its own with --host unix:///tmp/demo.sock`,
  );
}

function stackFile(port: number, withDatabase: boolean): string {
  const database = `  postgres:
    expose: ["5432"]
    x-vipmesh:
      health: { tcp: 5432 }
`;
  return `services:
  web:
    deploy: { replicas: ${WEB_TASKS} }
    ports: ["${port}:8000"]
    x-vipmesh:
      health: { http: / }
${withDatabase ? database : ''}  shell: {}
`;
}

function status(demo: Demo) {
  return demo.client.get('/vipmesh/status', agentStatus);
}

async function allEligible(demo: Demo, wanted: Readonly<Record<string, number>>): Promise<boolean> {
  const endpoints = await demo.client.get('/vipmesh/endpoints', endpointListing.array());
  const ready = (service: string) =>
    endpoints.filter((one) => one.Service === `demo_${service}` && one.Eligible).length;
  return Object.entries(wanted).every(([service, count]) => ready(service) >= count);
}

async function whatToTry(demo: Demo, port: number, withDatabase: boolean): Promise<string> {
  const [listen = '127.0.0.11:53/udp'] = (await status(demo)).DNS.Listen;
  const [host = '', dnsPort = ''] = listen.replace('/udp', '').split(':');
  const vipmesh = demo.ownSocket ? `npx vipmesh -H unix://${demo.client.socket}` : 'npx vipmesh';
  const inside = `${vipmesh} run --service shell -- `;
  const dig = demo.asRoot ? `${inside}dig +short` : `dig +short @${host} -p ${dnsPort}`;
  const address = demo.asRoot ? 'postgres' : await vipOf(demo, 'postgres', withDatabase);
  const user = demo.asRoot ? 'postgres' : userInfo().username;
  const psql = `psql -h ${address} -U ${user} -d postgres -c 'select version()'`;
  const lines = [
    '',
    `web        ${WEB_TASKS} HTTP tasks, published on http://localhost:${port}`,
    withDatabase
      ? `postgres   PostgreSQL, at postgres:5432 ${demo.asRoot ? 'for every container of the network' : `(${address})`}`
      : 'postgres   is left out: PostgreSQL is not installed on this machine',
    '',
    'Try, in another terminal:',
    '',
    `  curl http://localhost:${port}        # again and again: each task in turn`,
    `  npx autocannon -c 64 -d 10 http://localhost:${port}`,
    `  ${dig} web tasks.web`,
    ...(withDatabase ? [`  ${demo.asRoot ? inside : ''}${psql}`] : []),
    `  ${vipmesh} service ls`,
    `  ${vipmesh} service inspect --pretty web`,
    '',
    'ctrl-C stops everything and leaves nothing behind.',
  ];
  return `${lines.join('\n')}\n`;
}

async function vipOf(demo: Demo, service: string, there: boolean): Promise<string> {
  if (!there) return '';
  const found = await demo.client.get('/vipmesh/resolve', resolution, { name: service });
  return found.Answers[0]?.Addresses[0] ?? service;
}

function vipmesh(demo: Demo, words: readonly string[], stderr: 'inherit' | number): ChildProcess {
  const env = { ...process.env, VIPMESH_HOST: `unix://${demo.client.socket}` };
  // In a session of its own: ctrl-C is for the demo alone, which then stops the tasks before the agent.
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    stdio: ['ignore', 'ignore', stderr],
    env,
    detached: true,
  });
  demo.children.push(child);
  return child;
}

/** Asks until the answer is yes. A question that fails is asked again, as long as the agent lives. */
async function until(agent: ChildProcess, otherwise: string, question: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (hasEnded(agent)) throw new Error('the agent has ended; its message is above');
    if (await question().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`${otherwise} within ${READY_TIMEOUT_MS / 1000} s`);
}

/** The first port from `first` on that nobody holds. */
async function freePort(first: number): Promise<number> {
  for (let port = first; port < first + 100; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer().once('error', () => resolve(false));
      server.listen(port, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error(`no port between ${first} and ${first + 99} is free`);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function endOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    if (hasEnded(child)) resolve(child.exitCode ?? 1);
    else child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** Tasks first, so that each leaves cleanly, then the agent. */
async function stopAll(demo: Demo): Promise<void> {
  const [agent, ...tasks] = demo.children;
  for (const group of [tasks, agent === undefined ? [] : [agent]]) {
    for (const child of group) if (!hasEnded(child)) child.kill('SIGTERM');
    await Promise.all(group.map(endOf));
  }
  rmSync(demo.folder, { recursive: true, force: true });
}
