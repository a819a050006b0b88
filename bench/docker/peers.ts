// What is measured with, installed when this is imported: afterwards the process is on a network that leads nowhere.
import { installNow, type Peer } from '../install.ts';

export const PEERS: readonly Peer[] = ['wrk', 'nginx-light', 'dnsperf', 'docker.io', 'iptables', 'busybox-static'];

/** Throws BenchError when they are not there. */
export const requirePeers = installNow(PEERS);
