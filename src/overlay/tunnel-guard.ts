// Keeps strangers from the tunnels, by a table of the agent's own in the node's namespace. It is there as long as the node has a
// tunnel.
import type { IpAddress } from '../model/address.ts';
import type { Kernel } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { NftSet } from '../netlink/nftables.ts';
import { guardRuleset, nodeSets, STRANGERS, vniSet } from './guard.ts';
import { guardTable, type Instance } from './names.ts';

export class TunnelGuard {
  readonly #kernel: Kernel;
  readonly #table: string;
  readonly #port: number;
  readonly #vnis = new Set<number>();
  #nodes: readonly IpAddress[] = [];
  /** The table is as wanted, as far as is known. */
  #isUp = false;
  /** The nodes in it are not those that there are. */
  #isStale = false;

  constructor(kernel: Kernel, instance: Instance, port: number) {
    this.#kernel = kernel;
    this.#table = guardTable(instance);
    this.#port = port;
  }

  /** The tunnel addresses of all nodes. Rejects with KernelError. */
  async setNodes(addresses: readonly IpAddress[]): Promise<void> {
    const nodes = [...new Set(addresses)].sort();
    if (nodes.join() === this.#nodes.join()) return;
    this.#nodes = nodes;
    if (!this.#isUp) return;
    this.#isStale = true;
    await this.#update(nodeSets(nodes));
    this.#isStale = false;
  }

  /** To be called before the network's tunnel is made. Rejects with KernelError. */
  async admit(vni: number): Promise<void> {
    if (this.#vnis.has(vni) && this.#isUp) return;
    this.#vnis.add(vni);
    await (this.#isUp ? this.#update([vniSet([...this.#vnis])]) : this.#make());
  }

  /** After the network's tunnel has gone. */
  async dismiss(vni: number): Promise<void> {
    if (!this.#vnis.delete(vni)) return;
    if (this.#vnis.size === 0) await this.remove();
    else if (this.#isUp) await this.#update([vniSet([...this.#vnis])]);
  }

  /** Resolves with true when the table had gone, or could not be changed before, and was made anew. */
  async repair(): Promise<boolean> {
    if (!this.#isUp || (!this.#isStale && (await this.#kernel.own.hasRuleset(this.#table)))) return false;
    await this.#make();
    return true;
  }

  /** Also what an earlier run left. */
  async remove(): Promise<void> {
    this.#isUp = false;
    await this.#kernel.own.apply({ kind: 'remove-ruleset', name: this.#table });
  }

  /** How many frames of strangers were dropped since the table was made. */
  async dropped(): Promise<number> {
    return (await this.#kernel.own.packetsCounted(this.#table, STRANGERS)) ?? 0;
  }

  async #update(sets: readonly NftSet[]): Promise<void> {
    try {
      for (const set of sets) await this.#kernel.own.apply({ kind: 'set-elements', name: this.#table, set });
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'absent')) throw error;
      await this.#make();
    }
  }

  async #make(): Promise<void> {
    const ruleset = guardRuleset(this.#port, [...this.#vnis], this.#nodes);
    await this.#kernel.own.apply({ kind: 'set-ruleset', name: this.#table, ruleset });
    this.#isUp = true;
    this.#isStale = false;
  }
}
