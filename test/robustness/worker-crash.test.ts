// A bug that ends a worker under load, with all of an agent's rooms around it: it takes its own open connections with it and
// nothing else. Ports, VIPs and names are served by the others at once, and by its successor soon after.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { IpAddress, Subnet } from '../../src/model/address.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Command } from '../../src/datapath/command.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { answers, dig } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';
import { openDescriptors } from '../support/tcp-rig.ts';
import { type MeshWorld, openMeshWorld } from './support/mesh-world.ts';

const SEED = 20_260_841;
const WORKERS = 2;
const CRASHES = 3;
const CLIENTS = 8;
const OPEN_CONNECTIONS = 40;
/** Who waits this long waits for ever; how long it takes is measured elsewhere, on a machine that does nothing else. */
const PATIENCE_MS = 20_000;
const TARGET_PORT = 21_999;

/** An address that is none: a bug of the control plane, as a worker would meet it. */
const POISON: Command = { kind: 'vip-set', network: 4000, address: 'nowhere', backend: 0 };

t.test(`${CRASHES} crashes of a worker under load`, async (t) => {
  const world = await openMeshWorld(t, { workers: WORKERS, privileged: false, random: seededRandom(SEED) });
  const { port, vip, dnsPort } = await publishEcho(t, world);
  const idle = openDescriptors().length;
  for (let crash = 0; crash < CRASHES; crash++) {
    const open = await Promise.all(Array.from({ length: OPEN_CONNECTIONS }, () => dial(port)));
    const load = startLoad(port);
    await load.reached(CLIENTS * 4);
    const before = load.count;

    world.plane.postTo(crash % WORKERS, POISON);
    const [viaPort, viaVip, name] = await Promise.all([
      timed(twice(() => exchange(port, 'port'))),
      timed(twice(() => exchange(TARGET_PORT, 'vip', vip))),
      timed(dig(dnsPort, 'echo')),
    ]);
    for (const [what, { ms }] of Object.entries({ viaPort, viaVip, name }))
      t.ok(ms < PATIENCE_MS, `${what} after ${ms.toFixed(0)} ms`);
    t.same(answers(name.value), [vip]);

    await load.reached(before + CLIENTS * 20);
    const { failed, slowestMs } = await load.stop();
    // Its connections are reset: at most one of each client was open at that moment.
    t.ok(failed <= CLIENTS, `${failed} of ${load.count} were cut short; the slowest took ${slowestMs.toFixed(0)} ms`);
    t.ok(slowestMs < PATIENCE_MS, 'nobody waited longer');
    const kept = (await Promise.all(open.map((socket) => hear(socket, 'still here?').catch(() => undefined)))).filter(
      (word) => word !== undefined,
    );
    t.ok(
      kept.length > 0 && kept.length < OPEN_CONNECTIONS,
      `${kept.length} of ${OPEN_CONNECTIONS} open connections were the other worker's`,
    );
    for (const socket of open) socket.destroy();
    await until(() => openDescriptors().length <= idle);
    t.equal(openDescriptors().length, idle, 'descriptors');
    t.equal(world.complaints.length, 2 * (crash + 1), 'one line for the command, one for the worker');
  }
  await world.close();
});

async function publishEcho(t: Test, { control, mesh, catalog }: MeshWorld) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  await control.createNetwork({
    name: 'mesh',
    driver: 'local',
    subnets: ['127.126.0.0/24' as Subnet],
    ipv6: false,
    internal: false,
    attachable: true,
    labels: {},
    options: {},
  });
  const publishedPort = unusedPort() as PortNumber;
  const targetPort = TARGET_PORT as PortNumber;
  const service = await control.createService({
    name: 'echo',
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: [{ network: 'mesh', aliases: [] }],
    publish: [{ protocol: 'tcp', mode: 'ingress', targetPort, publishedPort, hostAddress: '127.0.0.1' }],
    expose: [],
    endpoints: [{ address: '127.0.0.1' as IpAddress, port: (server.address() as AddressInfo).port }],
    health: 'none',
    drainTimeoutMs: 0,
  });
  const dnsPort = unusedPort();
  mesh.openNodeResolver('127.0.0.11', dnsPort, catalog.snapshot);
  await mesh.settled();
  return { port: publishedPort, vip: service.vips[0]?.address ?? '', dnsPort };
}

/** Clients that connect, are answered and connect again. */
function startLoad(port: number) {
  let count = 0;
  let failed = 0;
  let slowestMs = 0;
  let stopped = false;
  const client = async () => {
    while (!stopped) {
      const from = performance.now();
      await exchange(port, 'load').catch(() => failed++);
      slowestMs = Math.max(slowestMs, performance.now() - from);
      count++;
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, client));
  return {
    get count() {
      return count;
    },
    reached: (wanted: number) => until(() => count >= wanted),
    async stop() {
      stopped = true;
      await clients;
      return { failed, slowestMs };
    },
  };
}

class Cut extends Error {}

/** A connection of its own; resolves with what came back. */
async function exchange(port: number, word: string, host = '127.0.0.1'): Promise<string> {
  const socket = connect({ port, host, allowHalfOpen: true });
  try {
    socket.end(word);
    let heard = '';
    for await (const chunk of socket.setEncoding('utf8')) heard += chunk;
    if (heard === '') throw new Cut();
    if (heard !== word) throw new Error(`${JSON.stringify(word)} came back as ${JSON.stringify(heard)}`);
    return heard;
  } finally {
    socket.destroy();
  }
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' }).setEncoding('utf8');
  socket.on('error', () => {});
  await hear(socket, 'hello');
  return socket;
}

/** Rejects when the connection has ended. */
async function hear(socket: Socket, word: string): Promise<string> {
  if (socket.destroyed || socket.readableEnded) throw new Error('ended');
  const ended = Promise.race([once(socket, 'end'), once(socket, 'close')]).then(() => {
    throw new Error('ended');
  });
  socket.write(word);
  const [heard] = (await Promise.race([once(socket, 'data'), ended])) as [string];
  ended.catch(() => undefined);
  return heard;
}

/** What the worker had accepted before it heard of the command ends with it. A wrong answer is none of that. */
function twice<T>(work: () => Promise<T>): Promise<T> {
  return work().catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNRESET' || error instanceof Cut) return work();
    throw error;
  });
}

async function timed<T>(work: Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const from = performance.now();
  return { value: await work, ms: performance.now() - from };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
