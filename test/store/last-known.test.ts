// The store with a copy of its last known state: what an agent begins with when the store is away, and what it says of it.
import t from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import { HEAD_KEY } from '../../src/store/record.ts';
import type { LastKnownStore } from '../../src/store/last-known.ts';
import type { Revision } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';
import { FakeCluster, FakeLink } from '../support/fake-store.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { openCopy, world, watch, rejects, service, put } from './last-known-world.ts';

for (const [name, wrap] of [
  ['fake', (link: FakeLink) => link],
  ['last known', (link: FakeLink, clock: FakeClock) => openCopy(link, clock, new MemoryDisk())],
] as const) {
  storeContract(name, async (t, keepCommits) => {
    const clock = new FakeClock();
    const cluster = new FakeCluster({ clock, keepCommits });
    let store = wrap(new FakeLink(cluster), clock);
    t.teardown(() => store.close());
    return {
      store,
      advance: (ms) => clock.advance(ms),
      leaseMs: 1000,
      forget: async () => {},
      async reopen() {
        await store.close();
        cluster.restart();
        store = wrap(new FakeLink(cluster), clock);
        return store;
      },
    };
  });
}

t.test('begins with the copy when the store is away, and catches up', async (t) => {
  const w = world();
  w.cluster.commit([put('a', '1'), put('b', '1'), put('c', '1')]);
  const before = w.open();
  const { revision } = await before.store.list('');
  before.store.watch(revision, { onCommit() {}, onGap() {} });
  w.cluster.commit([put('a', 'über'), { key: 'b', value: null }]);
  w.cluster.commit([put('d', '1')]);
  await settle();
  await before.store.close();

  w.cluster.commit([put('e', 'while nobody watched')]);
  await w.clock.advance(5000);
  const now = w.open();
  now.link.cut();
  const listing = now.store.list('');
  await w.clock.advance(699);
  t.equal(now.store.state.servingCopy, false, 'patience');
  await w.clock.advance(1);
  t.same(await listing, {
    revision: 3,
    entries: [
      { key: 'a', value: 'über', revision: 2 },
      { key: 'c', value: '1', revision: 1 },
      { key: 'd', value: '1', revision: 3 },
    ],
  });
  t.match(now.store.state, { servingCopy: true, away: true, copyAgeMs: 5700, lastContactAt: Date.UTC(2026, 0, 1) });
  t.match(now.logged, [
    ['warn', 'store does not answer: serving the last known state', { ageMs: 5700, revision: 3, entries: 3 }],
  ]);
  await rejects(t, w.clock, now.store.list(''), 'unavailable', 'only the first time');
  await rejects(t, w.clock, now.store.commit([put('a', '2')]), 'unavailable');

  const seen = watch(now.store, 3 as Revision);
  await w.clock.advance(60_000);
  t.same([seen.commits, seen.gaps, now.logged.length], [[], 0, 1]);
  now.link.heal();
  await w.clock.advance(4000);
  t.same(seen.commits, [{ revision: 4, writes: [put('e', 'while nobody watched')] }]);
  t.equal(seen.gaps, 0);
  t.match(now.logged.slice(1), [['info', 'store is back', { awayMs: Number }]]);
  t.match(now.store.state, { servingCopy: false, away: false });
  t.notMatch(now.store.state, { copyAgeMs: Number });
  await now.store.close();

  const again = w.open();
  again.link.cut('refused');
  t.match(
    (await again.store.list('')).entries.map(({ key }) => key),
    ['a', 'c', 'd', 'e'],
    'what was caught up is in the copy; a store that refuses is not waited for',
  );
  await again.store.close();
});

t.test('a store that is known to be nowhere is not waited for', async (t) => {
  const w = world();
  const closed = async (store: LastKnownStore) => {
    const closing = store.close();
    await w.clock.advance(3000);
    await closing;
  };
  w.cluster.commit([put('a', '1')]);
  await w.once();
  const absence = Promise.resolve('connection refused: no etcd runs there');
  const now = w.open({ absence });
  now.link.cut();
  t.match(await now.store.list(''), { revision: 1, entries: [{ key: 'a' }] }, 'although no time has passed');
  t.match(now.store.state, { servingCopy: true, reason: await absence });
  await closed(now.store);

  const wrong = w.open({ absence, latency: () => 300 });
  const served = wrong.store.list('');
  await w.clock.advance(0);
  t.match(await served, { revision: 1 });
  await w.clock.advance(2000);
  t.match(wrong.store.state, { servingCopy: false, away: false }, 'it is heard when it comes after all');
  await closed(wrong.store);

  const elsewhere = w.open({ absence, identity: 'etcd://other:2379/vipmesh', latency: () => 300 });
  const listing = elsewhere.store.list('');
  await w.clock.advance(1000);
  t.match(await listing, { revision: 1 }, 'without a copy there is nothing but waiting');
  await closed(elsewhere.store);
});

