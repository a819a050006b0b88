// What is measured beside, installed when this is imported: afterwards the process is on a network that leads nowhere.
import { installNow, type Peer } from '../install.ts';

export const PEERS: readonly Peer[] = ['wrk', 'haproxy', 'nginx-light', 'etcd-server', 'iproute2', 'nftables'];

/** Throws BenchError when they are not there. */
export const requirePeers = installNow(PEERS);
