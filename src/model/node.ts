// Nodes: machines that run the agent.

declare const nodeIdBrand: unique symbol;
/** 25 lower-case letters and digits, as Docker's object ids. */
export type NodeId = string & { readonly [nodeIdBrand]: true };

export type Availability = 'active' | 'pause' | 'drain';

export interface Node {
  readonly id: NodeId;
  readonly name: string;
  readonly availability: Availability;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}
