// The files that a container sees in place of the node's. PURE.
import { ipVersion } from '../model/address.ts';
import type { Task } from '../model/task.ts';

/** What programs in the container take for their own name: as in Docker, the first 12 characters of its id. */
export function containerHostname(task: Task): string {
  return task.hostname ?? task.id.slice(0, 12);
}

/**
 * The node's resolv.conf (resolv.conf(5)) with the embedded resolver as its only server. `search`, `domain`, `options` and
 * comments stay: names must mean inside what they mean outside.
 */
export function containerResolvConf(ofNode: string): string {
  const kept = ofNode.split('\n').filter((line) => line.trim() !== '' && !/^\s*nameserver\b/.test(line));
  return ['nameserver 127.0.0.11', ...kept, ''].join('\n');
}

/** hosts(5): the container itself. Everybody else is found by DNS, so that nothing here can grow old. */
export function containerHosts(task: Task): string {
  const addresses = task.attachments.flatMap((place) => [place.address, ...(place.moreAddresses ?? [])]);
  const names = [...new Set([containerHostname(task), task.name])].join(' ');
  const own = addresses.map((address) => `${address.padEnd(ipVersion(address) === 4 ? 15 : 39)} ${names}`);
  const local = ['127.0.0.1       localhost', '::1             localhost ip6-localhost ip6-loopback'];
  return [...local, ...own, ''].join('\n');
}
