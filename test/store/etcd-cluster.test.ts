// Three members: the leader is killed under load, members are frozen, most of them are gone.
import t, { type Test } from 'tap';
import type { EtcdStore } from '../../src/store/etcd/store.ts';
import type { CommitEvent, Revision } from '../../src/store/store.ts';
import { type EtcdServer, needsEtcd, startEtcdCluster } from '../support/etcd.ts';
import { follow, inTime, openStoreAt, reached, retried } from '../support/etcd-store.ts';

if (needsEtcd(t)) {
  t.test('the leader is killed under load', async (t) => {
    const members = await startEtcdCluster(t, 3);
    const stores = [1, 2, 3].map(() => openStoreAt(t, members));
    const start = (await first(stores).list('')).revision;
    const watchers = stores.map((store) => follow(t, store, start));
    const load = new Load(stores);
    for (let round = 0; round < 2; round++) {
      await load.grow(40);
      const leader = await leaderOf(members);
      await leader.kill();
      await load.grow(40);
      await leader.start();
    }
    await load.stop();
    await checkHistory(t, first(stores), start, watchers, load);
  });

  t.test('a member is frozen under load', async (t) => {
    const members = await startEtcdCluster(t, 3);
    const stores = [1, 2, 3].map(() => openStoreAt(t, members));
    const start = (await first(stores).list('')).revision;
    const watchers = stores.map((store) => follow(t, store, start));
    const load = new Load(stores);
    for (const member of [await leaderOf(members), await followerOf(members)]) {
      await load.grow(20);
      member.freeze();
      await load.grow(20);
      member.thaw();
    }
    await load.stop();
    await checkHistory(t, first(stores), start, watchers, load);
  });

  t.test('most members are gone', async (t) => {
    const members = await startEtcdCluster(t, 3);
    const store = openStoreAt(t, members);
    const before = await store.commit([{ key: 'a', value: '1' }]);
    const watched = follow(t, store, before.revision);
    const [one, two] = members as [EtcdServer, EtcdServer];
    await Promise.all([one.kill(), two.kill()]);
    // Until it notices, the last one may take a commit and do it when the others are back.
    await reached(store, ({ connected, lastError }) => !connected && /knows of no leader/.test(lastError ?? ''));
    await inTime(t, 'commit', store.commit([{ key: 'a', value: '2' }]), /it knows of no leader: most members are down/);
    await inTime(t, 'list', store.list(''), /connection refused/);
    await one.start();
    const after = await retried(() => store.commit([{ key: 'a', value: '3' }]));
    t.match(store.state, { connected: true, lastError: undefined });
    await watched.until(after.revision);
    t.same(watched.revisions(), [after.revision]);
  });

  t.test('leases outlive their leader', async (t) => {
    const members = await startEtcdCluster(t, 3);
    const store = openStoreAt(t, members);
    const lease = await store.grantLease(10_000);
    await store.commit([{ key: 'mine', value: '1', lease }]);
    await (await leaderOf(members)).kill();
    t.equal(await retried(() => store.keepAlive(lease)), true);
    t.match(await retried(() => store.get('mine')), { value: '1' });
    await retried(() => store.revokeLease(lease));
    t.same(await retried(() => store.get('mine')), undefined);
  });
}

/** Stores that all count up one number, each by reading it and expecting it unchanged. */
class Load {
  /** The numbers whose commit was acknowledged. */
  readonly acknowledged: number[] = [];
  readonly #done: Promise<unknown>;
  #running = true;
  #wake = () => {};

  constructor(stores: readonly EtcdStore[]) {
    this.#done = Promise.all(stores.map((store) => this.#count(store)));
  }

  /** Resolves after so many more acknowledged commits. */
  async grow(by: number): Promise<void> {
    const target = this.acknowledged.length + by;
    while (this.acknowledged.length < target) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #count(store: EtcdStore): Promise<void> {
    while (this.#running) {
      try {
        const entry = await store.get('counter');
        const next = Number(entry?.value ?? 0) + 1;
        const writes = [
          { key: 'counter', value: String(next) },
          { key: `log/${next}`, value: '1' },
        ];
        const { committed } = await store.commit(writes, [
          { key: 'counter', revision: entry?.revision ?? (0 as Revision) },
        ]);
        if (!committed) continue;
        this.acknowledged.push(next);
        this.#wake();
      } catch (error) {
        if ((error as { code?: string }).code !== 'unavailable') throw error;
      }
    }
  }
}

async function checkHistory(
  t: Test,
  store: EtcdStore,
  start: Revision,
  watchers: readonly ReturnType<typeof follow>[],
  load: Load,
): Promise<void> {
  const { entries } = await store.list('');
  const counter = entries.find(({ key }) => key === 'counter');
  const total = Number(counter?.value);
  t.equal(entries.length, total + 1, 'every number was counted once, by one commit');
  t.equal(new Set(load.acknowledged).size, load.acknowledged.length, 'no two were told that they had counted the same');
  t.ok(total >= load.acknowledged.length, `${total} counted, ${load.acknowledged.length} acknowledged`);
  const expected = Array.from({ length: total }, (_, n) => `counter=${n + 1} log/${n + 1}=1`);
  for (const watcher of watchers) {
    const seen = await watcher.until(counter?.revision as number);
    t.same(seen.map(shown), expected, 'a watcher has seen every commit once, in order, as a whole');
    t.ok((seen[0]?.revision ?? 0) > start);
  }
}

function shown({ writes }: CommitEvent): string {
  return writes.map(({ key, value }) => `${key}=${value}`).join(' ');
}

/** On a busy machine they may be about to elect another. */
async function leaderOf(members: readonly EtcdServer[]): Promise<EtcdServer> {
  for (;;) {
    const leads = await Promise.all(members.map((member) => member.leads()));
    const leader = members[leads.indexOf(true)];
    if (leader !== undefined) return leader;
  }
}

async function followerOf(members: readonly EtcdServer[]): Promise<EtcdServer> {
  const leads = await Promise.all(members.map((member) => member.leads()));
  return members[leads.indexOf(false)] as EtcdServer;
}

function first(stores: readonly EtcdStore[]): EtcdStore {
  return stores[0] as EtcdStore;
}
