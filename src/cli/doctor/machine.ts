// What `vipmesh doctor` is given, because the rooms that know the kernel are not the CLI's to use.
import type { IpAddress, Subnet } from '../../model/address.ts';
import type { Trial } from './kernel.ts';
import type { DroppingChain } from './outside.ts';

/** Of an agent that would be started now. */
export interface Settings {
  readonly dns: Place;
  readonly admin: Place;
  readonly upstreams: readonly Place[];
  readonly dnsRoutes: readonly { readonly suffix: string; readonly upstreams: readonly Place[] }[];
  readonly stateDir: string;
  readonly egressSubnet?: Subnet;
  readonly cluster?: {
    readonly store: { readonly endpoints: readonly { readonly host: string; readonly port: number }[] };
    readonly advertise?: IpAddress;
    readonly dataAddress?: IpAddress;
    readonly probePort: number;
  };
  /** It is root's. */
  readonly privileged: boolean;
}

export interface Place {
  readonly address: IpAddress;
  readonly port: number;
}

export interface NodeNetwork {
  readonly links: readonly { readonly name: string; readonly mtu: number }[];
  readonly addresses: readonly { readonly link: string; readonly address: IpAddress; readonly prefixLength: number }[];
  /** Without those over links of agents. */
  readonly routes: readonly { readonly link: string; readonly destination: Subnet }[];
  /** Where other nodes send overlay traffic, and the link that has that address. */
  readonly underlay: { readonly address: IpAddress; readonly link: string; readonly mtu: number } | undefined;
  /** No part of the pool for egress is free. */
  readonly egressPoolIsTaken: boolean;
  /** Overlay networks on this node that reach others; none without root. */
  readonly tunnels: readonly { readonly namespace: string; readonly mtu: number }[];
}

export interface DoctorMachine {
  /** With these environment variables. Throws an error that names the one that is wrong. */
  settings(env: Readonly<Record<string, string | undefined>>): Settings;
  /** Root only. */
  facilities(): Promise<readonly Trial[]>;
  /** `dataAddress`: where other nodes send overlay traffic, if that is known. */
  network(isRoot: boolean, dataAddress: IpAddress | undefined): Promise<NodeNetwork>;
  /** Sends to a UDP port of each address what fills packets of `size` bytes. */
  paths(
    addresses: readonly IpAddress[],
    port: number,
    size: number,
  ): Promise<readonly { readonly address: IpAddress; readonly mtu: number | undefined; readonly error?: string }[]>;
  /** Undefined: the kernel does not say. */
  clock(): Promise<{ readonly isSynchronised: boolean; readonly maxErrorMs: number } | undefined>;
  /** Root only. Of nftables. */
  droppingChains(): Promise<readonly DroppingChain[]>;
  /** The file as a process sees it; undefined when it cannot be told. */
  resolvConfOf(pid: number): string | undefined;
}
