// What containers may send on an overlay network: frames from their own addresses, and no others. Looked at where a frame comes into
// the network's bridge, so that neither another container nor the node, its balancer or a tunnel ever sees it. PURE.
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { Field, Match, Rule } from '../netlink/nft-rule.ts';
import type { Ruleset } from '../netlink/nftables.ts';
import { type Elements, elementsOf, type FamilyElement, type FamilySets, familySets, setName } from './elements.ts';
import { linkLocalOf, macOf, portLink, TUNNEL } from './names.ts';
import type { ContainerSpec } from './plan.ts';

/** Counts what was dropped. */
export const FORGED = 'forged';

export const SENDERS: FamilySets = { name: 'senders', of: ['link', 'mac'] };

/** While a machine looks for an address, it sends from none (RFC 5227 section 1.1, RFC 4862 section 5.4.2). */
const NO_ADDRESS = { 4: '0.0.0.0', 6: '::' } as const;

const ETHERTYPE = { ipv4: [0x08, 0x00], arp: [0x08, 0x06], ipv6: [0x86, 0xdd] } as const;
const IPPROTO_ICMPV6 = 58;
/** RFC 4861 section 4.4. */
const NEIGHBOUR_ADVERTISEMENT = 136;
/** NF_BR_PRI_FILTER_BRIDGED in linux/netfilter_bridge.h. */
const FILTER = -200;

const fieldOf = (header: 'link' | 'network' | 'transport', offset: number, length: number): Field => ({
  kind: 'bytes',
  header,
  offset,
  length,
});
const PORT: Field = { kind: 'in-link' };
const SOURCE = {
  mac: fieldOf('link', 6, 6),
  ipv4: fieldOf('network', 12, 4),
  ipv6: fieldOf('network', 8, 16),
  /** Who is said to have an address, and which (RFC 826). */
  arpMac: fieldOf('network', 8, 6),
  arp: fieldOf('network', 14, 4),
  advertised: fieldOf('transport', 8, 16),
} as const;

/** What the containers of this node may send on a network, by their ports of its bridge. */
export function senderElements(network: NetworkId, containers: readonly ContainerSpec[]): Elements {
  return elementsOf(
    containers.flatMap(({ taskId, attachments }) =>
      attachments
        .filter((one) => one.network.id === network)
        .flatMap(({ addresses }) => elementsOfPort(portLink(taskId), addresses)),
    ),
  );
}

function elementsOfPort(port: string, addresses: readonly IpAddress[]): readonly FamilyElement[] {
  const [first] = addresses;
  if (first === undefined) return [];
  const mac = macOf(first);
  return addresses.flatMap((address) => {
    const version = ipVersion(address);
    const also = version === 4 ? [] : [linkLocalOf(mac)];
    return [address, NO_ADDRESS[version], ...also].map((one) => ({ version, element: [port, mac, one] }));
  });
}

/** One look-up for a frame from a container, none for one from another node: who sends that was looked at on arrival (guard.ts). */
export function portRuleset(elements: Elements): Ruleset {
  const { mac, ipv4, ipv6, arpMac, arp, advertised } = SOURCE;
  const advertises: readonly Match[] = [
    { kind: 'is', field: { kind: 'ethertype' }, value: ETHERTYPE.ipv6 },
    { kind: 'is', field: { kind: 'protocol' }, value: [IPPROTO_ICMPV6] },
    { kind: 'is', field: fieldOf('transport', 0, 1), value: [NEIGHBOUR_ADVERTISEMENT] },
  ];
  return {
    family: 'bridge',
    counters: [FORGED],
    sets: familySets(SENDERS, elements),
    chains: [
      {
        name: 'arrivals',
        type: 'filter',
        hook: 'prerouting',
        priority: FILTER,
        rules: [
          { when: [{ kind: 'in', link: TUNNEL }], verdict: 'accept' },
          accept('ipv4', isSender(4, mac, ipv4)),
          {
            when: [...advertises, { ...isSender(6, mac, advertised), not: true }],
            counter: FORGED,
            verdict: 'drop',
          },
          accept('ipv6', isSender(6, mac, ipv6)),
          accept('arp', isSender(4, mac, arp), isSender(4, arpMac, arp)),
          { when: [], counter: FORGED, verdict: 'drop' },
        ],
      },
    ],
  };
}

function accept(type: keyof typeof ETHERTYPE, ...matches: readonly Match[]): Rule {
  return {
    when: [{ kind: 'is', field: { kind: 'ethertype' }, value: ETHERTYPE[type] }, ...matches],
    verdict: 'accept',
  };
}

function isSender(version: 4 | 6, mac: Field, address: Field): Extract<Match, { kind: 'in-set' }> {
  return { kind: 'in-set', fields: [PORT, mac, address], set: setName(SENDERS, version) };
}
