// What services allow their connections, with real sockets.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Command } from '../../src/datapath/command.ts';
import type { Limits } from '../../src/model/limits.ts';
import { IPPROTO_TCP, SHUT_WR, TCP_KEEPIDLE } from '../../src/native/constants.ts';
import { EAGAIN, ECONNRESET, errno } from '../../src/native/errno.ts';
import { type Fd, getsockopt, recv, send, shutdown } from '../../src/native/libc.ts';
import { TcpBench } from '../support/tcp-bench.ts';
import { endpoint, ending, TcpRig } from '../support/tcp-rig.ts';

/** Short, since it is waited for. */
const SHORT_MS = 400;
const LONG_MS = 1_000_000;

/** A service with limits in a data plane of its own. */
async function limited(t: Test, workers: number, limits: Limits) {
  const rig = await TcpRig.start(workers);
  const server = await rig.serve((socket) => void socket.pipe(socket));
  const front = await rig.publish(endpoint(0, server));
  const setLimits = async (wanted: Limits) => {
    rig.backend(front.id, [endpoint(0, server)], { limits: wanted });
    await rig.plane.barrier();
  };
  await setLimits(limits);
  const sockets: Socket[] = [];
  t.teardown(() => rig.stop());
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  /** A connection that was served, or what ended it. */
  const open = async (localAddress = '127.0.0.1'): Promise<Socket | string> => {
    const socket = connect({ port: front.port, host: '127.0.0.1', localAddress });
    sockets.push(socket);
    const ended = ending(socket);
    const served = once(socket, 'data').then(() => 'served');
    served.catch(() => undefined);
    socket.write('x');
    const how = await Promise.race([served, ended]);
    return how === 'served' ? socket : how;
  };
  const shown = async (count: number, localAddress?: string) =>
    (await Promise.all(Array.from({ length: count }, () => open(localAddress))))
      .map((one) => (typeof one === 'string' ? one : 'served'))
      .sort();
  const close = async (socket: Socket | undefined) => {
    const { active } = rig.plane.frontendCounters(front.id);
    socket?.destroy();
    await rig.until(() => rig.plane.frontendCounters(front.id).active < active);
  };
  return { rig, front, sockets, setLimits, open, shown, close };
}

t.test('a service has so many connections, over all workers, and who comes beyond is reset', async (t) => {
  const { rig, front, sockets, open, shown, close } = await limited(t, 2, { maxConnections: 5 });
  for (let i = 0; i < 5; i++) t.type(await open(), Object);
  t.same(await shown(3), ['ECONNRESET', 'ECONNRESET', 'ECONNRESET']);
  await rig.until(() => rig.plane.frontendCounters(front.id).active === 5);
  t.match(rig.plane.serviceCounters(front.id), { refusedFull: 3, refusedClient: 0, refused: 0, open: 5 });
  t.equal(rig.plane.endpointCounters(0).total, 5, 'no endpoint hears of them');
  await close(sockets[0]);
  t.same(await shown(1), ['served'], 'there is room again');
  t.same(await shown(1), ['ECONNRESET']);
});

t.test('a client address has so many, and others have theirs', async (t) => {
  const { rig, front, sockets, shown, open, close } = await limited(t, 2, {
    maxConnectionsPerClient: 2,
    maxConnections: 5,
  });
  for (let i = 0; i < 2; i++) t.type(await open(), Object);
  t.same(await shown(2), ['ECONNRESET', 'ECONNRESET']);
  for (let i = 0; i < 2; i++) t.type(await open('127.0.0.2'), Object);
  t.same(await shown(1, '127.0.0.2'), ['ECONNRESET']);
  await close(sockets[0]);
  t.same(await shown(1), ['served']);
  t.same(await shown(1, '127.0.0.3'), ['served'], 'who was refused does not count for the service');
  t.same(await shown(1, '127.0.0.4'), ['ECONNRESET'], 'which is full now');
  t.match(rig.plane.serviceCounters(front.id), { refusedFull: 1, refusedClient: 3 });
});

t.test('a limit that comes later counts what is open, and one that goes limits nobody', async (t) => {
  const { setLimits, open, shown } = await limited(t, 2, {});
  for (let i = 0; i < 3; i++) await open();
  await setLimits({ maxConnections: 4 });
  t.same(await shown(1), ['served']);
  t.same(await shown(1), ['ECONNRESET']);
  await setLimits({ maxConnections: 6 });
  t.type(await open(), Object);
  t.type(await open(), Object);
  t.same(await shown(1), ['ECONNRESET']);
  await setLimits({});
  t.same(await shown(3), ['served', 'served', 'served']);
});

t.test('what a worker had open does not count when it has died', async (t) => {
  const { rig, open, shown } = await limited(t, 1, { maxConnections: 2, maxConnectionsPerClient: 2 });
  for (let i = 0; i < 2; i++) await open();
  t.same(await shown(1), ['ECONNRESET']);
  const replaced = rig.replaced();
  const poison = { id: 77, roundRobinSlot: 77, endpoints: null };
  rig.plane.post({ kind: 'backend-set', backend: poison } as unknown as Command);
  await replaced;
  for (let i = 0; i < 2; i++) t.type(await open(), Object);
  t.same(await shown(1), ['ECONNRESET']);
});

