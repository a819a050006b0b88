// The port to the kernel's network configuration: what there is, and what can be changed. The overlay room plans in these
// words; linux-kernel.ts carries them out.
import type { IpAddress, Subnet } from '../model/address.ts';
import type { NftSet, Ruleset, SetChange, TableFamily } from './nftables.ts';

declare const macBrand: unique symbol;
/** `02:42:0a:40:00:02`, lower case. */
export type MacAddress = string & { readonly [macBrand]: true };

export type LinkKind = 'bridge' | 'veth' | 'vxlan' | 'other';

/** How a bridge treats one of its ports. */
export interface PortSettings {
  /** It exchanges frames with the bridge itself and with ports that are not isolated, and no others. */
  readonly isolated: boolean;
  /** The bridge takes the source of a frame for being there. */
  readonly learning: boolean;
  /** Frames for a MAC address that is nowhere go out here. */
  readonly unicastFlood: boolean;
  readonly multicastFlood: boolean;
  readonly broadcastFlood: boolean;
  /** The bridge answers by itself who has an address, where it knows; the question does not go out here. */
  readonly suppressNeighbours: boolean;
}

/** What a VXLAN device is made of (RFC 7348). */
export interface Tunnel {
  /** 24 bits. */
  readonly vni: number;
  /** UDP. */
  readonly port: number;
  /** This node's tunnel address. */
  readonly local: IpAddress;
}

export interface Link {
  /** 1-15 characters (IFNAMSIZ). */
  readonly name: string;
  readonly kind: LinkKind;
  /** As configured; a link that is up may still be without carrier. */
  readonly up: boolean;
  /** Frames pass. The kernel makes it so some time after the link and its other end are up; until then it drops them. */
  readonly ready: boolean;
  readonly mac: MacAddress | undefined;
  readonly mtu: number;
  /** Name of the bridge whose port it is. */
  readonly master: string | undefined;
  /** Of a bridge port. */
  readonly port: PortSettings | undefined;
  /** Of a VXLAN device. */
  readonly tunnel: Tunnel | undefined;
  /** Those of its settings that are told with it, by their path below /proc/sys/net; each of the others is a file to be read. */
  readonly sysctls?: Readonly<Record<string, string>>;
}

export interface Address {
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** Answers, but is never chosen as the source of a connection (preferred lifetime 0); IPv6 only. */
  readonly deprecated: boolean;
}

export interface Route {
  /** `local`: packets to the destination are this node's own. */
  readonly kind: 'unicast' | 'local';
  readonly destination: IpAddress;
  readonly prefixLength: number;
  /** The next hop; absent: the destination is on the link. */
  readonly via?: IpAddress;
}

