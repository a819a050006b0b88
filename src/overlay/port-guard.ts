// Keeps containers from sending in another's name, by a table of the agent's own in the namespace of their network. It goes with
// that namespace.
import type { Namespace, Operation } from '../netlink/kernel.ts';
import { type Elements, elementsOf, type FamilyElement, setChanges, without } from './elements.ts';
import { PORT_TABLE } from './names.ts';
import { FORGED, portRuleset, SENDERS } from './port-rules.ts';

export class PortGuard {
  readonly #namespace: Namespace;
  /** What is in the sets, as far as is known; undefined before the table was made. */
  #there: Map<string, FamilyElement> | undefined;
  /** After the last change of its own. */
  #generation: number | undefined;
  /** By tables that had to be made anew. */
  #counted = 0;

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
  }

  /** Some more, at a price that depends on them alone. False when all have to be admitted. Rejects with KernelError. */
  async add(elements: Elements): Promise<boolean> {
    if (this.#there === undefined || !(await this.#isAsLeft())) return false;
    await this.#change(without(elements, this.#there), NONE);
    return true;
  }

  /** Likewise some less. */
  async remove(elements: Elements): Promise<void> {
    await this.#change(NONE, elements);
  }

  /** Before these can send; others may go on. Resolves with what it did. Rejects with KernelError. */
  async admit(elements: Elements): Promise<readonly Operation[]> {
    if (!(await this.#isAsLeft())) return this.#make(elements);
    return this.#change(without(elements, this.#there ?? NONE), NONE);
  }

  /** After all but these have ended. */
  async retain(elements: Elements): Promise<readonly Operation[]> {
    return this.#change(NONE, without(this.#there ?? NONE, elements));
  }

  /** Makes the table anew when something else has changed nftables here. */
  async repair(): Promise<readonly Operation[]> {
    if (this.#there === undefined || (await this.#isAsLeft())) return [];
    return this.#make(this.#there);
  }

  /** Frames that were dropped since the network was made here. */
  async dropped(): Promise<number> {
    return this.#counted + ((await this.#namespace.packetsCounted(PORT_TABLE, FORGED, 'bridge')) ?? 0);
  }

  async #isAsLeft(): Promise<boolean> {
    return this.#there !== undefined && this.#generation === (await this.#namespace.rulesGeneration());
  }

  async #make(elements: Elements): Promise<readonly Operation[]> {
    if (this.#there !== undefined) this.#counted = await this.dropped();
    this.#there = new Map(elements);
    return this.#apply({ kind: 'set-ruleset', name: PORT_TABLE, ruleset: portRuleset(elements) });
  }

  async #change(add: Elements, remove: Elements): Promise<readonly Operation[]> {
    const changes = setChanges(SENDERS, add, remove);
    if (changes.length === 0 || this.#there === undefined) return [];
    for (const key of remove.keys()) this.#there.delete(key);
    for (const [key, element] of add) this.#there.set(key, element);
    return this.#apply({ kind: 'change-elements', name: PORT_TABLE, family: 'bridge', changes });
  }

  async #apply(operation: Operation): Promise<readonly Operation[]> {
    // Unknown until it has been done: what failed is made anew.
    this.#generation = undefined;
    await this.#namespace.apply(operation);
    this.#generation = await this.#namespace.rulesGeneration();
    return [operation];
  }
}

const NONE = elementsOf([]);
