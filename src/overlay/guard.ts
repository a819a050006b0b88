// Who may send into this node's tunnels: the nodes of the cluster, and nobody else. A VXLAN device takes a frame of its
// network from any sender; a frame of a network that has no device here goes nowhere by itself. PURE.
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { NftSet, Rule, Ruleset } from '../netlink/nftables.ts';

/** Counts what was dropped. */
export const STRANGERS = 'strangers';

/** Only frames of these networks are looked at: others may use the port for overlays of their own. */
export function guardRuleset(port: number, vnis: readonly number[], nodes: readonly IpAddress[]): Ruleset {
  const refuse = (of: 'ipv4' | 'ipv6'): Rule => ({
    when: [
      { kind: 'udp', port },
      { kind: 'vni-in', set: 'vnis' },
      { kind: 'source-not-in', of, set: nodeSetName(of) },
    ],
    counter: STRANGERS,
    verdict: 'drop',
  });
  return {
    counters: [STRANGERS],
    sets: [vniSet(vnis), ...nodeSets(nodes)],
    chains: [{ name: 'input', type: 'filter', hook: 'input', priority: 0, rules: [refuse('ipv4'), refuse('ipv6')] }],
  };
}

export function vniSet(vnis: readonly number[]): NftSet {
  return { name: 'vnis', of: 'vni', elements: vnis };
}

/** One for each family. */
export function nodeSets(nodes: readonly IpAddress[]): readonly NftSet[] {
  return ([4, 6] as const).map((version) => {
    const of = version === 4 ? 'ipv4' : 'ipv6';
    return { name: nodeSetName(of), of, elements: nodes.filter((address) => ipVersion(address) === version) };
  });
}

function nodeSetName(of: 'ipv4' | 'ipv6'): string {
  return `nodes_${of}`;
}