t.test('the store is asked, and not the copy, when it answers in time', async (t) => {
  const w = world();
  w.cluster.commit([put('a', '1')]);
  await w.once();
  w.cluster.commit([put('a', '2')]);
  const slow = w.open({ latency: () => 300 });
  const listing = slow.store.list('');
  await w.clock.advance(600);
  t.match(await listing, { revision: 2, entries: [{ value: '2' }] });
  t.same([slow.logged, slow.store.problems], [[], []]);
  await slow.store.close();

  const late = w.open({ latency: () => 400 });
  w.cluster.commit([put('a', '3')]);
  const served = late.store.list('');
  await w.clock.advance(700);
  t.match(await served, { revision: 2, entries: [{ value: '2' }] }, 'of the first start');
  await w.clock.advance(1000);
  t.match(
    late.logged.map(([, message]) => message),
    ['store does not answer: serving the last known state', 'store is back'],
    'an answer that comes too late says that it is there',
  );
  const closing = late.store.close();
  await w.clock.advance(1000);
  await closing;
});

t.test('a store that stays away, without a copy', async (t) => {
  const w = world();
  const first = w.open();
  first.link.cut();
  await rejects(
    t,
    w.clock,
    first.store.list(''),
    'unavailable',
    /^store fake: it does not answer; and there is no copy of its last known state, memory\/last-known, either$/,
  );
  await first.store.close();
});

t.test('several watches', async (t) => {
  const w = world();
  const agent = w.open();
  const { revision } = await agent.store.list('');
  const first = agent.store.watch(revision, { onCommit() {}, onGap() {} });
  watch(agent.store, revision);
  w.cluster.commit([put('a', '1')]);
  await settle();
  first.close();
  w.cluster.commit([put('b', '1')]);
  await settle();
  await agent.store.close();
  const next = w.open();
  next.link.cut('refused');
  t.same(await next.store.list(''), w.cluster.list(''));
  w.cluster.commit([put('c', '1')]);
  next.link.heal();
  watch(next.store, w.cluster.revision);
  w.cluster.commit([put('d', '1')]);
  await settle();
  await next.store.close();
  const last = w.open();
  last.link.cut('refused');
  t.match(await last.store.list(''), { revision: 2 }, 'a watch that begins later makes no hole');
  await last.store.close();
});

t.test('a store that was put back to an older state, or is another one', async (t) => {
  const w = world();
  w.cluster.commit([service('a'), put(HEAD_KEY, '1')]);
  const backup = w.cluster.image();
  const first = w.open();
  const catalog = await Catalog.open(first.store, { clock: w.clock });
  for (const name of ['b', 'c']) w.cluster.commit([service(name), put(HEAD_KEY, '1')]);
  await settle();
  catalog.close();
  await first.store.close();

  for (const commits of [0, 5]) {
    w.cluster.restore(backup);
    const agent = w.open();
    agent.link.cut('refused');
    const restarted = await Catalog.open(agent.store, { clock: w.clock });
    t.same([...restarted.snapshot.serviceByName.keys()].sort(), ['a', 'b', 'c'], 'the last known state');
    for (let n = 0; n < commits; n++) w.cluster.commit([service('d')]);
    agent.link.heal();
    await w.clock.advance(2000);
    t.same([...restarted.snapshot.serviceByName.keys()].sort(), commits === 0 ? ['a'] : ['a', 'd']);
    t.match(agent.logged.map(([, message]) => message).slice(1), [
      'store is back',
      'store is older than the last known state: everything is read anew',
    ]);
    w.cluster.commit([service('e')]);
    await w.clock.advance(10);
    t.ok(restarted.snapshot.serviceByName.has('e'), 'and is followed from there');
    restarted.close();
    agent.link.abandon();
    if (commits === 0) {
      w.cluster.restore(backup);
      for (const name of ['b', 'c']) w.cluster.commit([service(name), put(HEAD_KEY, '1')]);
      await w.once();
    }
  }
});

t.test('a store that goes away while the agent runs', async (t) => {
  const w = world();
  const agent = w.open();
  await agent.store.list('');
  agent.link.cut();
  await rejects(t, w.clock, agent.store.get('a'), 'unavailable');
  await rejects(t, w.clock, agent.store.get('b'), 'unavailable');
  t.match(agent.store.state, {
    servingCopy: false,
    away: true,
    reason: /does not answer/,
    lastContactAt: Date.UTC(2026, 0, 1),
  });
  await w.clock.advance(60_000);
  agent.link.heal();
  await w.clock.advance(4000);
  t.match(agent.logged, [
    ['warn', 'store does not answer: going on with what is known', {}],
    ['info', 'store is back', {}],
  ]);
  t.equal(agent.logged.length, 2, 'each said once');
  t.match(agent.store.state, { servingCopy: false, away: false });
  await agent.store.close();
  t.equal(w.clock.waiting, 0, 'no timer is left');
});

t.test('closing while the first listing waits', async (t) => {
  const w = world();
  await w.once();
  const agent = w.open();
  agent.link.cut();
  const listing = t.rejects(agent.store.list(''), { code: 'closed' });
  const closing = agent.store.close();
  await w.clock.advance(3000);
  await Promise.all([listing, closing]);
  t.equal(w.clock.waiting, 0);
});
