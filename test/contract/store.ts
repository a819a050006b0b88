// What every implementation of the store port promises; test/store runs it for each of them.
import t, { type Test } from 'tap';
import type { CommitEvent, CommitResult, Revision, Store, Write } from '../../src/store/store.ts';

export interface StoreUnderTest {
  readonly store: Store;
  /** Lets time pass, as the store measures it for leases. */
  advance(ms: number): Promise<void>;
  /** The life of a lease that is worth waiting for. */
  readonly leaseMs: number;
  /** Makes the store forget, for watchers, all but as many commits as it was asked to keep. */
  forget(): Promise<void>;
  /** Closes the store, ends whatever keeps its data, and opens both again. */
  reopen(): Promise<Store>;
}

/** An empty store that remembers this many commits for watchers; it is disposed of when the test ends. */
export type OpenStore = (test: Test, keepCommits: number) => Promise<StoreUnderTest>;

/** Expected of a key that is not there. */
const NONE = 0 as Revision;
const put = (key: string, value: string): Write => ({ key, value });
const remove = (key: string): Write => ({ key, value: null });

export function storeContract(name: string, open: OpenStore): void {
  t.test(`${name}: reading and writing`, (t) => readingAndWriting(t, open));
  t.test(`${name}: expectations`, (t) => expectations(t, open));
  t.test(`${name}: what cannot be committed`, (t) => refusals(t, open));
  t.test(`${name}: watching`, (t) => watching(t, open));
  t.test(`${name}: a watcher that is too far behind`, (t) => gaps(t, open));
  t.test(`${name}: leases`, (t) => leases(t, open));
  t.test(`${name}: after a restart`, (t) => restart(t, open));
  t.test(`${name}: after close`, (t) => closing(t, open));
}

async function readingAndWriting(t: Test, open: OpenStore): Promise<void> {
  const { store } = await open(t, 100);
  t.same(await store.get('service/a'), undefined);
  t.same((await store.list('')).entries, []);

  const first = revisionOf(await store.commit([put('service/b', '2'), put('service/a', '1'), put('servicex', '3')]));
  t.same(await store.get('service/a'), { key: 'service/a', value: '1', revision: first });
  const second = revisionOf(await store.commit([put('service/a', 'über'), remove('service/none')]));
  t.ok(second > first, 'each commit has a larger revision');
  t.same(
    await store.list('service/'),
    {
      revision: second,
      entries: [
        { key: 'service/a', value: 'über', revision: second },
        { key: 'service/b', value: '2', revision: first },
      ],
    },
    'ordered by key, only the prefix, each with the commit that wrote it last',
  );
  t.same(keysOf(await store.list('')), ['service/a', 'service/b', 'servicex']);

  const third = revisionOf(await store.commit([remove('service/a')]));
  t.same(await store.get('service/a'), undefined);
  t.same(
    await store.commit([remove('service/a')]),
    { committed: true, revision: third },
    'nothing there: nothing changes',
  );
  t.same(await store.commit([]), { committed: true, revision: third });
}

async function expectations(t: Test, open: OpenStore): Promise<void> {
  const { store } = await open(t, 100);
  const first = revisionOf(await store.commit([put('a', '1')], [{ key: 'a', revision: NONE }]));
  const second = revisionOf(await store.commit([put('b', '1')]));

  t.same(
    await store.commit(
      [put('a', '2'), put('c', '2')],
      [
        { key: 'b', revision: second },
        { key: 'a', revision: NONE },
      ],
    ),
    { committed: false, key: 'a', revision: second },
    'it stands already',
  );
  t.same(await store.get('c'), undefined, 'nothing of that commit was done');
  t.match(
    await store.commit([remove('a')], [{ key: 'a', revision: second }]),
    { committed: false, key: 'a' },
    'another revision',
  );
  t.match(await store.commit([put('a', '3')], [{ key: 'a', revision: first }]), { committed: true });
  t.match(
    await store.commit([put('d', '1')], [{ key: 'e', revision: first }]),
    { committed: false, key: 'e' },
    'it is not there',
  );

  const racers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => store.commit([put('race', String(n))], [{ key: 'race', revision: NONE }])),
  );
  t.equal(
    racers.filter((result) => result.committed).length,
    1,
    'of commits at the same time that expect the same, one is done',
  );
}

