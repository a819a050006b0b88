// What may be sent, as elements of two sets of nftables: one of IPv4 addresses, one of IPv6. PURE.
import type { KeyPart, NftSet, SetChange, SetElement } from '../netlink/nftables.ts';

export interface FamilyElement {
  readonly version: 4 | 6;
  readonly element: SetElement;
}

/** By their text. */
export type Elements = ReadonlyMap<string, FamilyElement>;

/** The names of the two sets, and what their keys begin with; they end with the address. */
export interface FamilySets {
  readonly name: string;
  readonly of: readonly KeyPart[];
}

export function elementsOf(list: Iterable<FamilyElement>): Map<string, FamilyElement> {
  return new Map([...list].map((one) => [one.element.join(' '), one]));
}

/** Those that are not among the others. */
export function without(elements: Elements, others: Elements): Elements {
  return new Map([...elements].filter(([key]) => !others.has(key)));
}

export function familySets(sets: FamilySets, elements: Elements): readonly NftSet[] {
  return ([4, 6] as const).map((version) => ({
    name: setName(sets, version),
    of: keyOf(sets, version),
    elements: ofVersion(elements, version),
  }));
}

/** Empty when nothing comes and nothing goes. */
export function setChanges(sets: FamilySets, add: Elements, remove: Elements): readonly SetChange[] {
  return ([4, 6] as const)
    .map((version) => ({
      name: setName(sets, version),
      of: keyOf(sets, version),
      add: ofVersion(add, version),
      remove: ofVersion(remove, version),
    }))
    .filter((change) => change.add.length + change.remove.length > 0);
}

export function setName({ name }: FamilySets, version: 4 | 6): string {
  return `${name}_ipv${version}`;
}

function keyOf({ of }: FamilySets, version: 4 | 6): readonly KeyPart[] {
  return [...of, version === 4 ? 'ipv4' : 'ipv6'];
}

function ofVersion(elements: Elements, version: 4 | 6): readonly SetElement[] {
  return [...elements.values()].filter((one) => one.version === version).map(({ element }) => element);
}
