// Importing this makes the test's process, and all that it starts, a node of its own: a new network namespace and an own
// /run/netns, so that ports, addresses and the names of namespaces are its alone, and go with its last process. It must be
// the first import that loads anything native.
import { inOwnNetns } from '../../support/own-netns.ts';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { CLONE_NEWNS, MS_REC, MS_SLAVE } from '../../../src/native/constants.ts';
import { check } from '../../../src/native/errno.ts';
import { mount, unshare } from '../../../src/native/libc.ts';
import type { MacAddress } from '../../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';
import { ip } from '../../support/builders.ts';
import { needsRoot } from '../../support/requirements.ts';

const NAMES = '/run/netns';

if (inOwnNetns) ownNames();

/** True when the process is a node now; otherwise has said why the test did not run. */
export async function mayBeNode(t: Parameters<typeof needsRoot>[0]): Promise<boolean> {
  if (!needsRoot(t, 'containers are network namespaces')) return false;
  if (!inOwnNetns) {
    t.fail('unshare(CLONE_NEWNET) is refused, although this is root');
    return false;
  }
  await withKernel((kernel) => kernel.own.apply({ kind: 'set-link', name: 'lo', up: true }));
  return true;
}

/** Names of the network namespaces of this node. */
export function namespaces(): readonly string[] {
  return readdirSync(NAMES).sort();
}

/**
 * Links, addresses, routes and namespaces of this node, for comparing two moments. Without the addresses that the kernel gives to
 * each link itself, some time after it came up, and their routes: they go with their links.
 */
export function kernelState() {
  return {
    links: column('/proc/self/net/dev', 0).slice(2),
    addresses: lines('/proc/self/net/fib_trie').filter((line) => line.includes('|--')),
    addresses6: column('/proc/self/net/if_inet6', 0).filter((address) => !isOfLink(address)),
    routes: lines('/proc/self/net/route'),
    routes6: lines('/proc/self/net/ipv6_route')
      .filter((route) => !isOfLink(route))
      .map((line) => line.split(/\s+/).slice(0, 5).join(' ')),
    namespaces: namespaces(),
  };
}

/** What kinds of descriptors a process has open, and how many of each: `socket 12`. */
export function descriptors(pid: number): readonly string[] {
  const counts = new Map<string, number>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const kind = linkOf(`/proc/${pid}/fd/${fd}`).replace(/:?\[.*$/, '');
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts].map(([kind, count]) => `${kind} ${count}`).sort();
}

/** One of the node's counters of /proc/net/snmp (RFC 1213). */
export function packetCount(protocol: string, name: string): number {
  const [names = [], values = []] = readFileSync('/proc/self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${protocol}:`))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf(name)]);
}

/** The outside world: a namespace behind a link of this node, which is 192.0.2.1 there; the outside is 192.0.2.2. */
export const OUTSIDE = { node: '192.0.2.1', address: '192.0.2.2' } as const;

/** Makes it, with a route to what the outside should not be able to reach. Resolves with its namespace. */
export async function makeOutside(kernel: LinuxKernel, containers: string): Promise<number> {
  const outside = await kernel.ensureNamespace('outside');
  const mac = '02:00:00:00:00:02' as MacAddress;
  await kernel.own.apply({ kind: 'add-veth', name: 'uplink', peer: { namespace: 'outside', name: 'eth0', mac } });
  for (const [where, link, address] of [
    [kernel.own, 'uplink', OUTSIDE.node],
    [outside, 'eth0', OUTSIDE.address],
  ] as const) {
    await where.apply({
      kind: 'add-address',
      link,
      address: { address: ip(address), prefixLength: 24, deprecated: false },
    });
    await where.apply({ kind: 'set-link', name: link, up: true });
  }
  const [destination = '', bits] = containers.split('/');
  await outside.apply({
    kind: 'add-route',
    link: 'eth0',
    route: { kind: 'unicast', destination: ip(destination), prefixLength: Number(bits), via: ip(OUTSIDE.node) },
  });
  return outside.fd;
}

/** fe80::/10 and ff00::/8, as the kernel prints them. */
function isOfLink(text: string): boolean {
  return /^(fe[89ab]|ff)/.test(text);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'closed meanwhile';
  }
}

async function withKernel(work: (kernel: LinuxKernel) => Promise<void>): Promise<void> {
  const kernel = new LinuxKernel();
  try {
    await work(kernel);
  } finally {
    kernel.close();
  }
}

/** Nothing that is mounted from here on is seen by the machine; what it mounts is seen here. */
function ownNames(): void {
  check(unshare(CLONE_NEWNS), 'unshare', 'mount namespace');
  check(mount(null, '/', null, MS_REC | MS_SLAVE, null), 'mount', '/ as slave');
  check(mount('tmpfs', NAMES, 'tmpfs', 0, 'mode=0755'), 'mount', NAMES);
}

function lines(file: string): readonly string[] {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).sort();
}

function column(file: string, index: number): readonly string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => line.trim().split(/\s+/)[index] ?? '')
    .sort();
}