/** Two connections of a service with these limits, the second of which `talk` keeps busy; which ones were reset. */
function quietAndBusy(limits: Limits, talk: (busy: { client: Fd; served: Fd }) => void) {
  for (;;) {
    const bench = new TcpBench();
    bench.settings = { limits };
    const server = bench.listener();
    const quiet = bench.pair(server);
    const busy = bench.pair(server);
    let last = performance.now();
    let longestPauseMs = 0;
    bench.until(() => {
      talk(busy);
      longestPauseMs = Math.max(longestPauseMs, performance.now() - last);
      last = performance.now();
      bench.loop.again();
      return bench.proxy.connectionCount < 2;
    });
    const counts = bench.counters.service(0);
    const found = [quiet, busy].map(({ client, served }) => [heard(client), heard(served)]);
    bench.destroy();
    // When the machine stood still, the other one may have been as quiet.
    if (longestPauseMs < SHORT_MS / 4) return { quiet: found[0], busy: found[1], counts };
  }
}

t.test('idle for too long is reset, on both sides; bytes of one side are enough', async (t) => {
  const ways: readonly (readonly [string, (busy: { client: Fd; served: Fd }) => void])[] = [
    ['the client speaks', ({ client }) => void send(client, Buffer.from('x'), 1, 0)],
    ['the endpoint speaks', ({ served }) => void send(served, Buffer.from('x'), 1, 0)],
  ];
  for (const [name, talk] of ways) {
    const { quiet, busy, counts } = quietAndBusy({ idleTimeoutMs: SHORT_MS }, talk);
    t.same(quiet, [-ECONNRESET, -ECONNRESET], name);
    t.notOk(busy?.includes(-ECONNRESET), name);
    t.match(counts, { endedIdle: 1, endedOld: 0, endedHalfClosed: 0 });
  }
});

t.test('half-closed for too long is reset, unless the other side still sends', async (t) => {
  const bench = new TcpBench();
  bench.settings = { limits: { halfClosedTimeoutMs: SHORT_MS } };
  const server = bench.listener();
  const [whole, byClient, byEndpoint] = [bench.pair(server), bench.pair(server), bench.pair(server)];
  shutdown(byClient.client, SHUT_WR);
  shutdown(byEndpoint.served, SHUT_WR);
  bench.until(() => bench.proxy.connectionCount === 1);
  t.same([heard(byClient.client), heard(byEndpoint.served)], [-ECONNRESET, -ECONNRESET]);
  t.same([heard(whole.client), heard(whole.served)], [-EAGAIN, -EAGAIN]);
  t.match(bench.counters.service(0), { endedIdle: 0, endedOld: 0, endedHalfClosed: 2 });
  bench.destroy();

  let ended: Fd | undefined;
  const { busy, quiet } = quietAndBusy({ halfClosedTimeoutMs: SHORT_MS, maxDurationMs: 3 * SHORT_MS }, (one) => {
    if (ended !== one.client) shutdown(one.client, SHUT_WR);
    ended = one.client;
    send(one.served, Buffer.from('x'), 1, 0);
  });
  t.same([quiet?.[0], busy?.[1]], [-ECONNRESET, 0], 'it has outlived the half-closed timeout by twice as much');
});

t.test('a connection has its time, whatever it does', async (t) => {
  const bench = new TcpBench();
  bench.settings = { limits: { maxDurationMs: SHORT_MS, idleTimeoutMs: LONG_MS } };
  const { client, served } = bench.pair(bench.listener());
  bench.until(() => {
    send(client, Buffer.from('x'), 1, 0);
    send(served, Buffer.from('x'), 1, 0);
    bench.loop.again();
    return bench.proxy.connectionCount === 0;
  });
  t.match(bench.counters.service(0), { endedIdle: 0, endedOld: 1 });
  t.equal(bench.loop.timerCount, 0, 'and then no timer runs');
  bench.destroy();
});

t.test('limits are those that a connection began with', async (t) => {
  const bench = new TcpBench();
  const server = bench.listener();
  const before = bench.pair(server);
  bench.settings = { limits: { idleTimeoutMs: SHORT_MS } };
  const after = bench.pair(server);
  bench.settings = {};
  bench.endpoints(server.port);
  bench.until(() => bench.proxy.connectionCount === 1);
  t.same([heard(before.client), heard(after.client)], [-EAGAIN, -ECONNRESET]);
  bench.destroy();
});

t.test('an endpoint has as long to accept as its service says', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: LONG_MS });
  bench.settings = { limits: { connectTimeoutMs: SHORT_MS } };
  const silent = bench.listener(0);
  for (let i = 0; i < 3; i++) bench.dial(silent.port);
  bench.endpoints(silent.port);
  const client = bench.dial();
  bench.until(() => bench.counters.frontend(0).failed === 1);
  bench.settle();
  t.equal(heard(client), -ECONNRESET);
  bench.endpoints();
  bench.destroy();
});

t.test('connections are kept alive as their service says, on both sides', async (t) => {
  const bench = new TcpBench();
  bench.settings = { limits: { keepAliveMs: 42_000 } };
  bench.pair(bench.listener());
  bench.until(() => bench.proxySockets().every((fd) => keepAliveS(fd) === 42));
  t.equal(bench.proxySockets().length, 2);
  bench.destroy();
});

function keepAliveS(fd: Fd): number | undefined {
  const value = new Int32Array(1);
  getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, value, new Uint32Array([4]));
  return value[0];
}

/** The end of what there is to hear: 0, or -errno. */
function heard(fd: Fd): number {
  for (;;) {
    const length = recv(fd, Buffer.alloc(65_536), 65_536, 0x40);
    if (length < 0) return -errno();
    if (length === 0) return 0;
  }
}
