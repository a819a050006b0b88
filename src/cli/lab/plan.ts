// What a lab is made of: names, addresses, and the command lines of its programs. PURE.
import { type IpAddress, parseSubnet, type Subnet, subnetAddress, subnetsOverlap } from '../../model/address.ts';

export const DEFAULT_LAB = 'lab';
export const DEFAULT_NODES = 3;
/** More agents than that are a typing error on one machine. */
export const MAX_NODES = 100;
/** The bridge, in a namespace of its own: there no firewall of the machine (Docker's, say) drops what goes from node to node. */
export const BRIDGE = 'br0';
/** A node's link into the lab; the machine's own is called after the lab. */
export const NODE_LINK = 'eth0';
const ETCD_PORT = 2379;
const ETCD_PEER_PORT = 2380;
/** What the lab's records lie under in its etcd. */
const STORE_PREFIX = 'lab';
/** Many agents share the CPUs of one machine. */
const MAX_WORKERS = 2;

/** An interface name has at most 15 characters (IFNAMSIZ less the closing NUL), and `vml-` goes before. */
const NAME = /^[a-z0-9]{1,10}$/;

export function labNameProblem(name: string): string | undefined {
  return NAME.test(name) ? undefined : 'should be 1 to 10 lower-case letters and digits';
}

export function nodeName(number: number): string {
  return `node${number}`;
}

/** The machine's link into the lab. */
export function machineLink(lab: string): string {
  return `vml-${lab}`;
}

export function switchNamespace(lab: string): string {
  return `vmlab-${lab}-switch`;
}

export function nodeNamespace(lab: string, node: string): string {
  return `vmlab-${lab}-${node}`;
}

/** Whether a namespace has a name that this lab gives. */
export function isOfLab(lab: string, namespace: string): boolean {
  const prefix = `vmlab-${lab}-`;
  return namespace.startsWith(prefix) && /^(switch|node\d+)$/.test(namespace.slice(prefix.length));
}

/**
 * The first /24 of 198.18.0.0/15 (for tests of networks, RFC 2544; nobody's real addresses) that overlaps none of these;
 * undefined when there is none.
 */
export function chooseSubnet(taken: readonly Subnet[]): Subnet | undefined {
  for (let number = 0; number < 512; number++) {
    const subnet = parseSubnet(`198.${18 + (number >> 8)}.${number & 255}.0/24`);
    if (subnet !== undefined && !taken.some((other) => subnetsOverlap(subnet, other))) return subnet;
  }
  return undefined;
}

/** Nodes count from 1, and the first one is the machine. */
export function addressOf(subnet: Subnet, node: number): IpAddress {
  return subnetAddress(subnet, BigInt(node));
}

/** ADDRESS:PORT where the agents find etcd. */
export function etcdEndpoint(machine: string): string {
  return `${machine}:${ETCD_PORT}`;
}

/**
 * etcd 3.4 and later. On the lab's addresses alone: a member wants an address for its peers even when it has none. Agents
 * write many records in one transaction, of which 128 are allowed by default. History is kept for as long as a test may look
 * away, so that agents are cut off from it now and then as they are in production.
 */
export function etcdWords(machine: string, folder: string): readonly string[] {
  const client = `http://${etcdEndpoint(machine)}`;
  const peer = `http://${machine}:${ETCD_PEER_PORT}`;
  return [
    '--name=lab',
    `--data-dir=${folder}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=lab=${peer}`,
    '--max-txn-ops=10000',
    '--auto-compaction-mode=periodic',
    '--auto-compaction-retention=5m',
    '--logger=zap',
    '--log-outputs=stderr',
  ];
}

export interface AgentPlace {
  readonly name: string;
  readonly address: string;
  readonly socket: string;
  readonly stateDir: string;
}

/** Words for `vipmesh`. Health, metrics and DNS are where they are on every node: each has a loopback of its own. */
export function agentWords(node: AgentPlace, etcd: string, cpus: number): readonly string[] {
  return [
    'agent',
    `--node-name=${node.name}`,
    `--store=etcd://${etcd}/${STORE_PREFIX}`,
    `--advertise=${node.address}`,
    `--socket=${node.socket}`,
    `--state-dir=${node.stateDir}`,
    `--workers=${Math.max(1, Math.min(cpus, MAX_WORKERS))}`,
    '--log-format=json',
  ];
}
