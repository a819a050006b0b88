// The copy of the last known state itself: when it is not used, what a crash or a full disk costs, and when it is begun anew.
import t from 'tap';
import type { Revision } from '../../src/store/store.ts';
import { settle } from '../support/fake-clock.ts';
import { world, watch, rejects, put } from './last-known-world.ts';

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
