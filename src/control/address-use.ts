// Which addresses services and tasks have on each network, kept up to date change by change, so that finding a free one does
// not cost a look at all of them.
import type { IpAddress } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { Bridge } from '../model/node.ts';
import type { Service } from '../model/service.ts';
import type { Task } from '../model/task.ts';

export type Place = readonly [NetworkId, IpAddress];

const NOTHING: ReadonlyMap<IpAddress, number> = new Map();

export class AddressUse {
  /** How many have an address: static endpoints may share one. */
  readonly #byNetwork = new Map<NetworkId, Map<IpAddress, number>>();

  on(networkId: NetworkId): ReadonlyMap<IpAddress, number> {
    return this.#byNetwork.get(networkId) ?? NOTHING;
  }

  put(value: Service | Task | Bridge | undefined): void {
    for (const [networkId, address] of addressesOf(value)) this.add(networkId, address);
  }

  drop(value: Service | Task | Bridge | undefined): void {
    for (const [networkId, address] of addressesOf(value)) {
      const use = this.#byNetwork.get(networkId);
      const count = use?.get(address) ?? 0;
      if (count > 1) use?.set(address, count - 1);
      else use?.delete(address);
      if (use?.size === 0) this.#byNetwork.delete(networkId);
    }
  }

  add(networkId: NetworkId, address: IpAddress): void {
    const use = this.#byNetwork.get(networkId) ?? new Map<IpAddress, number>();
    use.set(address, (use.get(address) ?? 0) + 1);
    this.#byNetwork.set(networkId, use);
  }
}

/** VIPs, where a task is reached, or what a node has on a network. */
export function addressesOf(value: Service | Task | Bridge | undefined): readonly Place[] {
  if (value === undefined) return [];
  if ('vips' in value) return value.vips.map(({ networkId, address }): Place => [networkId, address]);
  if ('addresses' in value) return value.addresses.map((address): Place => [value.networkId, address]);
  return value.attachments.flatMap(({ networkId, address, moreAddresses }) =>
    [address, ...(moreAddresses ?? [])].map((one): Place => [networkId, one]),
  );
}
