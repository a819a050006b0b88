// Nodes: machines that run the agent.
import type { IpAddress } from './address.ts';
import type { NetworkId } from './network.ts';
import type { PortNumber } from './port.ts';

declare const nodeIdBrand: unique symbol;
/** 25 lower-case letters and digits, as Docker's object ids. */
export type NodeId = string & { readonly [nodeIdBrand]: true };

/** `pause` is shown and changes nothing for traffic; `drain` takes the node's tasks out of balancing and DNS everywhere. */
export type Availability = 'active' | 'pause' | 'drain';

/** What is wanted of a node; it stays on record while the node is away. */
export interface Node {
  readonly id: NodeId;
  readonly name: string;
  readonly availability: Availability;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A node's agent is running: what it says of itself, under its lease. A node without one is down. */
export interface Presence {
  /** The node's. */
  readonly id: NodeId;
  /** 16 hexadecimal digits, others at every start of the agent. */
  readonly instance: string;
  /** Where other agents reach this one. */
  readonly address: IpAddress;
  /** Where other nodes send overlay traffic: the address of this node's tunnel end. */
  readonly dataAddress: IpAddress;
  /** UDP, at `address`. */
  readonly probePort: PortNumber;
  /** Of the agent. */
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** This agent has not heard of another node's for a while. Each agent's own business: it is never stored. */
export interface Suspicion {
  /** The node's. */
  readonly id: NodeId;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

declare const bridgeIdBrand: unique symbol;
/** The network's id followed by the node's. */
export type BridgeId = string & { readonly [bridgeIdBrand]: true };

/** A node's place on an overlay network: what its own connections come from there, and where answers to it go. Under its lease. */
export interface Bridge {
  readonly id: BridgeId;
  readonly networkId: NetworkId;
  readonly nodeId: NodeId;
  /** One of each of the network's subnets, in their order. */
  readonly addresses: readonly IpAddress[];
}

export function bridgeId(networkId: NetworkId, nodeId: NodeId): BridgeId {
  return `${networkId}${nodeId}` as BridgeId;
}