/** Who has an address, set for good, so that nobody is asked and nobody else can answer. */
export interface Neighbour {
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

/** Where frames for a MAC address go, set for good. */
export type FdbEntry =
  /** The bridge sends them out of this port. */
  | { readonly kind: 'port'; readonly mac: MacAddress }
  /** The VXLAN device sends them to the node with this tunnel address. */
  | { readonly kind: 'tunnel'; readonly mac: MacAddress; readonly vtep: IpAddress };

export type OnLink<T> = T & { readonly link: string };

/** What is configured in one namespace. */
export interface Observed {
  readonly links: readonly Link[];
  readonly addresses: readonly OnLink<Address>[];
  /** Those that the agent made. Of the node's own namespace none are read: there may be a million routes. */
  readonly routes: readonly OnLink<Route>[];
  readonly neighbours: readonly OnLink<Neighbour>[];
  /** Of the node's own namespace none are read. */
  readonly forwarding: readonly OnLink<FdbEntry>[];
}

/** The far end of a virtual Ethernet pair. */
export interface Peer {
  /** `Namespace.name` of an existing one; empty for the node's own. */
  readonly namespace: string;
  readonly name: string;
  readonly mac: MacAddress;
}

/** One change. Setting what is set already is no error, nor is removing what is gone. */
export type Operation =
  | { readonly kind: 'add-bridge'; readonly name: string; readonly mac?: MacAddress }
  | { readonly kind: 'add-veth'; readonly name: string; readonly peer: Peer }
  /** Its UDP socket is in the node's own namespace, and stays there. */
  | { readonly kind: 'add-vxlan'; readonly name: string; readonly tunnel: Tunnel }
  | { readonly kind: 'remove-link'; readonly name: string }
  /** Every pair whose far end is in this namespace. Removing links one by one takes some 20 ms each. */
  | { readonly kind: 'remove-far-ends' }
  | {
      readonly kind: 'set-link';
      readonly name: string;
      readonly up?: boolean;
      readonly mac?: MacAddress;
      readonly mtu?: number;
      readonly master?: string;
      readonly port?: Partial<PortSettings>;
    }
  | ({ readonly kind: 'add-address' | 'remove-address' } & { readonly link: string; readonly address: Address })
  | ({ readonly kind: 'add-route' | 'remove-route' } & { readonly link: string; readonly route: Route })
  | ({ readonly kind: 'set-neighbour' | 'remove-neighbour' } & { readonly link: string; readonly neighbour: Neighbour })
  | ({ readonly kind: 'set-forwarding' | 'remove-forwarding' } & { readonly link: string; readonly entry: FdbEntry })
  /** `path` below /proc/sys/net, such as `ipv4/ip_forward`. A kernel without that setting is no error. */
  | { readonly kind: 'set-sysctl'; readonly path: string; readonly value: string }
  /** A whole nftables table, in place of whatever has its name. */
  | { readonly kind: 'set-ruleset'; readonly name: string; readonly ruleset: Ruleset }
  /** Of the family `inet`. */
  | { readonly kind: 'remove-ruleset'; readonly name: string }
  /** All elements of one of a table's sets, in place of those that it has. The table is of the family `inet`. */
  | { readonly kind: 'set-elements'; readonly name: string; readonly set: NftSet }
  | {
      readonly kind: 'change-elements';
      readonly name: string;
      readonly family: TableFamily;
      readonly changes: readonly SetChange[];
    };

/** Where a subnet is routed to. */
export type RoutedSubnet = OnLink<{ readonly destination: Subnet }>;

/** Something was changed, by whomever. */
export type Notice =
  /** Anything, or several things. */
  | { readonly kind: 'any' }
  /** Tables of nftables, which `observe` does not tell of. */
  | { readonly kind: 'rules' }
  /** A link came, went, or is another now. */
  | { readonly kind: 'link'; readonly name: string }
  /** `mac`: whose the address is now, for good; undefined when it is nobody's for good. */
  | {
      readonly kind: 'neighbour';
      readonly link: string | undefined;
      readonly address: IpAddress;
      readonly mac: MacAddress | undefined;
    }
  /** The entry is there now, or it is no longer. */
  | {
      readonly kind: 'forwarding';
      readonly link: string | undefined;
      readonly entry: FdbEntry;
      readonly isThere: boolean;
    };

export type StopWatching = () => void;

/**
 * One network namespace, open. Requests are carried out one after another, in the order of the calls. Everything rejects
 * with KernelError.
 */
export interface Namespace {
  /** `vipmesh-ab12cd-netidnet`; empty for the node's own; only this kernel object knows that of one opened by its path. */
  readonly name: string;
  /** Absolute path that names it for others (`ip netns`, setns). */
  readonly path: string;
  /** Open as long as this object is; 0 for the node's own. */
  readonly fd: number;
  /** Two objects with the same are the same namespace. */
  readonly identity: string;
  observe(): Promise<Observed>;
  /**
   * Its links alone, which is much less where a network has thousands of neighbours. With names, those of them that there are, at
   * a price that does not depend on the others.
   */
  observeLinks(names?: readonly string[]): Promise<readonly Link[]>;
  apply(operation: Operation): Promise<void>;
  /** All unicast destinations, whoever made the routes. */
  routed(): Promise<readonly RoutedSubnet[]>;
  /** Whether there is such an nftables table of the family `inet`. */
  hasRuleset(name: string): Promise<boolean>;
  /** Packets that a named counter of a table has counted; undefined when there is no such counter. `family`: `inet` when absent. */
  packetsCounted(table: string, counter: string, family?: TableFamily): Promise<number | undefined>;
  /** Another number after each change of nftables here, by whomever. */
  rulesGeneration(): Promise<number>;
  /** Undefined when the kernel has no such setting. */
  sysctl(path: string): string | undefined;
  /**
   * Calls back after something that `observe`, `hasRuleset` and `rulesGeneration` tell of changed, or may have; often several times for one change.
   * Links in notices have the names that they had when last observed.
   */
  watch(changed: (notice: Notice) => void): StopWatching;
  /** Calls back after links or addresses changed, or may have. An ordinary user may do this, too. */
  watchLinks(changed: () => void): StopWatching;
  /** Lets go of it. A namespace that is deleted lives on until then. */
  close(): void;
}

export interface Kernel {
  /** The namespace in which the agent runs. */
  readonly own: Namespace;
  /** Names of the namespaces below /run/netns that begin so. */
  listNamespaces(prefix: string): readonly string[];
  /** Makes it when it is not there. Its loopback is up. */
  ensureNamespace(name: string): Promise<Namespace>;
  /** One that something else made. Undefined when there is none at this absolute path. */
  openNamespace(path: string): Promise<Namespace | undefined>;
  /** Removes the name; what is in it goes once nothing has it open. No error when it is gone. */
  deleteNamespace(name: string): void;
  /** Closes `own` and what this object opened. */
  close(): void;
}
