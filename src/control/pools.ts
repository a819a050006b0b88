// How full the pools are from which networks' addresses come. PURE.
import { isUsable, usableAddresses } from '../allocate/addresses.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { Subnet } from '../model/address.ts';
import type { AddressUse } from './address-use.ts';

export interface SubnetUse {
  /** By name. */
  readonly network: string;
  readonly subnet: Subnet;
  /** By VIPs, tasks and nodes; while it is less than half, also endpoints at addresses of elsewhere are counted. */
  readonly used: number;
  /** That there are to be had at all; very large ones are rounded. */
  readonly usable: number;
}

/** A subnet of which more than this share is used is soon to be full. */
export const NEARLY_FULL = 0.9;

export function subnetUses(snapshot: Snapshot, use: Pick<AddressUse, 'on'>): readonly SubnetUse[] {
  return [...snapshot.networks.values()].flatMap(({ id, spec, subnets }) =>
    subnets.map((subnet) => {
      const usable = Number(usableAddresses(subnet));
      const taken = use.on(id);
      // Looking at each is for when it matters: a network may have a hundred thousand endpoints that are not of its subnet.
      const used =
        taken.size < usable / 2 ? taken.size : [...taken.keys()].filter((one) => isUsable(subnet, one)).length;
      return { network: spec.name, subnet, used, usable };
    }),
  );
}

/** Whole sentences. */
export function poolWarnings(uses: readonly SubnetUse[]): readonly string[] {
  return uses
    .filter(({ used, usable }) => used > usable * NEARLY_FULL)
    .map(
      ({ network, subnet, used, usable }) =>
        `network ${network}: ${used} of the ${usable} addresses of ${subnet} are used; make a larger network before it is full`,
    );
}
