// M9: the store is frozen for longer than its leases.
import { testOutage } from './support/store-outage.ts';

testOutage('frozen', { begin: (mesh) => mesh.etcd.freeze(), end: (mesh) => mesh.etcd.thaw() });
