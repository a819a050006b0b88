import fc from 'fast-check';
import t from 'tap';
import { SHUT_WR } from '../../src/native/constants.ts';
import { ECONNRESET, errno } from '../../src/native/errno.ts';
import { type Fd, recv, shutdown } from '../../src/native/libc.ts';
import { drain, fill, TcpBench } from '../support/tcp-bench.ts';

for (const [writer, piece] of [
  ['endpoint', Number.POSITIVE_INFINITY],
  ['client', Number.POSITIVE_INFINITY],
  ['endpoint', 9999],
] as const) {
  t.test(
    `T3: the ${writer} writes all that fits, at most ${piece} bytes at once, and closes; the other later gets all of it, then the end`,
    async (t) => {
      const bench = new TcpBench();
      const { client, served } = bench.pair(bench.listener());
      const [from, to] = writer === 'client' ? [client, served] : [served, client];
      let written = 0;
      for (let idle = 0; idle < 3; ) {
        const more = fill(from, written, piece);
        written += more;
        idle = more === 0 ? idle + 1 : 0;
        bench.settle();
      }
      t.ok(written > 100_000, `${written} bytes before anybody reads`);
      t.ok(bench.proxy.heldBytes <= 32 * 1024, `of which ${bench.proxy.heldBytes} in the proxy's own memory`);
      t.equal(bench.loop.timerCount, 0);
      bench.end(from);
      bench.settle();
      let read = 0;
      let ended = false;
      bench.until(() => {
        const part = drain(to, read);
        if (!part.intact) throw new Error(`wrong bytes after ${read}`);
        read += part.bytes;
        ended = part.ended;
        return ended;
      });
      t.equal(read, written);
      t.equal(bench.proxy.heldBytes, 0);
      bench.end(to);
      bench.until(() => bench.proxy.connectionCount === 0);
      t.equal(bench.counters.endpoint(0)[writer === 'client' ? 'bytesToEndpoint' : 'bytesToClient'], written);
      bench.destroy();
    },
  );
}

t.test('a slow reader stops its own direction only', async (t) => {
  const bench = new TcpBench();
  const { client, served } = bench.pair(bench.listener());
  for (let written = 0, more = 1; more > 0; written += more) {
    more = fill(served, written);
    bench.settle();
  }
  t.equal(fill(client, 0, 1000), 1000);
  let read = 0;
  bench.until(() => {
    read += drain(served, read).bytes;
    return read === 1000;
  });
  shutdown(client, SHUT_WR);
  bench.until(() => drain(served, read).ended);
  t.equal(bench.proxy.connectionCount, 1);
  bench.destroy();
});

t.test('readers that have stalled cost no memory of ours, and get everything when they go on', async (t) => {
  const bench = new TcpBench();
  const server = bench.listener();
  const pairs = Array.from({ length: 30 }, () => bench.pair(server));
  const written = pairs.map(() => 0);
  for (let more = 1; more > 0; ) {
    more = 0;
    for (const [index, { served }] of pairs.entries()) {
      // In pieces of any size: small reads are what may have to be kept.
      const bytes = fill(
        served,
        written[index] as number,
        1 + ((7919 * (index + 1)) % 20_000) + 64 * (written[index] as number),
      );
      written[index] = (written[index] as number) + bytes;
      more += bytes;
    }
    bench.settle();
  }
  t.ok(
    written.every((bytes) => bytes > 100_000),
    'nobody takes any more',
  );
  t.ok(bench.proxy.heldBytes <= pairs.length * 32 * 1024, `${bench.proxy.heldBytes} bytes are kept`);
  const read = pairs.map(() => 0);
  bench.until(() => {
    for (const [index, { client }] of pairs.entries()) {
      const { bytes, intact } = drain(client, read[index] as number);
      if (!intact) throw new Error(`other bytes after ${read[index]}`);
      read[index] = (read[index] as number) + bytes;
    }
    return read.every((bytes, index) => bytes === written[index]);
  });
  t.equal(bench.proxy.heldBytes, 0);
  bench.destroy();
});

t.test('small and large pieces, interleaved, arrive in order, both ways at once', async (t) => {
  const bench = new TcpBench();
  const { client, served } = bench.pair(bench.listener());
  const sizes = [1, 16_384, 20_479, 20_480, 20_481, 100, 300_000, 7, 65_536, 2_000_000, 3];
  const [up, down] = [
    { from: client, to: served, sent: 0, read: 0, next: 0, left: 0 },
    { from: served, to: client, sent: 0, read: 0, next: 5, left: 0 },
  ];
  const total = 2 * sizes.reduce((sum, size) => sum + size, 0);
  for (const way of [up, down]) way.left = sizes[way.next % sizes.length] as number;
  bench.until(() => {
    bench.loop.again();
    for (const way of [up, down]) {
      if (way.sent < total) {
        const sent = fill(way.from, way.sent, way.left);
        way.sent += sent;
        way.left -= sent;
        if (way.left === 0) way.left = sizes[++way.next % sizes.length] as number;
      }
      const { bytes, intact } = drain(way.to, way.read);
      if (!intact) throw new Error(`wrong bytes after ${way.read}`);
      way.read += bytes;
    }
    return up.read === total && down.read === total;
  });
  t.same([up.read, down.read], [total, total]);
  bench.destroy();
});

