// How connections end, and how they do not: whoever leaves has the drain time, and what is open then is reset; what merely changes
// ends nothing.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Agent, PROGRAM, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

const DRAIN = '300ms';
const published = unusedPort();

const STACK = `networks:
  default:
    external: true
    name: lab
services:
`;

/** An agent with a `local` network, on which nobody needs privilege. */
async function startLab(): Promise<Agent> {
  const agent = await startAgent();
  await does(agent, 'network', 'create', '-d', 'local', '--subnet', '127.93.0.0/16', 'lab');
  return agent;
}

/** An echo server, and how often a connection to it was reset. */
async function echoServer(t: Test) {
  const resets = { count: 0 };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => resets.count++);
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { resets, endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** A connection that has been served. Tries again where nobody listens yet. */
async function open(t: Test, port: number, host = '127.0.0.1'): Promise<Socket> {
  for (;;) {
    const socket = connect({ port, host, allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    const answer = await echo(socket, 'hello').catch(() => undefined);
    if (answer === 'hello') return socket;
    socket.destroy();
  }
}

/** Rejects with what ended the connection. */
function echo(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('data', (data) => resolve(String(data)));
    socket.once('error', reject);
    socket.once('end', () => reject(new Error('ended')));
    socket.write(text);
  });
}

/** `ECONNRESET`, or `end`. */
function ending(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    socket.once('end', () => resolve('end'));
  });
}

async function does(agent: Agent, ...words: string[]): Promise<void> {
  const { code, stderr } = await agent.cli(...words);
  if (code !== 0) throw new Error(`vipmesh ${words.join(' ')}: ${stderr}`);
}

function until(isSo: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => (isSo() ? resolve() : setTimeout(look, 10));
    look();
  });
}

t.test('what is open at the end of the drain time is reset, however the endpoint leaves', async (t) => {
  const agent = await startLab();
  const server = await echoServer(t);
  const service = ['--drain-timeout', DRAIN, '--publish', `${published}:80`, '--network', 'lab'];
  const ways: readonly (readonly [string, ...(readonly string[][])])[] = [
    ['drained', ['endpoint', 'drain', 'web', server.endpoint], ['service', 'rm', 'web']],
    ['its node drained', ['node', 'update', '--availability', 'drain', 'self'], ['service', 'rm', 'web']],
    ['removed', ['endpoint', 'rm', 'web', server.endpoint], ['service', 'rm', 'web']],
    ['removed with its service', ['service', 'rm', 'web']],
  ];
  for (const [how, leave, ...afterwards] of ways) {
    await does(agent, 'node', 'update', '--availability', 'active', 'self');
    await does(agent, 'service', 'create', ...service, '--endpoint', server.endpoint, 'web');
    const socket = await open(t, published);
    const ended = ending(socket);
    server.resets.count = 0;
    if (leave !== undefined) await does(agent, ...leave);
    t.equal(await ended, 'ECONNRESET', `${how}: for the client`);
    await until(() => server.resets.count > 0);
    t.equal(server.resets.count, 1, `${how}: for the endpoint`);
    for (const words of afterwards) await does(agent, ...words);
  }

  await t.test('with its stack', async (t) => {
    const file = join(agent.folder.path, 'shop.yaml');
    const deploy = async (services: string) => {
      writeFileSync(file, STACK + services);
      await does(agent, 'stack', 'deploy', '--prune', '-c', file, 'shop');
    };
    const settings = `{ drain: ${DRAIN}, endpoints: ["${server.endpoint}"] }`;
    await deploy(`  one: { ports: ["${published}:80"], x-vipmesh: ${settings} }\n`);
    const ended = ending(await open(t, published));
    await deploy('  two: {}\n');
    t.equal(await ended, 'ECONNRESET');
    await does(agent, 'stack', 'rm', 'shop');
  });

  await t.test('with the command that it is', async (t) => {
    await does(agent, 'service', 'create', ...service, 'web');
    const task = spawnTask(t, agent);
    const ended = ending(await open(t, published));
    task.kill('SIGTERM');
    t.equal(await ended, 'ECONNRESET', 'before the command hears of it, and so not by its end');
    t.same(await once(task, 'exit'), [0, null]);
    await does(agent, 'service', 'rm', 'web');
  });

  await t.test('with the agent', async (t) => {
    await does(agent, 'service', 'create', ...service, '--endpoint', server.endpoint, 'web');
    await agent.stop();
    const next = await startAgent({ folder: agent.folder, args: ['--drain', DRAIN] });
    const ended = ending(await open(t, published));
    server.resets.count = 0;
    void next.stop();
    t.equal(await ended, 'ECONNRESET');
    await until(() => server.resets.count > 0);
    t.equal(server.resets.count, 1);
  });
});

t.test('no update of a service drops a connection that need not drop', async (t) => {
  const agent = await startLab();
  const server = await echoServer(t);
  const [port, second] = [unusedPort(), unusedPort()];
  const { endpoint } = server;
  // Should anything be told to leave, it is reset before the end of the test.
  const flags = ['--drain-timeout', '0s', '--publish', `${port}:80`, '--network', 'lab'];
  await does(agent, 'service', 'create', ...flags, '--endpoint', endpoint, '--expose', '80', 'web');
  const [shown] = await agent.json<{ Endpoint: { VirtualIPs: { Addr: string }[] } }[]>('service', 'inspect', 'web');
  const vip = String(shown?.Endpoint.VirtualIPs[0]?.Addr).split('/')[0];
  const kept = [await open(t, port), ...(process.getuid?.() === 0 ? [await open(t, 80, vip)] : [])];
  await does(agent, 'network', 'create', '-d', 'local', 'more');
  const changes: readonly (readonly string[])[] = [
    ['--label-add', 'a=b'],
    ['--publish-add', `${second}:80`],
    ['--publish-add', `${second}:80/udp`],
    ['--replicas', '7'],
    ['--balance', 'least-connections', '--affinity', '10m', '--local-first'],
    ['--balance', 'source-hash', '--affinity', 'off'],
    ['--proxy-protocol', 'v2'],
    ['--proxy-protocol', 'off'],
    ['--network-add', 'name=more,alias=web2'],
    ['--network-rm', 'more'],
    ['--dns-ttl', '30s'],
    ['--on-unhealthy', 'close'],
    ['--no-healthcheck'],
    ['--publish-rm', `${second}:80/udp`, '--label-rm', 'a'],
    ['--publish-rm', '80'],
  ];
  for (const words of changes) {
    await does(agent, 'service', 'update', ...words, 'web');
    for (const socket of kept) t.equal(await echo(socket, words.join(' ')), words.join(' '));
  }
  await does(agent, 'service', 'rollback', 'web');
  for (const socket of kept) t.equal(await echo(socket, 'rollback'), 'rollback');
  await does(agent, 'service', 'create', '--network', 'lab', 'neighbour');
  await does(agent, 'endpoint', 'add', 'web', `127.0.0.1:${unusedPort()}`);
  for (const socket of kept) t.equal(await echo(socket, 'another endpoint'), 'another endpoint');
  t.equal(server.resets.count, 0);
});

/** A command under `vipmesh run` that echoes, and ends when it is told. */
function spawnTask(t: Test, agent: Agent): ChildProcess {
  const server =
    "require('node:net').createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(process.env.PORT, process.env.VIPMESH_ADDR); process.on('SIGTERM', () => process.exit(0));";
  const words = [PROGRAM, 'run', '--service', 'web', '--', process.execPath, '-e', server];
  const child = spawn(process.execPath, words, { env: { ...process.env, VIPMESH_HOST: agent.folder.socket } });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}
