// The store with a copy of its last known state: what an agent begins with when the store is away, and what it says of it.
import t, { type Test } from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { LogFields } from '../../src/runtime/log.ts';
import { LastKnownStore } from '../../src/store/last-known.ts';
import { encodeRecord, HEAD_KEY } from '../../src/store/record.ts';
import type { CommitEvent, Revision, Write } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import * as build from '../support/builders.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';
import { FakeCluster, FakeLink, type Latency } from '../support/fake-store.ts';
import { MemoryDisk } from '../support/memory-disk.ts';

const IDENTITY = 'etcd://one:2379/vipmesh';
const put = (key: string, value: string): Write => ({ key, value });

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

t.test('copies that are not used', async (t) => {
  const w = world();
  w.cluster.commit([put('a', '1'), put('b', 'x'.repeat(100))]);
  await w.once();
  const good = w.disk.content ?? Buffer.alloc(0);
  const text = good.toString();
  const cases: Readonly<Record<string, readonly [content: Buffer | string, reason: RegExp]>> = {
    'another byte': [text.replace('xxx', 'xyx'), /it is damaged \(the checksum of line 3 is wrong\)/],
    'another file': ['something else\n', /it is damaged \(its first line is wrong\)/],
    'no line': ['something else', /it is damaged \(it ends within its listing\)/],
    'cut short': [good.subarray(0, 120), /it is damaged \(it ends within its listing\)/],
    'a line twice': [`${text}${text.split('\n')[2]}\n`, /it is damaged \(line 5 does not follow from those before\)/],
    'a newer format': [text.replace('format 1', 'format 2'), /it is of format 2, which this version does not know/],
  };
  for (const [name, [content, reason]] of Object.entries(cases)) {
    w.disk.content = Buffer.from(content);
    const agent = w.open();
    agent.link.cut('refused');
    await rejects(t, w.clock, agent.store.list(''), 'unavailable', reason);
    t.match(agent.logged, [['warn', 'copy of the last known state not used', { path: w.disk.path, reason }]], name);
    t.match(agent.store.problems, [reason]);
    agent.link.heal();
    t.match(await agent.store.list(''), { revision: 1 }, 'the agent may ask again');
    await settle();
    t.same(agent.store.problems, [], 'written anew');
    await agent.store.close();
    t.equal(w.disk.content?.length, good.length);
  }

  const other = w.open({ identity: 'etcd://two:2379/vipmesh' });
  other.link.cut('refused');
  await rejects(
    t,
    w.clock,
    other.store.list(''),
    'unavailable',
    /it is of etcd:\/\/one:2379\/vipmesh, not of etcd:\/\/two/,
  );
  await other.store.close();

  w.disk.read = () => {
    throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
  };
  const unreadable = w.open();
  unreadable.link.cut('refused');
  await rejects(
    t,
    w.clock,
    unreadable.store.list(''),
    'unavailable',
    /it cannot be read \(EACCES: permission denied\)/,
  );
  await unreadable.store.close();
});

t.test('every way in which one byte can be wrong, and every length', async (t) => {
  const w = world();
  w.cluster.commit([put('a', '1')]);
  const writer = w.open();
  await writer.store.list('');
  const seen = watch(writer.store, 1 as Revision);
  for (const value of ['2', '3', '4']) {
    w.cluster.commit([put('a', value)]);
    await w.clock.advance(1000);
  }
  t.equal(seen.commits.length, 3);
  await writer.store.close();
  const good = w.disk.content ?? Buffer.alloc(0);
  const states = new Map<string, number>();
  const readAs = async (content: Buffer) => {
    w.disk.content = content;
    const agent = w.open();
    agent.link.cut('refused');
    const value = await agent.store.list('').then(
      ({ revision, entries }) => `${revision}: ${entries[0]?.value}`,
      () => 'refused',
    );
    states.set(value, (states.get(value) ?? 0) + 1);
    await agent.store.close();
    return value;
  };
  for (let at = 0; at < good.length; at++) {
    const damaged = Buffer.from(good);
    damaged[at] = (damaged[at] ?? 0) ^ 4;
    const value = await readAs(damaged);
    // Without its end, the last line is one that was being written.
    if (value !== 'refused' && !(value === '3: 3' && at === good.length - 1)) t.fail(`byte ${at}: ${value}`);
  }
  for (let length = 0; length <= good.length; length++) {
    const value = await readAs(good.subarray(0, length));
    if (!/^refused|1: 1|2: 2|3: 3|4: 4$/.test(value)) t.fail(`length ${length}: ${value}`);
  }
  t.same([...states.keys()].sort(), ['1: 1', '2: 2', '3: 3', '4: 4', 'refused']);
});

