// The store on etcd, opened for a test and closed with it.
import { parseEtcdUrl } from '../../src/store/etcd/address.ts';
import { type EtcdStore, type EtcdStoreOptions, openEtcdStore } from '../../src/store/etcd/store.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import type { EtcdServer } from './etcd.ts';

export interface StoreAtOptions extends Partial<Omit<EtcdStoreOptions, 'address'>> {
  readonly prefix?: string;
  /** `user:password`. */
  readonly login?: string;
}

export function openStoreAt(
  t: { teardown(action: () => unknown): void },
  servers: readonly Pick<EtcdServer, 'endpoint'>[],
  { prefix = '/vipmesh', login, ...options }: StoreAtOptions = {},
): EtcdStore {
  const hosts = servers.map(({ endpoint }) => endpoint).join(',');
  const address = parseEtcdUrl(`etcd://${login === undefined ? '' : `${login}@`}${hosts}${prefix}`);
  if (typeof address === 'string') throw new Error(address);
  const store = openEtcdStore({ log: SILENT_LOG, ...options, address });
  t.teardown(() => store.close());
  return store;
}
