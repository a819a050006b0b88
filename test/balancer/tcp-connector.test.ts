import t from 'tap';
import { SO_KEEPALIVE, SOL_SOCKET } from '../../src/native/constants.ts';
import { ECONNRESET, errno } from '../../src/native/errno.ts';
import { type Fd, getsockopt, recv } from '../../src/native/libc.ts';
import { refusingPort } from '../support/ports.ts';
import { TcpBench } from '../support/tcp-bench.ts';

/** Short, since it is waited for; long enough for one that listens to be connected to on a machine that is busy. */
const CONNECT_TIMEOUT_MS = 500;
/** Nobody waits for this one. */
const LONG_MS = 100_000;
/** Connections that are not older are short ones. */
const YOUNG_MS = 1000;

t.test('T17: no timer runs for a connection that is established, so it may be idle for ever', async (t) => {
  const bench = new TcpBench();
  bench.pair(bench.listener());
  bench.settle();
  t.equal(bench.proxy.connectionCount, 1);
  t.equal(bench.loop.timerCount, 0);
  bench.destroy();
});

/** A port whose queue is full: the kernel drops further SYNs, as a black-holed path does. */
function silentPort(bench: TcpBench): number {
  const { port } = bench.listener(0);
  for (let i = 0; i < 3; i++) bench.dial(port);
  return port;
}

t.test('an endpoint that does not answer is given up in time, and the next one tried', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const server = bench.listener();
  bench.endpoints(silentPort(bench), server.port);
  bench.dial();
  bench.until(() => bench.loop.timerCount > 0);
  t.equal(bench.counters.endpoint(0).active, 1);
  bench.until(() => bench.counters.endpoint(1).total === 1);
  t.same([bench.counters.endpoint(0).failures, bench.counters.endpoint(0).active], [1, 0]);
  t.ok(bench.accept(server.fd) >= 0);
  bench.endpoints(server.port);
  bench.until(() => bench.loop.timerCount === 0);
  bench.destroy();
});

t.test('when none answers the client is reset, after one attempt each', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
  bench.endpoints(silentPort(bench), refusingPort(), silentPort(bench));
  const client = bench.dial();
  bench.until(() => bench.counters.frontend(0).failed === 1);
  bench.settle();
  t.same(
    [0, 1, 2].map((slot) => bench.counters.endpoint(slot).failures),
    [1, 1, 1],
  );
  t.equal(heard(client), -ECONNRESET);
  bench.endpoints();
  bench.until(() => bench.loop.timerCount === 0);
  bench.destroy();
});

t.test(
  'M2: while there is another endpoint none is waited for long, the last one as long as it may take',
  async (t) => {
    const bench = new TcpBench({ connectTimeoutMs: LONG_MS });
    bench.endpoints(silentPort(bench), bench.listener().port);
    bench.dial();
    bench.until(() => bench.counters.endpoint(1).total === 1);
    t.equal(bench.counters.endpoint(0).failures, 1);
    bench.endpoints(silentPort(bench));
    bench.dial();
    let isLate = false;
    bench.loop.setTimer(2500, () => {
      isLate = true;
    });
    bench.until(() => isLate);
    t.same([bench.counters.endpoint(0).active, bench.counters.endpoint(0).failures], [1, 1]);
    bench.destroy();
  },
);

t.test('who waits for an endpoint that leaves is led to another at once', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: LONG_MS });
  const [silent, server] = [silentPort(bench), bench.listener()];
  bench.endpoints(silent);
  bench.dial();
  bench.until(() => bench.counters.endpoint(0).active === 1);
  bench.endpoints();
  bench.settle();
  t.equal(bench.counters.endpoint(0).active, 1, 'where there is no other, it may still answer');
  bench.endpoints(silent);
  bench.endpoints(undefined, server.port);
  bench.until(() => bench.counters.endpoint(1).total === 1);
  t.ok(bench.accept(server.fd) >= 0);
  t.same([bench.counters.endpoint(0).failures, bench.counters.endpoint(0).active], [0, 0]);
  bench.until(() => bench.loop.timerCount === 0);
  bench.destroy();
});

t.test('a client that goes away while its endpoint is being connected to leaves nothing behind', async (t) => {
  const bench = new TcpBench();
  bench.endpoints(silentPort(bench));
  const client = bench.dial();
  bench.until(() => bench.counters.endpoint(0).active === 1);
  bench.reset(client);
  bench.until(() => bench.proxy.connectionCount === 0);
  bench.settle();
  t.same([bench.counters.endpoint(0).active, bench.counters.frontend(0).active, bench.loop.timerCount], [0, 0, 0]);
  bench.destroy();
});

t.test('endpoints that are replaced while others are tried are not tried twice', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const server = bench.listener();
  bench.endpoints(silentPort(bench));
  bench.dial();
  bench.until(() => bench.counters.endpoint(0).active === 1);
  bench.endpoints(refusingPort(), server.port);
  bench.until(() => bench.counters.endpoint(1).total === 1);
  t.equal(bench.counters.endpoint(0).failures, 1);
  bench.destroy();
});

t.test('both sides of a connection that grows old are kept alive by the kernel', async (t) => {
  const bench = new TcpBench();
  const startedAt = performance.now();
  const { client } = bench.pair(bench.listener());
  t.ok(
    // Unless the machine stood still meanwhile.
    bench.loop.now() - startedAt >= YOUNG_MS || bench.proxySockets().some((fd) => !isKeptAlive(fd)),
    'short connections are spared the call',
  );
  bench.until(() => bench.proxySockets().every(isKeptAlive));
  t.equal(bench.proxySockets().length, 2);
  t.notOk(isKeptAlive(client), 'the test looked at the right ones');
  bench.destroy();
});

/** What a client hears: how many bytes, or -errno. */
function heard(fd: Fd): number {
  const length = recv(fd, Buffer.alloc(1), 1, 0);
  return length < 0 ? -errno() : length;
}

function isKeptAlive(fd: number): boolean {
  const value = new Int32Array(1);
  getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, value, new Uint32Array([4]));
  return value[0] === 1;
}
