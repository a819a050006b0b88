// The store on a real etcd: the contract, and what is its own: prefixes, large listings and commits, other users of the same etcd.
import t from 'tap';
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
      leaseMs: 5000,
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
}
