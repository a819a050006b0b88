// Keeps strangers and forgers from the tunnels, by a table of the agent's own in the node's namespace. It is there as long as the
// node has a tunnel.
import type { IpAddress } from '../model/address.ts';
import type { Kernel, Operation } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { NftSet } from '../netlink/nftables.ts';
import { type Elements, elementsOf, type FamilyElement, setChanges, without } from './elements.ts';
import { COUNTERS, frameElements, frameSets, guardRuleset, nodeSets, vniSet } from './guard.ts';
import { guardTable, type Instance } from './names.ts';
import type { Remote } from './remotes.ts';

export interface TunnelGuardOptions {
  readonly kernel: Kernel;
  readonly instance: Instance;
  /** UDP. */
  readonly port: number;
}

export type Counts = Readonly<Record<keyof typeof COUNTERS, number>>;

const NOTHING: Counts = { strangers: 0, forged: 0, unknown: 0 };

export class TunnelGuard {
  readonly #options: TunnelGuardOptions;
  readonly #table: string;
  #version: 4 | 6;
  /** By network. */
  readonly #frames = new Map<number, Map<string, FamilyElement>>();
  #nodes: readonly IpAddress[] = [];
  /** The table is as wanted, as far as is known. */
  #isUp = false;
  /** What is in it is not what is wanted. */
  #isStale = false;
  /** By tables that are there no longer. */
  #counted = NOTHING;

  /** `version`: of the tunnels' addresses. */
  constructor(options: TunnelGuardOptions, version: 4 | 6) {
    this.#options = options;
    this.#version = version;
    this.#table = guardTable(options.instance);
  }

  /** Also what an earlier run left. Rejects with KernelError. */
  static async removeTable(kernel: Kernel, instance: Instance): Promise<void> {
    await kernel.own.apply({ kind: 'remove-ruleset', name: guardTable(instance) });
  }

  /** The tunnel addresses of all nodes. Rejects with KernelError. */
  async setNodes(addresses: readonly IpAddress[]): Promise<void> {
    const nodes = [...new Set(addresses)].sort();
    if (nodes.join() === this.#nodes.join()) return;
    this.#nodes = nodes;
    if (this.#isUp) await this.#update(nodeSets(nodes).map(setElements(this.#table)));
  }

  /** What is on the networks has to be told anew then, network by network. */
  useVersion(version: 4 | 6): void {
    if (version === this.#version) return;
    this.#version = version;
    this.#isStale = true;
    for (const frames of this.#frames.values()) frames.clear();
  }

  /** All that is on a network elsewhere; to be called before its tunnel is made. Rejects with KernelError. */
  async admit(vni: number, remotes: Iterable<Remote>): Promise<void> {
    const version = this.#version;
    const [before, after] = [this.#frames.get(vni), frameElements(vni, version, remotes)];
    this.#frames.set(vni, after);
    if (!this.#isUp || this.#isStale) return this.#make();
    if (before === undefined) await this.#update([this.#vnis()]);
    await this.#change(without(after, before ?? NONE), without(before ?? NONE, after));
  }

  /** Some of what is on a network elsewhere, at a price that depends on them alone. Rejects with KernelError. */
  async move(vni: number, before: Iterable<Remote>, after: Iterable<Remote>): Promise<void> {
    const version = this.#version;
    const known = this.#frames.get(vni);
    if (known === undefined || !this.#isUp) return;
    const [was, is] = [frameElements(vni, version, before), frameElements(vni, version, after)];
    const [add, remove] = [without(is, known), without(was, is)];
    for (const key of remove.keys()) known.delete(key);
    for (const [key, element] of add) known.set(key, element);
    await this.#change(add, remove);
  }

  /** After the network's tunnel has gone. */
  async dismiss(vni: number): Promise<void> {
    const frames = this.#frames.get(vni);
    if (!this.#frames.delete(vni)) return;
    if (this.#frames.size === 0) await this.#remove();
    else if (this.#isUp) {
      await this.#update([this.#vnis()]);
      await this.#change(NONE, frames ?? NONE);
    }
  }

  /** Resolves with true when the table had gone, or could not be changed before, and was made anew. */
  async repair(): Promise<boolean> {
    const { own } = this.#options.kernel;
    if (!this.#isUp || (!this.#isStale && (await own.hasRuleset(this.#table)))) return false;
    await this.#make();
    return true;
  }

  /** How many frames were dropped, or taken by no tunnel, since the first tunnel was made. Rejects with KernelError. */
  async counts(): Promise<Counts> {
    const { own } = this.#options.kernel;
    const counts: Record<keyof Counts, number> = { ...this.#counted };
    for (const [what, counter] of Object.entries(COUNTERS) as [keyof Counts, string][])
      counts[what] += (await own.packetsCounted(this.#table, counter)) ?? 0;
    return counts;
  }

  async #remove(): Promise<void> {
    const counts = await this.counts();
    this.#isUp = false;
    await TunnelGuard.removeTable(this.#options.kernel, this.#options.instance);
    this.#counted = counts;
  }

  #vnis(): Operation {
    return setElements(this.#table)(vniSet([...this.#frames.keys()]));
  }

  async #change(add: Elements, remove: Elements): Promise<void> {
    const changes = setChanges(frameSets(this.#version), add, remove);
    if (changes.length === 0) return;
    await this.#update([{ kind: 'change-elements', name: this.#table, family: 'inet', changes }]);
  }

  async #update(operations: readonly Operation[]): Promise<void> {
    const wasStale = this.#isStale;
    this.#isStale = true;
    try {
      for (const operation of operations) await this.#options.kernel.own.apply(operation);
      this.#isStale = wasStale;
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'absent')) throw error;
      await this.#make();
    }
  }

  async #make(): Promise<void> {
    const { kernel, port } = this.#options;
    const version = this.#version;
    const frames = new Map([...this.#frames.values()].flatMap((one) => [...one]));
    const ruleset = guardRuleset({ port, version, vnis: [...this.#frames.keys()], nodes: this.#nodes, frames });
    const counts = this.#isUp ? await this.counts() : this.#counted;
    await kernel.own.apply({ kind: 'set-ruleset', name: this.#table, ruleset });
    this.#counted = counts;
    this.#isUp = true;
    this.#isStale = false;
  }
}

const NONE = elementsOf([]);

function setElements(name: string): (set: NftSet) => Operation {
  return (set) => ({ kind: 'set-elements', name, set });
}
