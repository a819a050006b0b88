// M9: nothing that is sent to the store arrives there, for longer than its leases.
import { dropStoreTraffic, testOutage } from './support/store-outage.ts';

testOutage('unreachable', { begin: () => dropStoreTraffic(true), end: () => dropStoreTraffic(false) });