t.test('a crash costs the last second, and what comes after it goes on from there', async (t) => {
  const w = world();
  const agent = w.open();
  await agent.store.list('');
  watch(agent.store, 0 as Revision);
  w.cluster.commit([put('a', '1')]);
  await w.clock.advance(1000);
  w.cluster.commit([put('b', '1')]);
  await w.clock.advance(999);
  agent.link.abandon();
  w.disk.content = Buffer.concat([w.disk.content ?? Buffer.alloc(0), Buffer.from('0123abcd{"after"')]);

  const next = w.open();
  next.link.cut('refused');
  t.match(await next.store.list(''), { revision: 1 });
  const seen = watch(next.store, 1 as Revision);
  next.link.heal();
  await w.clock.advance(2000);
  t.same(
    seen.commits.map(({ revision }) => revision),
    [2],
  );
  await next.store.close();

  const last = w.open();
  last.link.cut('refused');
  t.match(await last.store.list(''), { revision: 2 }, 'the line that was cut off is gone, the new one in its place');
  await last.store.close();
});

t.test('its age', async (t) => {
  const w = world();
  const agent = w.open();
  await agent.store.list('');
  for (let minute = 0; minute < 60; minute++) {
    await w.clock.advance(60_000);
    await agent.store.get('a');
  }
  await w.clock.advance(10_000);
  t.equal(agent.store.state.lastContactAt, Date.UTC(2026, 0, 1, 1));
  await agent.store.close();
  const next = w.open();
  next.link.cut('refused');
  await next.store.list('');
  t.equal(next.store.state.copyAgeMs, 10_000, 'nothing has changed for an hour, but it was heard of 10 s ago');
  await w.clock.advance(5000);
  t.equal(next.store.state.copyAgeMs, 15_000);
  await next.store.close();
});

t.test('a disk that takes nothing', async (t) => {
  const w = world();
  w.disk.failure = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  w.cluster.commit([put('a', '1')]);
  const agent = w.open();
  t.match(await agent.store.list(''), { revision: 1 });
  const seen = watch(agent.store, 1 as Revision);
  for (let minute = 0; minute < 5; minute++) {
    w.cluster.commit([put('a', String(minute))]);
    await w.clock.advance(60_000);
  }
  t.equal(seen.commits.length, 5, 'nobody else notices');
  const warning = ['warn', 'last known state not kept', { path: w.disk.path }] as const;
  t.match(agent.logged, [warning], 'said once');
  t.equal(agent.logged.length, 1);
  t.match(agent.store.problems, [/^the last known state is not kept in memory\/last-known: ENOSPC: no space left/]);
  w.disk.failure = undefined;
  await w.clock.advance(60_000);
  t.match(agent.logged.slice(1), [['info', 'last known state kept again', {}]]);
  t.same(agent.store.problems, []);

  w.disk.failure = new Error('ENOSPC');
  w.cluster.commit([put('a', 'lost')]);
  w.cluster.commit([put('a', 'lost too')]);
  await w.clock.advance(1000);
  t.match(agent.logged.slice(2), [warning]);
  agent.link.cut('refused');
  w.disk.failure = undefined;
  await w.clock.advance(180_000);
  t.match(agent.store.problems, [/not kept/], 'without the store there is nothing to write');
  await agent.store.close();
  const next = w.open();
  next.link.cut('refused');
  t.match(await next.store.list(''), { entries: [{ value: 'lost' }] }, 'whatever lines are whole');
  await next.store.close();
});

