// What is measured with, installed when this is imported: afterwards the process is on a network that leads nowhere.
import { installPeers, type Peer } from '../install.ts';

export const PEERS: readonly Peer[] = ['wrk', 'nginx-light', 'dnsperf'];

let problem: unknown;
try {
  installPeers(PEERS, (text) => process.stdout.write(text));
} catch (error) {
  problem = error;
}

/** Throws BenchError when they are not there. */
export function requirePeers(): void {
  if (problem !== undefined) throw problem;
}
