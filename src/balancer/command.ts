// What the main thread tells the balancer of a worker. Plain data, so that it can be posted; numbers stand for objects,
// because the data path looks them up in arrays.
import type { Limits } from '../model/limits.ts';
import type { Access } from '../model/access.ts';
import type { BalanceMethod, ProxyProtocol } from '../model/service.ts';

/** A service on one network: the endpoints among which its connections are shared out. */
export interface Backend {
  /** Small and dense: an index of arrays. Reused after `backend-remove`. */
  readonly id: number;
  /** Index of the service's counters, and of that which makes round-robin one order over all workers. */
  readonly roundRobinSlot: number;
  /** Only eligible ones, in a fixed order. Empty: new connections are reset, new datagrams dropped. */
  readonly endpoints: readonly BackendEndpoint[];
  /** How they are chosen; absent: round-robin. */
  readonly method?: BalanceMethod;
  /** How long after its last connection a client comes back to the same endpoint, in milliseconds; absent: it does not. */
  readonly affinityMs?: number;
  /** TCP connections to endpoints begin with this; absent: with what the client sends. */
  readonly proxyProtocol?: ProxyProtocol;
  /** Of TCP connections that begin from now on; their number is that of all. */
  readonly limits?: Limits;
}

export interface BackendEndpoint {
  /** Index of its counters; the same for the endpoint's whole life, over every change of the backend. */
  readonly slot: number;
  /** Canonical text, IPv4 or IPv6. */
  readonly address: string;
  /** Target port → served port; what is not named is served as it is. */
  readonly portMap: readonly { readonly targetPort: number; readonly port: number }[];
  /** Descriptor of the network namespace from which to connect; 0: the node's own. */
  readonly netns: number;
  /** ≥ 1; new connections are weighed by it. */
  readonly weight: number;
  /** Others get nothing while this one, or another such, can be had. */
  readonly isPreferred?: boolean;
}

/** What a listening socket stands for. */
export type FrontendTarget =
  /** A published port, or one VIP and target port of a `local` network. */
  | { readonly kind: 'port'; readonly backend: number; readonly targetPort: number }
  /** The sk_lookup group of an overlay network: any VIP, any port. `network` names the VIP table. */
  | { readonly kind: 'vips'; readonly network: number; readonly netns: number };

export interface Frontend {
  /** Small and dense: index of its counters. */
  readonly id: number;
  readonly protocol: 'tcp' | 'udp';
  /** This worker's own socket, made, bound and (TCP) listening, non-blocking. The main thread owns and closes it. */
  readonly fd: number;
  readonly target: FrontendTarget;
  /** Who is let in; absent: everybody. */
  readonly access?: Access;
}

export type BalancerCommand =
  | { readonly kind: 'backend-set'; readonly backend: Backend }
  | { readonly kind: 'backend-remove'; readonly id: number }
  | { readonly kind: 'frontend-add'; readonly frontend: Frontend }
  /** The worker takes the socket out of its loop; open connections go on. Acknowledged, so that the main thread may close it. */
  | { readonly kind: 'frontend-remove'; readonly id: number }
  /** The VIP table of an overlay network. `backend: null`: the VIP is gone. */
  | { readonly kind: 'vip-set'; readonly network: number; readonly address: string; readonly backend: number | null }
  /** End what is still open to these endpoints, with RST: their drain time is over, or they are unhealthy. */
  | { readonly kind: 'endpoint-close'; readonly slots: readonly number[]; readonly isUnhealthy?: boolean }
  /** From now on this share of new connections, 0 to 1, is told of through the queue of this worker when it ends. */
  | { readonly kind: 'connection-log'; readonly share: number; readonly queue: SharedArrayBuffer };
