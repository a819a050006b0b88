// How large packets may be between nodes, and whether they get there. PURE.
import { type IpAddress, ipVersion } from '../../model/address.ts';
import { count, type Finding, findingsOf, some } from './finding.ts';

export interface UnderlayFacts {
  /** Where other nodes send overlay traffic, and the link that has that address; undefined: there is no such address. */
  readonly underlay: { readonly address: IpAddress; readonly link: string; readonly mtu: number } | undefined;
  /** The address that other nodes are told, as far as that is known. */
  readonly told?: IpAddress | undefined;
  readonly isCluster: boolean;
  /** Of the overlay networks on this node that reach others. */
  readonly tunnels: readonly { readonly namespace: string; readonly mtu: number }[];
  /** To the tunnel ports of the other nodes. */
  readonly paths: readonly Path[];
}

export interface Path {
  readonly node: string;
  readonly address: IpAddress;
  /** Of the whole path, as far as the kernel has learnt it. */
  readonly mtu: number | undefined;
  /** Name of an errno; absent: nothing came back, which is how a path without trouble sounds. */
  readonly error?: string;
}

/** What a tunnel adds to a packet: outer IPv4 (20) or IPv6 (40) header, UDP (8), VXLAN (8), inner Ethernet (14). */
const OVERHEAD = { 4: 50, 6: 70 } as const;
/** The least that IPv6 works with (RFC 8200 section 5). */
const LEAST_IPV6 = 1280;

export function checkUnderlay({ underlay, told, isCluster, tunnels, paths }: UnderlayFacts): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('mtu');
  if (underlay === undefined) {
    const what = 'this machine has no address that other nodes could reach';
    if (!isCluster) return [ok(`${what}, and the agent is alone`)];
    if (told !== undefined)
      return [
        bad(
          `${told}, at which other nodes are told to reach this one, is not on this machine`,
          'give it to one of its links, or start the agent with another --advertise or --data-address, or without',
        ),
      ];
    return [bad(what, 'give it one, or say which by --advertise or --data-address')];
  }
  const { address, link, mtu } = underlay;
  const room = mtu - OVERHEAD[ipVersion(address)];
  const what = `${link} (${address}) takes packets of ${mtu} bytes, so overlay networks between nodes have an MTU of ${room}`;
  const first =
    room >= LEAST_IPV6
      ? ok(what)
      : warn(
          `${what}: too little for IPv6 (${LEAST_IPV6})`,
          `raise the MTU of ${link} to ${mtu - room + LEAST_IPV6} or more, on all nodes`,
        );
  return [first, ...checkTunnels(tunnels, link, room), ...checkPaths(paths, mtu)];
}

function checkTunnels(tunnels: UnderlayFacts['tunnels'], link: string, room: number): readonly Finding[] {
  const { warn } = findingsOf('mtu');
  const larger = tunnels.filter(({ mtu }) => mtu > room).map(({ namespace, mtu }) => `${namespace} (${mtu})`);
  if (larger.length === 0) return [];
  return [
    warn(
      `${some(larger)}: an MTU larger than the ${room} that ${link} has room for, so large packets are sent in pieces`,
      `restart the agent if the MTU of ${link} was changed; else raise it`,
    ),
  ];
}

function checkPaths(paths: readonly Path[], mtu: number): readonly Finding[] {
  const { ok } = findingsOf('paths');
  const findings = paths.map((path) => checkPath(path, mtu));
  const fine = paths.filter((_, i) => findings[i] === undefined).map(({ node }) => node);
  const problems = findings.filter((finding) => finding !== undefined);
  if (fine.length === 0) return problems;
  return [
    ok(
      `no error comes back from packets of ${mtu} bytes to the tunnel port of ${count(fine.length, 'node')}: ${some(fine)}`,
    ),
    ...problems,
  ];
}

/** Undefined when there is nothing to be said about it. */
function checkPath({ node, address, mtu, error }: Path, own: number): Finding | undefined {
  const { warn, bad } = findingsOf('paths');
  const where = `${node} (${address})`;
  if (error === 'EMSGSIZE' || (error === undefined && mtu !== undefined && mtu < own)) {
    const room = (mtu ?? own) - OVERHEAD[ipVersion(address)];
    return warn(
      `packets to ${where} may have ${mtu ?? 'fewer'} bytes, and this node's link takes ${own}: large ones on overlay networks get lost or are sent in pieces`,
      `let all links between the nodes have the same MTU, or make networks with --opt com.docker.network.driver.mtu=${room}`,
    );
  }
  // It says itself that nobody is there, so it is there; it has no tunnel yet.
  if (error === undefined || error === 'ECONNREFUSED') return undefined;
  if (error === 'EHOSTUNREACH' || error === 'ENETUNREACH')
    return bad(
      `packets to ${where} do not arrive: ${error}`,
      `look at the routes between the nodes: ip route get ${address}`,
    );
  if (error === 'EPERM' || error === 'EACCES')
    return bad(
      `packets to ${where} are not let out: ${error}`,
      'let 4789/udp pass the firewall of this node, in both directions',
    );
  return warn(`packets to ${where} cannot be sent: ${error}`, 'look at the way between the nodes');
}
