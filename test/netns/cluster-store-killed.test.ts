// M9: the store is killed for longer than its leases.
import { testOutage } from './support/store-outage.ts';

testOutage('killed', { begin: (mesh) => mesh.etcd.kill(), end: (mesh) => mesh.etcd.restart() });
