// What of the kernel an agent that runs as root makes use of, tried in a network namespace that has no name and goes with the last
// descriptor.
import { parseIp, parseSubnet } from '../model/address.ts';
import { CLONE_NEWNET } from '../native/constants.ts';
import { check } from '../native/errno.ts';
import { type Fd, unshare } from '../native/libc.ts';
import { closeNetns, leaveNetns, openNetns } from '../native/netns.ts';
import { closeVipGroup, openVipGroup, SkLookup, VIP_GROUP_PORT } from '../native/sk-lookup.ts';
import type { MacAddress, Namespace } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { LinuxKernel } from '../netlink/linux-kernel.ts';
import { egressRuleset } from '../overlay/egress.ts';

export interface Trial {
  readonly facility: string;
  /** What it is good for. */
  readonly use: string;
  /** Absent: it works. */
  readonly error?: string;
}

const MAC = '02:00:00:00:00:01' as MacAddress;
/** Nothing is sent there. The last network but one that there can be. */
const TUNNEL = { vni: 0xfffffe, port: 4789 } as const;
const NAME = 'doctor';

/** Root only. Never rejects: what fails is said. */
export async function tryFacilities(): Promise<readonly Trial[]> {
  const kernel = new LinuxKernel();
  let netns: Fd | undefined;
  try {
    netns = makeNamespace();
    const namespace = await kernel.openNamespace(`/proc/self/fd/${netns}`);
    if (namespace === undefined) throw new Error('it was made, and cannot be opened');
    const trials: Trial[] = [{ facility: 'network namespaces', use: 'every overlay network and container is one' }];
    for (const [facility, use, attempt] of trialsIn(namespace)) trials.push(await tried(facility, use, attempt));
    return trials;
  } catch (error) {
    return [
      { facility: 'network namespaces', use: 'every overlay network and container is one', error: messageOf(error) },
    ];
  } finally {
    kernel.close();
    if (netns !== undefined) closeNetns(netns);
  }
}

type Attempt = readonly [facility: string, use: string, attempt: () => Promise<void> | void];

function trialsIn(namespace: Namespace): readonly Attempt[] {
  const peer = { namespace: namespace.name, name: 'trial2', mac: MAC };
  return [
    ['bridges', 'a network joins its containers by one', () => namespace.apply({ kind: 'add-bridge', name: 'trial0' })],
    ['veth pairs', 'a container hangs on one', () => namespace.apply({ kind: 'add-veth', name: 'trial1', peer })],
    ['VXLAN', 'networks reach other nodes by it', () => makeTunnel(namespace)],
    ['nftables', 'containers reach the outside by it', () => makeTable(namespace)],
    ['sk_lookup', 'VIPs take any port by it', () => attachProgram(namespace.fd)],
  ];
}

async function makeTunnel(namespace: Namespace): Promise<void> {
  const local = parseIp('127.0.0.1');
  if (local === undefined) throw new RangeError('no address');
  await namespace.apply({ kind: 'add-vxlan', name: 'trial3', tunnel: { ...TUNNEL, local } });
}

async function makeTable(namespace: Namespace): Promise<void> {
  const subnet = parseSubnet('100.127.0.0/20');
  if (subnet === undefined) throw new RangeError('no subnet');
  await namespace.apply({ kind: 'set-ruleset', name: NAME, ruleset: egressRuleset(NAME, subnet) });
}

function attachProgram(netns: Fd): void {
  const group = openVipGroup(netns, 1);
  try {
    SkLookup.attach({ netns, ownPort: VIP_GROUP_PORT, workers: 1 }).close();
  } finally {
    closeVipGroup(group);
  }
}

async function tried(facility: string, use: string, attempt: () => Promise<void> | void): Promise<Trial> {
  try {
    await attempt();
    return { facility, use };
  } catch (error) {
    // Somebody else has one like it, so there is such a thing.
    if (error instanceof KernelError && error.code === 'exists') return { facility, use };
    return { facility, use, error: messageOf(error) };
  }
}

/** The calling thread is back in its own when this returns. */
function makeNamespace(): Fd {
  check(unshare(CLONE_NEWNET), 'unshare', 'a network namespace to try things in');
  try {
    return openNetns('/proc/thread-self/ns/net');
  } finally {
    leaveNetns();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