t.test('data that came before a reset is passed on before it', async (t) => {
  const bench = new TcpBench();
  const { client, served } = bench.pair(bench.listener());
  fill(served, 0, 10);
  bench.settle();
  t.same(drain(client, 0), { bytes: 10, ended: false, intact: true });
  // Closing with unread data makes the kernel send RST.
  fill(client, 0, 5);
  bench.settle();
  bench.end(served);
  bench.until(() => bench.proxy.connectionCount === 0);
  const length = recv(client, Buffer.alloc(1), 1, 0);
  t.equal(length < 0 ? errno() : length, ECONNRESET);
  bench.destroy();
});

t.test('what a client said, and its end, wait for the endpoint', async (t) => {
  const bench = new TcpBench();
  const server = bench.listener();
  bench.endpoints(server.port);
  const client = bench.dial();
  fill(client, 0, 20_000);
  shutdown(client, SHUT_WR);
  let served = -1;
  let read = 0;
  bench.until(() => {
    if (served < 0) served = bench.accept(server.fd);
    if (served < 0) return false;
    const part = drain(served, read);
    read += part.bytes;
    return part.ended;
  });
  t.equal(read, 20_000);
  bench.destroy();
});

/** One direction of a connection. */
interface Way {
  readonly from: Fd;
  readonly to: Fd;
  sent: number;
  read: number;
  ended: boolean;
  sawEnd: boolean;
}

function wayFrom(from: Fd, to: Fd): Way {
  return { from, to, sent: 0, read: 0, ended: false, sawEnd: false };
}

t.test(
  'any order of writing, reading and ending, in any pieces, on many connections: every byte and every end arrives',
  async () => {
    const size = fc.oneof(
      fc.integer({ min: 1, max: 2000 }),
      fc.integer({ min: 16_000, max: 17_000 }),
      fc.constant(500_000),
    );
    const side = fc.boolean();
    const which = fc.nat(2);
    const step = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), which, side, size }),
      fc.record({ kind: fc.constant('write' as const), which, side, size }),
      fc.record({ kind: fc.constant('read' as const), which, side, size }),
      fc.record({ kind: fc.constant('end' as const), which, side }),
      fc.record({ kind: fc.constant('settle' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const bench = new TcpBench();
        const server = bench.listener();
        const pairs = [0, 1, 2].map(() => {
          const { client, served } = bench.pair(server);
          return [wayFrom(client, served), wayFrom(served, client)] as const;
        });
        const take = (way: Way, most: number): void => {
          const part = drain(way.to, way.read, most);
          if (!part.intact) throw new Error(`wrong bytes after ${way.read}`);
          way.read += part.bytes;
          way.sawEnd ||= part.ended;
          if (part.ended && !(way.ended && way.read === way.sent))
            throw new Error('an end that nobody sent, or too early');
        };
        for (const one of steps) {
          if (one.kind === 'settle') {
            bench.settle();
            continue;
          }
          const way = (pairs[one.which] as readonly [Way, Way])[one.side ? 1 : 0];
          if (one.kind === 'read') take(way, one.size);
          else if (way.ended) continue;
          else if (one.kind === 'write') way.sent += fill(way.from, way.sent, one.size);
          else {
            way.ended = true;
            shutdown(way.from, SHUT_WR);
          }
        }
        for (const way of pairs.flat()) {
          if (!way.ended) shutdown(way.from, SHUT_WR);
          way.ended = true;
        }
        let batches = 0;
        bench.until(() => {
          if (++batches > 1_000_000) throw new Error('stuck');
          bench.loop.again();
          for (const way of pairs.flat()) take(way, Number.POSITIVE_INFINITY);
          return pairs.flat().every((way) => way.sawEnd && way.read === way.sent) && bench.proxy.connectionCount === 0;
        });
        const { bytesToClient, bytesToEndpoint } = bench.counters.endpoint(0);
        const sum = (i: 0 | 1): number => pairs.reduce((total, pair) => total + pair[i].sent, 0);
        bench.destroy();
        return bytesToEndpoint === sum(0) && bytesToClient === sum(1) && bench.proxy.heldBytes === 0;
      }),
      { numRuns: 200 },
    );
  },
);
