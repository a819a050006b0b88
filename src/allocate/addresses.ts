// The next free address of a subnet, for VIPs and tasks alike. PURE.
import {
  type IpAddress,
  ipFromBigInt,
  ipToBigInt,
  ipVersion,
  prefixLength,
  type Subnet,
  subnetContains,
  subnetRange,
} from '../model/address.ts';
import { isReservedOffset } from '../model/network.ts';
import { AllocationError } from './allocation-error.ts';

/** A set, or what is looked up like one. */
export interface TakenAddresses extends Iterable<IpAddress> {
  /** At least how many there are. */
  readonly size: number;
  has(address: IpAddress): boolean;
}

export interface AddressRequest {
  readonly subnet: Subnet;
  /** VIPs and task addresses of this subnet together. */
  readonly taken: TakenAddresses;
  /** What was handed out last; the search goes on behind it, so that a freed address rests as long as possible. */
  readonly last?: IpAddress;
  /**
   * Freed a short while ago, the longest ago first: clients may still hold them. They are used only when nothing else is left,
   * because a stale client is better than a task without an address.
   */
  readonly coolingDown?: ReadonlySet<IpAddress>;
}

/**
 * The same request gives the same address. Costs one step as long as the addresses behind `last` are free, and never more
 * steps than there are taken ones. Throws AllocationError `subnet-full`.
 */
export function nextAddress(request: AddressRequest): IpAddress {
  const { subnet, taken, coolingDown } = request;
  const fresh = search(request);
  if (fresh !== undefined) return fresh;
  for (const address of coolingDown ?? []) {
    if (!taken.has(address) && isUsable(subnet, address)) return address;
  }
  throw full(subnet, taken);
}

/** Asserts that an address which somebody asked for is in the subnet, not kept back, and free. Throws AllocationError. */
export function claimAddress(subnet: Subnet, address: IpAddress, taken: Pick<TakenAddresses, 'has'>): void {
  if (!subnetContains(subnet, address)) {
    throw new AllocationError('address-outside', `address ${address} is not in subnet ${subnet}; choose one that is`);
  }
  if (!isUsable(subnet, address)) {
    const why = 'is kept back for the network itself (its first, second and last address are)';
    throw new AllocationError('address-reserved', `address ${address} of subnet ${subnet} ${why}; choose another`);
  }
  if (taken.has(address)) {
    const message = `address ${address} of subnet ${subnet} belongs to another service or task; choose another`;
    throw new AllocationError('address-taken', message);
  }
}

/** How many addresses a subnet can hand out. */
export function usableAddresses(subnet: Subnet): bigint {
  const { size } = subnetRange(subnet);
  return size - reservedAddresses(subnet);
}

/** Steps through the subnet once, in a circle; undefined when all of it is taken or cooling down. */
function search({ subnet, taken, last, coolingDown }: AddressRequest): IpAddress | undefined {
  const { base, size } = subnetRange(subnet);
  const version = ipVersion(subnet);
  const start = last !== undefined && subnetContains(subnet, last) ? ipToBigInt(last) - base + 1n : 0n;
  // Among one more address than can be refused there is one that is not.
  const refusable = BigInt(taken.size + (coolingDown?.size ?? 0)) + reservedAddresses(subnet);
  const steps = refusable < size ? refusable + 1n : size;
  let offset = start;
  for (let step = 0n; step < steps; step++, offset++) {
    if (offset >= size) offset = 0n;
    const address = ipFromBigInt(base + offset, version);
    if (taken.has(address) || coolingDown?.has(address)) continue;
    if (!isReservedOffset(subnet, offset)) return address;
  }
  return undefined;
}

/** In the subnet, and not one of those that are kept back. */
export function isUsable(subnet: Subnet, address: IpAddress): boolean {
  return subnetContains(subnet, address) && !isReservedOffset(subnet, ipToBigInt(address) - subnetRange(subnet).base);
}

/** Only the first two addresses and the last one are ever reserved. */
function reservedAddresses(subnet: Subnet): bigint {
  const { size } = subnetRange(subnet);
  const candidates = new Set([0n, 1n, size - 1n].filter((offset) => offset < size));
  return BigInt([...candidates].filter((offset) => isReservedOffset(subnet, offset)).length);
}

function full(subnet: Subnet, taken: TakenAddresses): AllocationError {
  const usable = usableAddresses(subnet);
  const used = [...new Set(taken)].filter((address) => isUsable(subnet, address)).length;
  const larger = `make a network with a larger subnet (shorter than /${prefixLength(subnet)})`;
  return new AllocationError(
    'subnet-full',
    `subnet ${subnet} is full: ${used} of its ${usable} addresses are used by VIPs and tasks; remove what is not needed, or ${larger}`,
  );
}
