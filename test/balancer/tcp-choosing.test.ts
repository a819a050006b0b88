// Ways of choosing, with real sockets: what clients of a service meet.
import t from 'tap';
import type { Backend } from '../../src/balancer/command.ts';
import type { Fd } from '../../src/native/libc.ts';
import { refusingPort } from '../support/ports.ts';
import { TcpBench } from '../support/tcp-bench.ts';
import { endpoint } from '../support/tcp-rig.ts';

/** Three endpoints, in slots 0 to 2. */
function bench(more: Partial<Backend>, ports?: readonly number[]): TcpBench {
  const bench = new TcpBench();
  const served = ports ?? [bench.listener().port, bench.listener().port, bench.listener().port];
  share(bench, served, more);
  return bench;
}

function share(bench: TcpBench, ports: readonly number[], more: Partial<Backend>): void {
  const endpoints = ports.map((port, slot) => endpoint(slot, port));
  bench.proxy.handle({ kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints, ...more } });
}

function totals(bench: TcpBench): number[] {
  return [0, 1, 2].map((slot) => bench.counters.endpoint(slot).total);
}

/** Connects a client through the proxy, and returns it and which endpoint it came to. */
function dial(bench: TcpBench): { readonly client: Fd; readonly slot: number } {
  const before = totals(bench);
  const client = bench.dial();
  const found = () => totals(bench).findIndex((total, slot) => total > (before[slot] ?? 0));
  bench.until(() => found() >= 0);
  return { client, slot: found() };
}

t.test('T5: 30 connections over two endpoints of weight 1 and 2', async (t) => {
  const one = new TcpBench();
  const endpoints = [1, 2].map((weight, slot) => ({ ...endpoint(slot, one.listener().port), weight }));
  one.proxy.handle({ kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints } });
  for (let i = 0; i < 30; i++) dial(one);
  t.same(totals(one), [10, 20, 0]);
  one.destroy();
});

t.test('T8: least connections: who is stuck gets no more', async (t) => {
  const one = bench({ method: 'least-connections' });
  const first = [dial(one), dial(one), dial(one)];
  t.same(first.map(({ slot }) => slot).sort(), [0, 1, 2]);
  const stuck = first[0]?.slot;
  const isAlone = () => [0, 1, 2].every((slot) => one.counters.endpoint(slot).active === (slot === stuck ? 1 : 0));
  for (const { client, slot } of first) if (slot !== stuck) one.reset(client);
  one.until(isAlone);
  for (let i = 0; i < 6; i++) {
    for (const { client, slot } of [dial(one), dial(one)]) {
      t.not(slot, stuck);
      one.reset(client);
    }
    one.until(isAlone);
  }
  one.destroy();
});

t.test('by source: one client, one endpoint, and another when that refuses', async (t) => {
  const one = bench({ method: 'source-hash' });
  const met = new Set(Array.from({ length: 8 }, () => dial(one).slot));
  t.equal(met.size, 1);
  const [same = -1] = met;
  const ports = [0, 1, 2].map((slot) => (slot === same ? refusingPort() : one.listener().port));
  share(one, ports, { method: 'source-hash' });
  const after = new Set(Array.from({ length: 4 }, () => dial(one).slot));
  t.equal(after.size, 1);
  t.notOk(after.has(same));
  one.destroy();
});

t.test(
  'T9: affinity: 15 connections of a client, one endpoint; when it goes, another, and that one from then on',
  async (t) => {
    const one = bench({ affinityMs: 3_600_000 });
    const met = new Set(Array.from({ length: 15 }, () => dial(one).slot));
    t.equal(met.size, 1);
    const [same = -1] = met;
    const ports = [0, 1, 2].map((slot) => (slot === same ? refusingPort() : one.listener().port));
    share(one, ports, { affinityMs: 3_600_000 });
    const { slot } = dial(one);
    t.not(slot, same);
    share(
      one,
      [0, 1, 2].map(() => one.listener().port),
      { affinityMs: 3_600_000 },
    );
    for (let i = 0; i < 5; i++) t.equal(dial(one).slot, slot);
    one.destroy();
  },
);

t.test('T9: after its time a client is as good as new', async (t) => {
  const one = bench({ affinityMs: 1 });
  // Its time is a second, the shortest that there is, and begins anew with each connection.
  const first = dial(one).slot;
  let isOver = false;
  one.loop.setTimer(2001, () => {
    isOver = true;
  });
  one.until(() => isOver);
  t.equal(dial(one).slot, (first + 1) % 3);
  one.destroy();
});

t.test('local first, with the others when none of them takes it', async (t) => {
  const one = new TcpBench();
  const ports = [one.listener().port, one.listener().port, one.listener().port];
  /** The first two are on this node; those that are not named refuse. */
  const set = (serving: readonly number[]) => {
    const endpoints = ports.map((port, slot) => ({
      ...endpoint(slot, serving.includes(slot) ? port : refusingPort()),
      isPreferred: slot < 2,
    }));
    one.proxy.handle({ kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints } });
  };
  set([0, 1, 2]);
  for (let i = 0; i < 6; i++) dial(one);
  t.same(totals(one), [3, 3, 0]);
  set([2]);
  t.equal(dial(one).slot, 2);
  one.destroy();
});
