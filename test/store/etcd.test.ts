// The store on a real etcd: the contract, and what is its own: prefixes, large listings and commits, other users of the same etcd.
import t from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { CommitEvent, Revision } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import { needsEtcd, startEtcd } from '../support/etcd.ts';
import { openStoreAt } from '../support/etcd-store.ts';

if (needsEtcd(t)) {
  const etcd = await startEtcd(t);
  let stores = 0;
  const newPrefix = () => `/test-${++stores}`;

  storeContract('etcd', async (t, keepCommits) => {
    const prefix = newPrefix();
    let store = openStoreAt(t, [etcd], { prefix });
    return {
      store,
      advance: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      leaseMs: 8000,
      async forget() {
        const { revision } = await store.list('');
        await etcd.compact(revision - keepCommits);
      },
      async reopen() {
        await store.close();
        await etcd.kill();
        await etcd.start();
        store = openStoreAt(t, [etcd], { prefix });
        return store;
      },
    };
  });

  t.test('what others write is not ours', async (t) => {
    const prefix = newPrefix();
    const store = openStoreAt(t, [etcd], { prefix });
    const other = openStoreAt(t, [etcd], { prefix: `${prefix}-too` });
    const catalog = await Catalog.open(store);
    t.teardown(() => catalog.close());
    const seen: CommitEvent[] = [];
    const { revision } = await store.list('');
    store.watch(revision, { onCommit: (event) => seen.push(event), onGap: () => t.fail('no gap') });

    const first = await store.commit([{ key: 'a', value: '1' }]);
    for (let n = 0; n < 5; n++) await other.commit([{ key: 'a', value: String(n) }]);
    await etcd.put(`${prefix}x`, 'not below our prefix');
    await etcd.put(`${prefix}/no key`, 'below it, but none of our keys');
    const nothing = await store.commit([{ key: 'gone', value: null }]);
    const refused = await store.commit([{ key: 'a', value: '2' }], [{ key: 'a', revision: 1 as Revision }]);
    t.same(nothing, { committed: true, revision: first.revision }, 'the newest commit is our own');
    t.same(refused, { committed: false, key: 'a', revision: first.revision });
    await catalog.at(refused.revision);
    const last = await store.commit([{ key: 'b', value: '1' }]);
    await catalog.at(last.revision);
    while (seen.at(-1)?.revision !== last.revision) await new Promise((resolve) => setImmediate(resolve));
    t.same(
      seen.map(({ revision }) => revision),
      [first.revision, last.revision],
      'no watcher hears of others, nor of what was asked to see how far it is',
    );
    t.same(
      (await store.list('')).entries.map(({ key, value }) => `${key}=${value}`),
      ['a=1', 'b=1'],
    );
    t.same((await other.list('')).entries.length, 1);
  });

  t.test('a large listing, and large commits', async (t) => {
    const store = openStoreAt(t, [etcd], { prefix: newPrefix() });
    const { revision } = await store.list('');
    let commits = 0;
    const watched = new Map<string, string>();
    const done = new Promise<void>((resolve) => {
      store.watch(revision, {
        onCommit: ({ writes }) => {
          for (const { key, value } of writes) watched.set(key, String(value));
          if (++commits === 5) resolve();
        },
        onGap: () => t.fail('no gap'),
      });
    });
    // 5 commits of 4,000 writes, each of which is expected not to be there: far beyond etcd's 128 operations.
    for (let n = 0; n < 5; n++) {
      const keys = Array.from({ length: 4000 }, (_, m) => `k/${String(n * 4000 + m).padStart(6, '0')}`);
      const result = await store.commit(
        keys.map((key) => ({ key, value: `${key} über` })),
        keys.map((key) => ({ key, revision: 0 as Revision })),
      );
      t.match(result, { committed: true }, `commit ${n}`);
    }
    await done;
    const listed = await store.list('k/');
    t.equal(listed.entries.length, 20_000);
    t.same(
      listed.entries.map(({ key }) => key),
      listed.entries.map(({ key }) => key).sort(),
      'ordered over all pages',
    );
    t.ok(listed.entries.every(({ key, value }) => value === `${key} über` && watched.get(key) === value));

    const before = await store.list('');
    const keys = Array.from({ length: 300 }, (_, n) => `k/${String(n).padStart(6, '0')}`);
    const broken = await store.commit(
      keys.map((key) => ({ key, value: 'new' })),
      keys.map((key) => ({ key, revision: (key === 'k/000250' ? 7 : before.entries[0]?.revision) as Revision })),
    );
    t.match(broken, { committed: false, key: 'k/000250' }, 'one expectation of 300 does not hold');
    t.equal((await store.get('k/000000'))?.value, 'k/000000 über', 'and nothing is written');
    const removed = await store.commit([...listed.entries.slice(0, 150)].map(({ key }) => ({ key, value: null })));
    t.match(removed, { committed: true });
    t.equal((await store.list('')).entries.length, 19_850);
    const again = await store.commit([...listed.entries.slice(0, 150)].map(({ key }) => ({ key, value: null })));
    t.same(again, removed, 'a large commit that changes nothing');
    await t.rejects(store.commit([{ key: 'huge', value: 'x'.repeat(3_000_000) }]), {
      code: 'invalid',
      message: /--max-request-bytes/,
    });
    t.match(await store.commit([{ key: 'next', value: '1' }]), { committed: true }, 'the store goes on');
  });

  t.test('others write all the time', async (t) => {
    const store = openStoreAt(t, [etcd], { prefix: newPrefix() });
    const other = openStoreAt(t, [etcd], { prefix: newPrefix() });
    const catalog = await Catalog.open(store);
    t.teardown(() => catalog.close());
    let running = true;
    const noise = (async () => {
      while (running) await other.commit([{ key: 'noise', value: '1' }]);
    })();
    for (let n = 0; n < 10; n++) {
      const refused = await store.commit([{ key: 'a', value: '2' }], [{ key: 'a', revision: 1 as Revision }]);
      t.match(refused, { committed: false, key: 'a' });
      await catalog.at(refused.revision);
    }
    running = false;
    await noise;
  });

  t.test('an etcd that was emptied', async (t) => {
    const server = await startEtcd(t);
    const store = openStoreAt(t, [server]);
    for (let n = 0; n < 10; n++) await store.commit([{ key: 'a', value: String(n) }]);
    const { revision } = await store.list('');
    const gap = new Promise<void>((resolve) => {
      store.watch(revision, { onCommit: () => t.fail('nothing was written'), onGap: resolve });
    });
    await server.kill();
    server.empty();
    await server.start();
    await gap;
    t.same((await store.list('')).entries, [], 'the watcher is told to read anew, rather than waiting in silence');
  });
}
