// Names on networks that something else makes (Docker's own), for containers of ours that are on them too: they ask us, and nothing
// that they could ask for before is to be missing. Such a network is a zone of the workers' like ours, and comes after ours.
import type { DnsCommand, NameRecord, PointerRecord } from '../dns/command.ts';
import type { Subnet } from '../model/address.ts';
import type { TaskId } from '../model/task.ts';

/** What a container is called on one such network. */
export interface ForeignPlace {
  /** The network's id, as whoever made it knows it. */
  readonly network: string;
  readonly networkName: string;
  readonly subnets: readonly Subnet[];
  readonly addresses: readonly string[];
  /** The first one is what its addresses are called. */
  readonly names: readonly string[];
}

export interface ForeignNamesPorts {
  readonly post: (command: DnsCommand) => void;
  /** Small and dense, and no network's of ours; the same for the same key. */
  readonly takeNumber: (key: string) => number;
  readonly releaseNumber: (key: string) => void;
  /** What a client sees from now on; the number of its scope, which stays. */
  readonly setScope: (client: TaskId, networks: readonly number[], forward: boolean) => number;
}

interface Zone {
  readonly number: number;
  /** By container. */
  readonly places: Map<string, ForeignPlace>;
}

interface Client {
  /** Our networks. */
  readonly own: readonly number[];
  readonly forward: boolean;
}

export class ForeignNames {
  readonly #ports: ForeignNamesPorts;
  readonly #zones = new Map<string, Zone>();
  readonly #placesOf = new Map<string, readonly ForeignPlace[]>();
  readonly #clients = new Map<TaskId, Client>();
  /** Ids of networks, also of clients that have not been opened yet. */
  readonly #seenBy = new Map<TaskId, readonly string[]>();

  constructor(ports: ForeignNamesPorts) {
    this.#ports = ports;
  }

  /** All places of a container from now on; none when it has gone. */
  set(container: string, places: readonly ForeignPlace[]): void {
    const before = this.#placesOf.get(container) ?? [];
    if (JSON.stringify(before) === JSON.stringify(places)) return;
    if (places.length === 0) this.#placesOf.delete(container);
    else this.#placesOf.set(container, places);
    for (const id of new Set([...before, ...places].map(({ network }) => network))) {
      const [was, is] = [before, places].map((all) => all.find(({ network }) => network === id));
      this.#change(id, container, was, is);
    }
  }

  /** These networks, in this order, behind the client's own. */
  sees(client: TaskId, networks: readonly string[]): void {
    if ((this.#seenBy.get(client) ?? []).join() === networks.join()) return;
    this.#seenBy.set(client, networks);
    this.#tell(client);
  }

  /** The number of the client's scope. */
  open(client: TaskId, own: readonly number[], forward: boolean): number {
    this.#clients.set(client, { own, forward });
    return this.#ports.setScope(client, [...own, ...this.#numbersFor(client)], forward);
  }

  /** Its scope is the caller's to release. */
  close(client: TaskId): void {
    this.#clients.delete(client);
    this.#seenBy.delete(client);
  }

  #change(id: string, container: string, was: ForeignPlace | undefined, is: ForeignPlace | undefined): void {
    const zone = this.#zones.get(id) ?? (is === undefined ? undefined : this.#add(id, is));
    if (zone === undefined) return;
    if (is === undefined) zone.places.delete(container);
    else zone.places.set(container, is);
    if (zone.places.size === 0) {
      this.#remove(id, zone);
      return;
    }
    const both = [was, is].flatMap((place) => place ?? []);
    const names = new Set(both.flatMap((place) => place.names));
    const addresses = new Set(both.flatMap((place) => place.addresses));
    this.#ports.post({
      kind: 'zone-update',
      update: {
        network: zone.number,
        names: [...names].map((name) => nameRecord(zone, name)),
        pointers: [...addresses].map((address) => pointerRecord(zone, address)),
      },
    });
  }

  #add(id: string, { networkName, subnets }: ForeignPlace): Zone {
    const zone = { number: this.#ports.takeNumber(keyOf(id)), places: new Map() };
    this.#zones.set(id, zone);
    this.#ports.post({ kind: 'zone-add', network: zone.number, name: networkName, subnets });
    this.#tellAll(id);
    return zone;
  }

  /** Nobody may see its number when that becomes another network's. */
  #remove(id: string, { number }: Zone): void {
    this.#zones.delete(id);
    this.#tellAll(id);
    this.#ports.post({ kind: 'zone-remove', network: number });
    this.#ports.releaseNumber(keyOf(id));
  }

  #tellAll(id: string): void {
    for (const [client, networks] of this.#seenBy) if (networks.includes(id)) this.#tell(client);
  }

  #tell(client: TaskId): void {
    const known = this.#clients.get(client);
    if (known === undefined) return;
    this.#ports.setScope(client, [...known.own, ...this.#numbersFor(client)], known.forward);
  }

  #numbersFor(client: TaskId): readonly number[] {
    return (this.#seenBy.get(client) ?? []).flatMap((id) => this.#zones.get(id)?.number ?? []);
  }
}

function keyOf(id: string): string {
  return `foreign ${id}`;
}

/** Several containers may share a name, as tasks of a service share its alias. */
function nameRecord({ places }: Zone, name: string): NameRecord {
  const having = [...places.values()].filter(({ names }) => names.includes(name));
  const addresses = [...new Set(having.flatMap((place) => place.addresses))];
  return { name, addresses, exists: having.length > 0 };
}

function pointerRecord({ places }: Zone, address: string): PointerRecord {
  const owner = [...places.values()].find(({ addresses }) => addresses.includes(address));
  return { address, name: owner?.names[0] ?? null };
}