async function refusals(t: Test, open: OpenStore): Promise<void> {
  const { store } = await open(t, 100);
  for (const key of ['', 'a b', 'ä', 'a\n', 'a\0', 'x'.repeat(513)]) {
    await t.rejects(store.commit([put(key, '1')]), { code: 'invalid' }, JSON.stringify(key.slice(0, 10)));
    await t.rejects(store.commit([], [{ key, revision: NONE }]), { code: 'invalid' });
  }
  await t.rejects(store.commit([put('a', '1'), remove('a')]), { code: 'invalid', message: /a is written twice/ });
  await t.rejects(store.commit([{ key: 'a', value: '1', lease: 'gone' as never }]), {
    code: 'lease-ended',
    message: /^a: /,
  });
  t.same((await store.list('')).entries, [], 'none of them left anything');
  const [bad, good] = await Promise.allSettled([
    store.commit([{ key: 'a', value: '1', lease: 'gone' as never }]),
    store.commit([put('b', '1')]),
  ]);
  t.match([bad.status, good.status], ['rejected', 'fulfilled'], 'one that is refused takes no other with it');
}

async function watching(t: Test, open: OpenStore): Promise<void> {
  const { store } = await open(t, 100);
  const early = record(store, await newest(store));
  const revisions: Revision[] = [];
  for (const writes of [[put('b', '1'), put('a', '1')], [put('c', '1')], [remove('b'), remove('nothing')]]) {
    revisions.push(revisionOf(await store.commit(writes)));
  }
  await store.commit([put('d', '1')], [{ key: 'a', revision: NONE }]);
  await store.commit([remove('nothing')]);
  const [first, second, third] = revisions as [Revision, Revision, Revision];
  const events: CommitEvent[] = [
    { revision: first, writes: [put('a', '1'), put('b', '1')] },
    { revision: second, writes: [put('c', '1')] },
    { revision: third, writes: [remove('b')] },
  ];
  t.same(await early.until(3), events, 'every commit that changed something, in order, its writes in order of key');

  const resumed = record(store, first);
  t.same(await resumed.until(2), events.slice(1), 'from a revision on');
  const now = record(store, third);
  const stopped = record(store, third);
  stopped.close();
  const together = await Promise.all([1, 2, 3, 4].map((n) => store.commit([put(`k${n}`, '1')])));
  const expected = together
    .map((result, n) => ({ revision: revisionOf(result), writes: [put(`k${n + 1}`, '1')] }))
    .sort((a, b) => a.revision - b.revision);
  t.same(await now.until(4), expected, 'commits at the same time come one by one');
  t.same((await resumed.until(6)).slice(2), expected);
  t.same(stopped.seen, [], 'nothing after close');
  t.same([early.gaps, resumed.gaps, now.gaps], [0, 0, 0]);
  early.close();
  early.close();
}

async function gaps(t: Test, open: OpenStore): Promise<void> {
  const { store, forget } = await open(t, 5);
  for (let n = 0; n < 12; n++) await store.commit([put('k', String(n))]);
  await forget();
  const { revision } = await store.list('');
  const behind = record(store, (revision - 6) as Revision);
  t.same(await behind.gap, 'gap');
  t.same(behind.seen, []);
  const close = record(store, (revision - 5) as Revision);
  t.equal((await close.until(5)).length, 5, 'those that are remembered come');
  await store.commit([put('k', 'last')]);
  await close.until(6);
  t.same([behind.seen.length, behind.gaps], [0, 1], 'after a gap nothing comes until it is watched anew');
}

