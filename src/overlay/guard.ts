// Who may send into this node's tunnels: the nodes of the cluster, each only what comes from a container or bridge that is on it. A
// VXLAN device takes a frame of its network from any sender. Looked at where the outer packet arrives, because behind the device
// nobody knows any more which node it came from. PURE.
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { Field, Match, Rule } from '../netlink/nft-rule.ts';
import type { NftSet, Ruleset } from '../netlink/nftables.ts';
import { type Elements, elementsOf, type FamilySets, familySets, setName } from './elements.ts';
import { linkLocalOf } from './names.ts';
import type { Remote } from './remotes.ts';

/** Names of what counts: what was dropped, but for `unknown`, which no tunnel here takes. */
export const COUNTERS = { strangers: 'strangers', forged: 'forged', unknown: 'unknown_networks' } as const;

const NFPROTO = { 4: [2], 6: [10] } as const;
const IPPROTO_UDP = 17;
const ETHERTYPE = { ipv4: [0x08, 0x00], arp: [0x08, 0x06], ipv6: [0x86, 0xdd] } as const;
const OUTER_SOURCE = { 4: { offset: 12, length: 4 }, 6: { offset: 8, length: 16 } } as const;

/** From the start of the UDP header: 8 bytes, VXLAN's 8 (RFC 7348 section 5), and Ethernet's 14 of the frame in it. */
const inner = (offset: number, length: number): Field => ({ kind: 'bytes', header: 'transport', offset, length });
const PORT = inner(2, 2);
const VNI = inner(12, 3);
const FRAME = {
  mac: inner(22, 6),
  type: inner(28, 2),
  ipv4: inner(42, 4),
  ipv6: inner(38, 16),
  /** Who is said to have an address, and which (RFC 826). */
  arpMac: inner(38, 6),
  arp: inner(44, 4),
} as const;

export interface Guarded {
  /** UDP. */
  readonly port: number;
  /** Of the tunnels' addresses. */
  readonly version: 4 | 6;
  /** Of the networks here: others may use the port for overlays of their own. */
  readonly vnis: readonly number[];
  readonly nodes: readonly IpAddress[];
  /** Of all networks here. */
  readonly frames: Elements;
}

/** The price of a frame that is right is one look-up; who is wrong in which way is found out afterwards. */
export function guardRuleset({ port, version, vnis, nodes, frames }: Guarded): Ruleset {
  const known: Match = { kind: 'in-set', fields: [VNI], set: 'vnis' };
  return {
    counters: Object.values(COUNTERS),
    sets: [vniSet(vnis), ...nodeSets(nodes), ...familySets(frameSets(version), frames)],
    chains: [
      {
        name: 'input',
        type: 'filter',
        hook: 'input',
        priority: 0,
        rules: [
          { when: [{ kind: 'is', field: { kind: 'protocol' }, value: [IPPROTO_UDP], not: true }], verdict: 'accept' },
          { when: [{ kind: 'is', field: PORT, value: [port >>> 8, port & 0xff], not: true }], verdict: 'accept' },
          ...frameRules(version),
          ...([4, 6] as const).map(
            (of): Rule => ({
              when: [{ ...known, not: true }, ...fromNode(of, false)],
              counter: COUNTERS.unknown,
              verdict: 'accept',
            }),
          ),
          { when: [{ ...known, not: true }], verdict: 'accept' },
          ...([4, 6] as const).map(
            (of): Rule => ({ when: fromNode(of, true), counter: COUNTERS.strangers, verdict: 'drop' }),
          ),
          { when: [known], counter: COUNTERS.forged, verdict: 'drop' },
        ],
      },
    ],
  };
}

function frameRules(version: 4 | 6): readonly Rule[] {
  const accept = (type: keyof typeof ETHERTYPE, ...sources: readonly (readonly [4 | 6, Field, Field])[]): Rule => ({
    when: [
      { kind: 'is', field: { kind: 'family' }, value: NFPROTO[version] },
      { kind: 'is', field: FRAME.type, value: ETHERTYPE[type] },
      ...sources.map(
        ([of, mac, address]): Match => ({
          kind: 'in-set',
          fields: [outerSource(version), VNI, mac, address],
          set: setName(frameSets(version), of),
        }),
      ),
    ],
    verdict: 'accept',
  });
  const { mac, ipv4, ipv6, arpMac, arp } = FRAME;
  return [
    accept('ipv4', [4, mac, ipv4]),
    accept('ipv6', [6, mac, ipv6]),
    // Broadcast does not come through tunnels; this is who asks whether a neighbour is still there.
    accept('arp', [4, mac, arp], [4, arpMac, arp]),
  ];
}

function fromNode(of: 4 | 6, not: boolean): readonly Match[] {
  return [
    { kind: 'is', field: { kind: 'family' }, value: NFPROTO[of] },
    { kind: 'in-set', fields: [outerSource(of)], set: nodeSetName(of), not },
  ];
}

function outerSource(version: 4 | 6): Field {
  return { kind: 'bytes', header: 'network', ...OUTER_SOURCE[version] };
}

export function frameSets(version: 4 | 6): FamilySets {
  return { name: 'frames', of: [`ipv${version}`, 'vni', 'mac'] };
}

/**
 * What other nodes may send on a network. Neighbours are asked for from the address that a link has besides; where a node's address
 * is not of the tunnels' version there is no way from it.
 */
export function frameElements(vni: number, version: 4 | 6, remotes: Iterable<Remote>): ReturnType<typeof elementsOf> {
  return elementsOf(
    [...remotes]
      .filter(({ vtep }) => ipVersion(vtep) === version)
      .flatMap(({ addresses, mac, vtep }) =>
        addresses.flatMap((address) => {
          const of = ipVersion(address);
          const all = of === 4 ? [address] : [address, linkLocalOf(mac)];
          return all.map((one) => ({ version: of, element: [vtep, vni, mac, one] }));
        }),
      ),
  );
}

export function vniSet(vnis: readonly number[]): NftSet {
  return { name: 'vnis', of: ['vni'], elements: vnis.map((vni) => [vni]) };
}

/** One for each family. */
export function nodeSets(nodes: readonly IpAddress[]): readonly NftSet[] {
  return ([4, 6] as const).map((version) => ({
    name: nodeSetName(version),
    of: [`ipv${version}`],
    elements: nodes.filter((address) => ipVersion(address) === version).map((address) => [address]),
  }));
}

function nodeSetName(version: 4 | 6): string {
  return `nodes_ipv${version}`;
}
