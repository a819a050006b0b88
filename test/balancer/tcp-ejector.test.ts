// Passive health, with real sockets: what clients meet while endpoints fail and come back.
import t from 'tap';
import { accept4, close, type Fd, recv, send } from '../../src/native/libc.ts';
import { listenTcp, resetOnClose } from '../../src/native/stream-socket.ts';
import { refusingPort, unusedPort } from '../support/ports.ts';
import { TcpBench } from '../support/tcp-bench.ts';

const CONNECT_TIMEOUT_MS = 300;

/** Connects a client through the proxy and returns which endpoint it came to. */
function slotOf(bench: TcpBench): number {
  const before = totals(bench);
  bench.dial();
  bench.until(() => totals(bench).some((total, slot) => total > (before[slot] ?? 0)));
  return totals(bench).findIndex((total, slot) => total > (before[slot] ?? 0));
}

function totals(bench: TcpBench): number[] {
  return [0, 1, 2].map((slot) => bench.counters.endpoint(slot).total);
}

function failures(bench: TcpBench, slot: number): number {
  return bench.counters.endpoint(slot).failures;
}

t.test('M1: one that refuses is tried once, and gets nothing until it is back', async (t) => {
  const bench = new TcpBench();
  const refusing = unusedPort();
  bench.endpoints(bench.listener().port, refusing, bench.listener().port);
  const met = Array.from({ length: 12 }, () => slotOf(bench));
  t.same([...new Set(met)].sort(), [0, 2]);
  t.equal(failures(bench, 1), 1, 'one client had to be sent on');
  t.match(bench.counters.endpoint(1), { ejections: 1, ejected: 1 });
  const shares = [0, 2].map((slot) => met.filter((one) => one === slot).length);
  t.ok(Math.abs((shares[0] ?? 0) - (shares[1] ?? 0)) <= 2, `its share goes to all others: ${shares}`);

  const fd = listenTcp('127.0.0.1', refusing);
  bench.until(() => bench.counters.endpoint(1).ejected === 0);
  while (slotOf(bench) !== 1);
  t.equal(failures(bench, 1), 1);
  close(fd);
  bench.destroy();
});

t.test('M2: one that is silent is given up once, and comes back when the agent itself gets through', async (t) => {
  const bench = new TcpBench({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const silent = bench.listener(0);
  const queued = [0, 1, 2].map(() => bench.dial(silent.port));
  bench.endpoints(bench.listener().port, silent.port, bench.listener().port);
  bench.dial();
  bench.dial();
  bench.until(() => failures(bench, 1) === 1);
  t.match(bench.counters.endpoint(1), { ejections: 1, ejected: 1 });
  t.same([...new Set(Array.from({ length: 9 }, () => slotOf(bench)))].sort(), [0, 2]);

  // The queue is emptied, so that the kernel takes connections again.
  for (const fd of queued) bench.reset(fd);
  bench.until(() => {
    bench.accept(silent.fd);
    return bench.counters.endpoint(1).ejected === 0;
  });
  t.equal(failures(bench, 1), 1, 'no client was used to find out');
  while (slotOf(bench) !== 1);
  bench.destroy();
});

t.test('one that resets three clients before it sends anything gets no more', async (t) => {
  const bench = new TcpBench();
  const resetting = bench.listener();
  const [first, third] = [bench.listener(), bench.listener()];
  bench.endpoints(first.port, resetting.port, third.port);
  for (let k = 0; k < 3; k++) {
    while (slotOf(bench) !== 1);
    resetAccepted(resetting.fd);
    bench.until(() => bench.counters.endpoint(1).active === 0);
    t.equal(bench.counters.endpoint(1).ejected, k === 2 ? 1 : 0, `after ${k + 1}`);
  }
  t.same([...new Set(Array.from({ length: 9 }, () => slotOf(bench)))].sort(), [0, 2]);
  bench.destroy();
});

t.test('an answer in between makes resets a matter of the clients', async (t) => {
  const bench = new TcpBench();
  const moody = bench.listener();
  bench.endpoints(moody.port);
  for (let k = 0; k < 6; k++) {
    const client = bench.dial();
    let served = -1;
    bench.until(() => {
      if (served < 0) served = bench.accept(moody.fd);
      return served >= 0 && bench.counters.endpoint(0).total === k + 1;
    });
    if (k % 3 === 2) {
      send(served, Buffer.from('hello'), 5, 0);
      bench.until(() => recv(client, Buffer.alloc(8), 8, 0x40) === 5);
    }
    bench.reset(served);
    bench.until(() => bench.counters.endpoint(0).active === 0);
  }
  t.match(bench.counters.endpoint(0), { ejections: 0, ejected: 0 });
  bench.destroy();
});

t.test('when more than half fail it is no fault of theirs: all are tried as usual', async (t) => {
  const bench = new TcpBench();
  const healthy = bench.listener();
  bench.endpoints(refusingPort(), refusingPort(), healthy.port);
  for (let k = 0; k < 9; k++) t.equal(slotOf(bench), 2);
  t.match(
    [0, 1].map((slot) => bench.counters.endpoint(slot).ejected),
    [1, 1],
  );
  bench.endpoints(refusingPort(), refusingPort());
  bench.dial();
  bench.until(() => bench.counters.frontend(0).failed === 1);
  t.pass('T7: and when all of them refuse the client is told so');
  bench.destroy();
});

t.test('an endpoint that has gone is forgotten, and its number is judged anew', async (t) => {
  const bench = new TcpBench();
  const server = bench.listener();
  bench.endpoints(server.port, refusingPort());
  while (failures(bench, 1) === 0) slotOf(bench);
  t.equal(bench.counters.endpoint(1).ejected, 1);
  bench.endpoints(server.port);
  bench.until(() => bench.counters.endpoint(1).ejected === 0);
  bench.until(() => bench.loop.timerCount === 0);
  t.pass('nothing is probed any more');
  bench.destroy();
});

function resetAccepted(listener: Fd): void {
  const fd = accept4(listener, null, null, 0);
  resetOnClose(fd);
  close(fd);
}