async function leases(t: Test, open: OpenStore): Promise<void> {
  const { store, advance, leaseMs } = await open(t, 100);
  const watch = record(store, await newest(store));
  const lease = await store.grantLease(leaseMs);
  await store.commit([{ key: 'mine', value: '1', lease }, { key: 'too', value: '1', lease }, put('other', '1')]);
  await advance(0.6 * leaseMs);
  t.equal(await store.keepAlive(lease), true);
  await advance(0.6 * leaseMs);
  t.same(keysOf(await store.list('')), ['mine', 'other', 'too'], 'kept alive');
  await store.commit([put('too', 'free')]);
  await store.commit([
    { key: 'mine', value: '2', lease: 'keep' },
    { key: 'new', value: '1', lease: 'keep' },
  ]);
  await advance(0.41 * leaseMs);
  t.same(
    (await watch.until(4))[3]?.writes,
    [remove('mine')],
    'its keys go, but none that was since written without it, or was never under one',
  );
  t.equal(await store.keepAlive(lease), false);
  await t.rejects(store.commit([{ key: 'mine', value: '1', lease }]), { code: 'lease-ended', message: /^mine: / });

  const second = await store.grantLease(leaseMs);
  await store.commit([
    { key: 'x', value: '1', lease: second },
    { key: 'y', value: '1', lease: second },
  ]);
  await store.revokeLease(second);
  t.same((await watch.until(6))[5]?.writes, [remove('x'), remove('y')], 'revoked: in one commit');
  await store.revokeLease(second);
  t.equal(await store.keepAlive(second), false);
  for (const ttl of [0, -1, Number.NaN, 2 ** 31]) await t.rejects(store.grantLease(ttl), { code: 'invalid' });
}

async function restart(t: Test, open: OpenStore): Promise<void> {
  const { store: before, advance, leaseMs, reopen } = await open(t, 100);
  const start = await newest(before);
  const lease = await before.grantLease(leaseMs);
  const first = revisionOf(await before.commit([put('a', '1'), { key: 'leased', value: '1', lease }]));
  await advance(0.6 * leaseMs);
  const store = await reopen();
  t.same(await store.get('a'), { key: 'a', value: '1', revision: first });
  const resumed = record(store, start);
  t.same(await resumed.until(1), [{ revision: first, writes: [put('a', '1'), put('leased', '1')] }], 'a watch resumes');
  await advance(0.6 * leaseMs);
  t.same(keysOf(await store.list('')), ['a', 'leased'], 'a lease has its whole time again');
  await advance(0.41 * leaseMs);
  t.same((await resumed.until(2))[1]?.writes, [remove('leased')], 'and then ends');
  t.ok(revisionOf(await store.commit([put('b', '1')])) > first, 'revisions go on');
}

async function closing(t: Test, open: OpenStore): Promise<void> {
  const { store } = await open(t, 100);
  const watch = record(store, await newest(store));
  const accepted = store.commit([put('a', '1')]);
  const lease = await store.grantLease(1000);
  await store.close();
  t.match(await accepted, { committed: true }, 'what was accepted is finished first');
  await t.rejects(store.commit([put('a', '1')]), { code: 'closed' });
  await t.rejects(store.get('a'), { code: 'closed' });
  await t.rejects(store.list(''), { code: 'closed' });
  await t.rejects(store.grantLease(1), { code: 'closed' });
  await t.rejects(store.keepAlive(lease), { code: 'closed' });
  await store.close();
  t.ok(watch.seen.length <= 1);
}

async function newest(store: Store): Promise<Revision> {
  return (await store.list('')).revision;
}

function revisionOf(result: CommitResult): Revision {
  if (!result.committed) throw new Error(`not committed: ${result.key}`);
  return result.revision;
}

function keysOf(listed: Awaited<ReturnType<Store['list']>>): readonly string[] {
  return listed.entries.map(({ key }) => key);
}

/** A watcher that keeps what it sees. */
function record(store: Store, after: Revision) {
  const seen: CommitEvent[] = [];
  let wake = () => {};
  let signalGap = (_: 'gap') => {};
  const recorder = {
    seen,
    gaps: 0,
    gap: new Promise<'gap'>((resolve) => {
      signalGap = resolve;
    }),
    async until(count: number): Promise<readonly CommitEvent[]> {
      while (seen.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return seen;
    },
    close: () => watch.close(),
  };
  const watch = store.watch(after, {
    onCommit(event) {
      seen.push(event);
      wake();
    },
    onGap() {
      recorder.gaps++;
      signalGap('gap');
    },
  });
  return recorder;
}
