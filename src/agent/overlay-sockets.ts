// Joins an overlay network's namespace with the workers: the socket group that serves all VIPs of the network, and the BPF
// program that leads connections to it.
import type { BalancerCommand } from '../balancer/command.ts';
import type { Slots } from '../balancer/slots.ts';
import type { Network, NetworkId } from '../model/network.ts';
import { closeVipGroup, openVipGroup, SkLookup, VIP_GROUP_PORT, type VipGroup } from '../native/sk-lookup.ts';

export interface OverlayPlane {
  readonly workers: number;
  post(command: BalancerCommand): void;
  postTo(worker: number, command: BalancerCommand): void;
  barrier(): Promise<void>;
}

interface OpenNetwork {
  readonly netns: number;
  readonly number: number;
  readonly lookup: SkLookup;
  readonly group: VipGroup;
  readonly frontends: readonly number[];
}

export class OverlaySockets {
  readonly #plane: OverlayPlane;
  readonly #numbers: Slots<NetworkId>;
  readonly #frontends: Slots<string>;
  readonly #open = new Map<NetworkId, OpenNetwork>();

  /** `frontends` numbers are those of the counters, shared with the node's own listeners. */
  constructor(plane: OverlayPlane, numbers: Slots<NetworkId>, frontends: Slots<string>) {
    this.#plane = plane;
    this.#numbers = numbers;
    this.#frontends = frontends;
  }

  netnsOf(id: NetworkId): number | undefined {
    return this.#open.get(id)?.netns;
  }

  /** Index of the network's counters, one for each protocol. */
  frontendsOf(id: NetworkId): readonly number[] {
    return this.#open.get(id)?.frontends ?? [];
  }

  has(id: NetworkId): boolean {
    return this.#open.has(id);
  }

  ids(): readonly NetworkId[] {
    return [...this.#open.keys()];
  }

  /** Makes the group and attaches the program. Idempotent. Throws NativeError. */
  open(network: Network, netns: number): void {
    if (this.#open.has(network.id)) return;
    const number = this.#numbers.take(network.id);
    if (number === undefined) throw new RangeError('more networks than the data path has numbers for');
    const group = openVipGroup(netns, this.#plane.workers);
    try {
      const lookup = SkLookup.attach({ netns, ownPort: VIP_GROUP_PORT, workers: this.#plane.workers });
      const frontends = (['tcp', 'udp'] as const).flatMap(
        (protocol) => this.#frontends.take(`${protocol}/${network.id}`) ?? [],
      );
      this.#open.set(network.id, { netns, number, lookup, group, frontends });
      (['tcp', 'udp'] as const).forEach((protocol, index) => {
        const id = frontends[index];
        if (id === undefined) return;
        group[protocol].forEach((fd, worker) => {
          this.#plane.postTo(worker, {
            kind: 'frontend-add',
            frontend: { id, protocol, fd, target: { kind: 'vips', network: number, netns } },
          });
          lookup.setSocket(protocol, worker, fd);
        });
      });
    } catch (error) {
      closeVipGroup(group);
      throw error;
    }
  }

  setVip(id: NetworkId, address: string, backend: number | null, hasEligible: boolean): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    // A VIP that is closing is refused before its backend goes, one that is opening is let in after its backend has come.
    if (backend === null) open.lookup.removeVip(address);
    else if (!hasEligible) open.lookup.setVip(address, false);
    this.#plane.post({ kind: 'vip-set', network: open.number, address, backend });
    if (backend !== null && hasEligible) open.lookup.setVip(address, true);
  }

  async close(id: NetworkId): Promise<void> {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#open.delete(id);
    open.lookup.close();
    for (const frontend of open.frontends) this.#plane.post({ kind: 'frontend-remove', id: frontend });
    await this.#plane.barrier();
    closeVipGroup(open.group);
    for (const protocol of ['tcp', 'udp']) this.#frontends.release(`${protocol}/${id}`);
    this.#numbers.release(id);
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.ids().map((id) => this.close(id)));
  }
}
