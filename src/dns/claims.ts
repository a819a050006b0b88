// Who claims a name (or the reverse of an address) on one network, and who gets it. PURE.

import type { ServicePort } from './command.ts';

/** What a name means. */
export interface Meaning {
  /** Addresses; in the reverse direction, the one name. */
  readonly values: readonly string[];
  /** What SRV answers below it. */
  readonly ports?: readonly ServicePort[];
  /** Seconds; absent: as the zone says. */
  readonly ttl?: number | undefined;
}

/** One claimant's wish that a name means something. */
export interface Claim extends Meaning {
  /** Lower goes first: see RANK in zone.ts. */
  readonly rank: number;
  /** The service. Claims of one service and rank stand together, those of two never do. */
  readonly owner: string;
  /** When the owner was created, milliseconds since the epoch; of one rank the oldest owner goes first. */
  readonly since: number;
  /** Order among the claims that stand together. */
  readonly order: number;
}

interface Entry extends Claim {
  readonly claimant: string;
}

export class Claims {
  readonly #byName = new Map<string, Entry[]>();
  readonly #namesOf = new Map<string, readonly string[]>();
  /** What was last told: `changed` reports differences from it. */
  readonly #told = new Map<string, Meaning>();

  /** Replaces all that a claimant claims. Names that this may have changed are added to `touched`. */
  replace(claimant: string, claims: ReadonlyMap<string, Claim>, touched: Set<string>): void {
    for (const name of this.#namesOf.get(claimant) ?? []) {
      const rest = (this.#byName.get(name) ?? []).filter((entry) => entry.claimant !== claimant);
      if (rest.length === 0) this.#byName.delete(name);
      else this.#byName.set(name, rest);
      touched.add(name);
    }
    for (const [name, claim] of claims) {
      const entries = this.#byName.get(name);
      const entry = { ...claim, claimant };
      if (entries === undefined) this.#byName.set(name, [entry]);
      else entries.push(entry);
      touched.add(name);
    }
    if (claims.size === 0) this.#namesOf.delete(claimant);
    else this.#namesOf.set(claimant, [...claims.keys()]);
  }

  /** What the touched names mean now, where that differs from what was told before; undefined: nothing any more. */
  changed(touched: ReadonlySet<string>): [name: string, meaning: Meaning | undefined][] {
    const changes: [string, Meaning | undefined][] = [];
    for (const name of touched) {
      const meaning = this.#meaningOf(name);
      if (sameMeaning(meaning, this.#told.get(name))) continue;
      if (meaning === undefined) this.#told.delete(name);
      else this.#told.set(name, meaning);
      changes.push([name, meaning]);
    }
    return changes;
  }

  /** What was told of a name; undefined: it means nothing. */
  get(name: string): Meaning | undefined {
    return this.#told.get(name);
  }

  #meaningOf(name: string): Meaning | undefined {
    const entries = this.#byName.get(name);
    if (entries === undefined) return undefined;
    const [first, ...others] = entries.toSorted(precedence);
    if (first === undefined) return undefined;
    const together = others.filter((entry) => entry.rank === first.rank && entry.owner === first.owner);
    const values = [...new Set([first, ...together].flatMap((entry) => entry.values))];
    const { ports, ttl } = first;
    return { values, ...(ports === undefined ? {} : { ports }), ...(ttl === undefined ? {} : { ttl }) };
  }
}

function precedence(a: Entry, b: Entry): number {
  return (
    a.rank - b.rank ||
    a.since - b.since ||
    compare(a.owner, b.owner) ||
    a.order - b.order ||
    compare(a.claimant, b.claimant)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function sameMeaning(a: Meaning | undefined, b: Meaning | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.ttl === b.ttl && sameTexts(a.values, b.values) && samePorts(a.ports ?? [], b.ports ?? []);
}

function samePorts(a: readonly ServicePort[], b: readonly ServicePort[]): boolean {
  return (
    a.length === b.length &&
    a.every((port, i) => {
      const { protocol, labels, targets } = b[i] as ServicePort;
      return (
        port.protocol === protocol &&
        sameTexts(port.labels, labels) &&
        port.targets.length === targets.length &&
        port.targets.every((target, k) => target.name === targets[k]?.name && target.port === targets[k]?.port)
      );
    })
  );
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
