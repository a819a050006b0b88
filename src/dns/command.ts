// What the main thread tells the resolver of a worker. Plain data, so that it can be posted.

/** Everything that one name means on one network. A name that means nothing any more is sent once with `exists: false`. */
export interface NameRecord {
  /** Lower case, without the network's name behind it and without a final dot. */
  readonly name: string;
  readonly addresses: readonly string[];
  /** The name exists (so that it is NODATA, never NXDOMAIN, while `addresses` is empty). */
  readonly exists: boolean;
  /** What `_PORT._PROTO.NAME` answers, as encodePorts writes it: posting text costs little, objects a lot. */
  readonly ports?: string;
  /** Seconds; absent: as the zone says. */
  readonly ttl?: number;
}

/** One port behind a name, as SRV records tell it (RFC 2782). */
export interface ServicePort {
  readonly protocol: 'tcp' | 'udp';
  /** What may stand for PORT in `_PORT._PROTO.NAME`: lower case, without the underscore. */
  readonly labels: readonly string[];
  /** Names of the same network, and the port there. */
  readonly targets: readonly { readonly name: string; readonly port: number }[];
}

/**
 * Reverse: which name an address has on a network (the answer ends in the network's name, which is left out here); `name:
 * null` when it has none any more.
 */
export interface PointerRecord {
  readonly address: string;
  readonly name: string | null;
  /** Seconds; absent: as the zone says. */
  readonly ttl?: number;
}

export interface ZoneUpdate {
  /** Small and dense number of the network. */
  readonly network: number;
  readonly names: readonly NameRecord[];
  readonly pointers: readonly PointerRecord[];
}

/** Who asks: which networks a client sees, in order, and whether other names are forwarded for it. */
export interface Scope {
  readonly id: number;
  readonly networks: readonly number[];
  /** False for clients of internal networks only: other names are refused, no packet leaves. */
  readonly forward: boolean;
  /** This worker's own numbers about it, in shared memory: SCOPE_COUNTS of them; absent: they are not counted. */
  readonly counts?: Float64Array;
}

export interface Upstream {
  /** Canonical text, IPv4 or IPv6. */
  readonly address: string;
  readonly port: number;
}

/** Names that end in `suffix`, and the suffix itself, are asked of these. */
export interface UpstreamRoute {
  /** Lower case, without a final dot. */
  readonly suffix: string;
  readonly upstreams: readonly Upstream[];
}

export type DnsCommand =
  | {
      readonly kind: 'zone-add';
      readonly network: number;
      readonly name: string;
      /** The network's name within its stack; `NAME.SHORT` is answered like `NAME.NETWORK`. */
      readonly shortName?: string;
      readonly subnets: readonly string[];
      /** Of its names that have none of their own, in seconds; absent: ANSWER_TTL_S. */
      readonly ttl?: number;
    }
  | { readonly kind: 'zone-remove'; readonly network: number }
  | { readonly kind: 'zone-update'; readonly update: ZoneUpdate }
  | { readonly kind: 'scope-set'; readonly scope: Scope }
  | { readonly kind: 'scope-remove'; readonly id: number }
  /** One UDP socket or one TCP listener, this worker's own, bound to 127.0.0.11:53 where the client lives. */
  | {
      readonly kind: 'dns-socket-add';
      readonly fd: number;
      readonly protocol: 'tcp' | 'udp';
      readonly scope: number;
      /** The same for all sockets of one client, and for nobody else's: what it may keep waiting is counted by it. */
      readonly client: number;
    }
  | { readonly kind: 'dns-socket-remove'; readonly fd: number }
  /** Whom to ask for names that are not ours, and how many bytes of memory their answers may take (absent: the default; 0: none). */
  | {
      readonly kind: 'upstreams';
      readonly upstreams: readonly Upstream[];
      readonly routes?: readonly UpstreamRoute[];
      readonly cacheBytes?: number;
      /** Memory of `sharedQuestions`, the same for all workers; absent: each notices only what it sent itself. */
      readonly sentQuestions?: Int32Array;
    }
  /** Forget what upstreams answered about this name and those below it; absent: everything. */
  | { readonly kind: 'dns-cache-flush'; readonly below?: string }
  /** From now on this share of the questions, 0 to 1, is told of through the queue (query-record.ts) of this worker. */
  | { readonly kind: 'dns-query-log'; readonly share: number; readonly queue: SharedArrayBuffer };
