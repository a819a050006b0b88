// Which addresses are in use, which were handed out last and which were freed a short while ago. Kept in memory: after a
// restart of the agent nobody's connections are as old as that.
import { hasContainer } from '../model/task.ts';
import type { Change } from '../catalog/change.ts';
import type { IpAddress, Subnet } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import { addressesOf, AddressUse, type Place } from './address-use.ts';
import type { Snapshot } from '../catalog/snapshot.ts';

/** Answers of our DNS live 5 s, and clients that connect again and again hold theirs longer: 30 s lets nearly all notice. */
export const COOL_DOWN_MS = 30_000;

export class AddressMemory {
  /** Of everything that is committed. */
  readonly use = new AddressUse();
  readonly #last = new Map<string, IpAddress>();
  readonly #freed = new Map<NetworkId, Map<IpAddress, number>>();
  #lastVni: number | undefined;

  /** Begins with what a snapshot holds. */
  constructor(snapshot: Snapshot) {
    for (const service of snapshot.services.values()) this.use.put(service);
    for (const task of snapshot.tasks.values()) this.use.put(task);
    for (const bridge of snapshot.bridges.values()) this.use.put(bridge);
  }

  /** `now`: milliseconds of a steady clock. */
  observe(changes: readonly Change[], now: number): void {
    for (const change of changes) {
      if (change.kind === 'network' && change.after === undefined && change.before !== undefined)
        this.#freed.delete(change.before.id);
      if (change.kind !== 'service' && change.kind !== 'task' && change.kind !== 'bridge') continue;
      this.use.put(change.after);
      this.use.drop(change.before);
      // An endpoint's that has no container of ours was never handed out.
      const handedOut = (value: typeof change.before) =>
        value !== undefined && 'source' in value && !hasContainer(value) ? [] : addressesOf(value);
      this.#compare(handedOut(change.before), handedOut(change.after), now);
    }
  }

  /** The longest ago first. */
  coolingDown(networkId: NetworkId, now: number): ReadonlySet<IpAddress> {
    const freed = this.#freed.get(networkId);
    if (freed === undefined) return new Set();
    for (const [address, since] of freed) if (since + COOL_DOWN_MS <= now) freed.delete(address);
    return new Set(freed.keys());
  }

  last(networkId: NetworkId, subnet: Subnet): IpAddress | undefined {
    return this.#last.get(`${networkId} ${subnet}`);
  }

  handedOut(networkId: NetworkId, subnet: Subnet, address: IpAddress): void {
    this.#last.set(`${networkId} ${subnet}`, address);
  }

  get lastVni(): number | undefined {
    return this.#lastVni;
  }

  handedOutVni(vni: number): void {
    this.#lastVni = vni;
  }

  #compare(before: readonly Place[], after: readonly Place[], now: number): void {
    for (const [networkId, address] of before) {
      if (after.some((place) => place[0] === networkId && place[1] === address)) continue;
      const freed = this.#freed.get(networkId) ?? new Map<IpAddress, number>();
      freed.delete(address);
      freed.set(address, now);
      this.#freed.set(networkId, freed);
    }
  }
}