t.test('a copy that has become long is begun anew', async (t) => {
  const w = world();
  w.cluster.commit([put('a', '1')]);
  const agent = w.open();
  await agent.store.list('');
  watch(agent.store, 1 as Revision);
  const large = 'x'.repeat(500_000);
  for (let n = 0; n < 9; n++) {
    w.cluster.commit([put('a', `${n}${large}`)]);
    await w.clock.advance(1000);
  }
  await w.clock.advance(1000);
  t.same([w.disk.created, agent.link.listings], [2, 2]);
  t.ok((w.disk.content?.length ?? 0) < 1_000_000, 'its content is one large value again');
  w.cluster.commit([put('b', 'after')]);
  await settle();
  await agent.store.close();
  const next = w.open();
  next.link.cut('refused');
  const { revision, entries } = await next.store.list('');
  t.same([revision, entries.map((entry) => `${entry.key} ${entry.revision}`)], [11, ['a 10', 'b 11']]);
  await next.store.close();
});

t.test('commits that come while the copy is begun anew', async (t) => {
  // What a watch tells may come before a listing that is older, or long after one that is newer.
  for (const [call, commit] of [
    [100, 1],
    [1, 30],
  ] as const) {
    const w = world();
    const agent = w.open({ latency: (of) => (of === 'call' ? call : commit) });
    const listed = agent.store.list('');
    await w.clock.advance(300);
    watch(agent.store, (await listed).revision);
    w.disk.failure = new Error('no space left');
    w.cluster.commit([put('a', '1')]);
    await w.clock.advance(1100);
    t.match(agent.store.problems, [/no space left/]);
    w.disk.failure = undefined;
    await w.clock.advance(59_000);
    for (let n = 0; n < 400; n++) {
      w.cluster.commit([put(`k${n % 50}`, String(n))]);
      await w.clock.advance(5);
    }
    t.same([w.disk.created, agent.store.problems], [2, []]);
    await w.clock.advance(60_000);
    await agent.store.close();
    const backwards = [...(w.disk.content?.toString().matchAll(/"after":(\d+),"revision":(\d+)/g) ?? [])].filter(
      ([, after, revision]) => Number(after) >= Number(revision),
    );
    t.same(backwards, [], 'what the listing had already is not there again');
    const next = w.open();
    next.link.cut('refused');
    t.same(await next.store.list(''), w.cluster.list(''), 'none is missing');
    await next.store.close();
  }
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

function openCopy(link: FakeLink, clock: FakeClock, disk: MemoryDisk): LastKnownStore {
  return new LastKnownStore(link, { disk, identity: IDENTITY, clock });
}

/** A store, and one node's disk. */
function world() {
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock });
  const disk = new MemoryDisk();
  const open = (options: { readonly latency?: Latency; readonly identity?: string } = {}) => {
    const link = new FakeLink(cluster, options.latency);
    const logged: (readonly [string, string, LogFields | undefined])[] = [];
    const at = (level: string) => (message: string, fields?: LogFields) => void logged.push([level, message, fields]);
    const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
    const store = new LastKnownStore(link, { disk, identity: options.identity ?? IDENTITY, clock, log });
    return { link, store, logged };
  };
  return {
    clock,
    cluster,
    disk,
    open,
    /** An agent that starts, lists everything and ends. */
    async once() {
      const { store } = open();
      await store.list('');
      await store.close();
    },
  };
}

function watch(store: LastKnownStore, after: Revision) {
  const seen = { commits: [] as CommitEvent[], gaps: 0 };
  store.watch(after, { onCommit: (event) => void seen.commits.push(event), onGap: () => void seen.gaps++ });
  return seen;
}

async function rejects(t: Test, clock: FakeClock, call: Promise<unknown>, code: string, message: RegExp | string = '') {
  const check = t.rejects(call, { code, ...(typeof message === 'string' ? {} : { message }) });
  await clock.advance(3000);
  await check;
}

function service(name: string): Write {
  return encodeRecord({ kind: 'service', value: { ...build.service(name), id: `svc${name}` as never } });
}
