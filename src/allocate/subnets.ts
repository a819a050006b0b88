// Subnets for new networks, by driver. PURE.
import { createHash } from 'node:crypto';
import { ipFromBigInt, ipFromBytes, ipVersion, type Subnet, subnetRange, subnetsOverlap } from '../model/address.ts';
import type { NetworkDriver, NetworkId } from '../model/network.ts';
import { AllocationError } from './allocation-error.ts';

/** Where a driver's subnets come from, and how large each is. */
export interface SubnetPool {
  readonly range: Subnet;
  /** Prefix length of one network's subnet. */
  readonly length: number;
}

export const SUBNET_POOLS: Readonly<Record<NetworkDriver, SubnetPool>> = {
  // Swarm takes /24 of 10.0.0.0/8; this quarter of it avoids where people's own networks mostly are (10.0 to 10.63).
  overlay: { range: '10.64.0.0/10' as Subnet, length: 24 },
  // Loopback, since anybody may bind there; not its first part, where 127.0.0.1, 127.0.0.53 and 127.0.0.11 are.
  local: { range: '127.64.0.0/10' as Subnet, length: 16 },
};

/**
 * The next IPv4 subnet of a pool that overlaps none of `taken`, behind `last` if that is given, in a circle. `taken` may hold
 * any subnets, of other sizes and families too. Costs the sorting of `taken`. Throws AllocationError `subnets-exhausted`.
 */
export function nextSubnet(pool: SubnetPool, taken: readonly Subnet[], last?: Subnet): Subnet {
  const { base, size } = subnetRange(pool.range);
  const step = 1n << BigInt(32 - pool.length);
  const count = Number(size / step);
  const occupied = occupiedSlots(pool, taken, step);
  const start =
    last !== undefined && subnetsOverlap(last, pool.range) ? Number((subnetRange(last).base - base) / step) + 1 : 0;
  const slot = firstFree(occupied, start, count) ?? firstFree(occupied, 0, count);
  if (slot === undefined) {
    const advice = 'remove networks that are not needed, or name a subnet yourself (--subnet)';
    throw new AllocationError(
      'subnets-exhausted',
      `no /${pool.length} of ${pool.range} is free for another network: all ${count} overlap one in use; ${advice}`,
    );
  }
  return `${ipFromBigInt(base + BigInt(slot) * step, 4)}/${pool.length}` as Subnet;
}

/**
 * The IPv6 subnet of a network: a unique local /64 (RFC 4193 section 3.2) whose 56 free bits come from the network's id, so
 * that all nodes agree without asking, and two clusters that meet hardly collide. Another one of its kind is taken when it
 * overlaps.
 */
export function ulaSubnet(networkId: NetworkId, taken: readonly Subnet[]): Subnet {
  for (let attempt = 0; ; attempt++) {
    const hash = createHash('sha256').update(`vipmesh network ${networkId} ${attempt}`).digest();
    const bytes = new Uint8Array(16);
    bytes[0] = 0xfd;
    bytes.set(hash.subarray(0, 7), 1);
    const subnet = `${ipFromBytes(bytes)}/64` as Subnet;
    if (!taken.some((other) => subnetsOverlap(subnet, other))) return subnet;
    // Only a taken subnet as large as fd00::/8 refuses hash after hash.
    if (attempt >= 64) {
      throw new AllocationError(
        'subnets-exhausted',
        `no /64 of fd00::/8 is free for network ${networkId}: the subnets in use cover it; name a subnet yourself (--subnet)`,
      );
    }
  }
}

interface Slots {
  readonly first: number;
  readonly last: number;
}

/** What is taken, counted in the pool's own subnets, ordered. */
function occupiedSlots(pool: SubnetPool, taken: readonly Subnet[], step: bigint): readonly Slots[] {
  const { base, size } = subnetRange(pool.range);
  const slots: Slots[] = [];
  for (const subnet of taken) {
    if (ipVersion(subnet) !== 4) continue;
    const range = subnetRange(subnet);
    const first = range.base - base;
    const last = first + range.size - 1n;
    if (last < 0n || first >= size) continue;
    slots.push({ first: Math.max(0, Number(first / step)), last: Number(last / step) });
  }
  return slots.sort((a, b) => a.first - b.first);
}

/** The first slot from `start` on that none of the ordered `occupied` covers. */
function firstFree(occupied: readonly Slots[], start: number, count: number): number | undefined {
  let slot = start;
  for (const { first, last } of occupied) {
    if (first > slot) break;
    if (last >= slot) slot = last + 1;
  }
  return slot < count ? slot : undefined;
}
