// Services: what the user wants reached.
import type { Access } from './access.ts';
import type { IpAddress } from './address.ts';
import type { Limits } from './limits.ts';
import { shortName } from './name.ts';
import type { NetworkId } from './network.ts';
import type { PublishedPort, PublishSpec, TargetPort } from './port.ts';

declare const serviceIdBrand: unique symbol;
/** 25 lower-case letters and digits, as Docker's object ids. */
export type ServiceId = string & { readonly [serviceIdBrand]: true };

/** `vip`: the name gives the VIP. `dnsrr`: the name gives the endpoints' addresses. */
export type EndpointMode = 'vip' | 'dnsrr';

/**
 * Who gets the next connection: each in turn; whoever has fewest open; the less busy one of two drawn at random; or always the same
 * for a client's address.
 */
export const BALANCE_METHODS = ['round-robin', 'least-connections', 'random', 'source-hash'] as const;
export type BalanceMethod = (typeof BALANCE_METHODS)[number];

/** How the connections of a service are shared out among its endpoints. */
export interface Balance {
  /** Absent: `round-robin`. */
  readonly method?: BalanceMethod;
  /** How long after its last connection a client comes back to the same endpoint, > 0. Absent: it does not. */
  readonly affinityMs?: number;
  /** On each node its own endpoints before all others. */
  readonly localFirst?: true;
}

/** Versions of the PROXY protocol, by which an endpoint learns its client's address. */
export const PROXY_PROTOCOLS = ['v1', 'v2'] as const;
export type ProxyProtocol = (typeof PROXY_PROTOCOLS)[number];

/** How many tasks are wanted. Displayed as running/wanted; it starts and limits nothing. */
export type ServiceMode = { readonly kind: 'replicated'; readonly replicas: number } | { readonly kind: 'global' };

export interface NetworkAttachmentSpec {
  /** The network's name or id, as the user wrote it. */
  readonly network: string;
  readonly aliases: readonly string[];
}

/** An endpoint that something else runs; it becomes a task whose source is `static`. */
export interface StaticEndpoint {
  readonly address: IpAddress;
  /** Which of the service's target ports `port` stands for; absent: its only one. */
  readonly targetPort?: number;
  /** Absent: the target ports as they are. */
  readonly port?: number;
  /** 0 to MAX_WEIGHT; absent: 1. */
  readonly weight?: number;
}

/** How the health of every task of a service is found out. All durations in milliseconds. */
export interface HealthCheck {
  readonly probe: Probe;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row that make a task unhealthy, ≥ 1. */
  readonly retries: number;
  /** Failures this long after the start do not count. */
  readonly startPeriodMs: number;
}

export type Probe =
  | { readonly kind: 'tcp'; readonly port?: number }
  | { readonly kind: 'http'; readonly port?: number; readonly path: string; readonly expectStatus?: number }
  /** Run inside the task: `shell` as `sh -c`, else the words as they are. Never for static endpoints. */
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly shell: boolean };

export interface ServiceSpec {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: ServiceMode;
  readonly endpointMode: EndpointMode;
  readonly networks: readonly NetworkAttachmentSpec[];
  readonly publish: readonly PublishSpec[];
  readonly expose: readonly TargetPort[];
  readonly endpoints: readonly StaticEndpoint[];
  /** `none`: checks are switched off. Absent: eligible while it runs (a static endpoint gets a tcp check). */
  readonly health?: HealthCheck | 'none';
  /** `close`: connections to a task that becomes unhealthy are reset. Absent: they are kept, and may recover with it. */
  readonly onUnhealthy?: 'close';
  readonly balance?: Balance;
  readonly limits?: Limits;
  /** What every connection that is balanced to a task begins with. Absent: nothing. */
  readonly proxyProtocol?: ProxyProtocol;
  /** Who may come to its published ports; absent: everybody. */
  readonly access?: Access;
  /** How long open connections of a leaving endpoint may take to finish, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** How long clients may keep what they were told about its names, in seconds. Absent: as its network says. */
  readonly dnsTtlS?: number;
  /** What a Docker client said besides, in the shape of Docker's ServiceSpec: shown again, and otherwise without effect. */
  readonly docker?: Readonly<Record<string, unknown>>;
}

/** A service's address on one network, one for each family that the network has; absent for `dnsrr`. */
export interface Vip {
  readonly networkId: NetworkId;
  readonly address: IpAddress;
}

export interface Service {
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  /** What `rollback` returns to. */
  readonly previousSpec?: ServiceSpec;
  /** Endpoints that were added by hand. They are no part of the spec, so a new spec leaves them alone. */
  readonly addedEndpoints?: readonly StaticEndpoint[];
  /** The networks of the spec, resolved, in the spec's order. */
  readonly networks: readonly { readonly networkId: NetworkId; readonly aliases: readonly string[] }[];
  readonly vips: readonly Vip[];
  readonly ports: readonly PublishedPort[];
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** 10 s: DESIGN's default, enough for requests in flight and short enough for a deploy that nobody watches. */
export const DEFAULT_DRAIN_TIMEOUT_MS = 10_000;

/** tcp and http probes cost nothing, so a failure is seen in about 2 s. */
export const PROBE_DEFAULTS = { intervalMs: 1000, timeoutMs: 1000, retries: 2, startPeriodMs: 0 } as const;

/** Docker's own defaults for command checks, which start a process each time. */
export const EXEC_PROBE_DEFAULTS = { intervalMs: 30_000, timeoutMs: 30_000, retries: 3, startPeriodMs: 0 } as const;

/** The ports that the service declares, by `publish` and `expose`, each once. */
export function declaredTargets(spec: ServiceSpec): readonly TargetPort[] {
  const seen = new Map<string, TargetPort>();
  for (const { protocol, targetPort } of spec.publish)
    seen.set(`${targetPort}/${protocol}`, { protocol, port: targetPort });
  for (const target of spec.expose) seen.set(`${target.port}/${target.protocol}`, target);
  return [...seen.values()];
}

/** The names of a target port, each once. */
export function portNames(spec: ServiceSpec, { protocol, port }: TargetPort): readonly string[] {
  const published = spec.publish.filter((one) => one.protocol === protocol && one.targetPort === port);
  const exposed = spec.expose.filter((one) => one.protocol === protocol && one.port === port);
  return [...new Set([...published, ...exposed].flatMap(({ name }) => name ?? []))];
}

/** Every name under which the service answers on a network: its own, its short name in its stack, its aliases. */
export function serviceNames(service: Service, networkId: NetworkId): readonly string[] {
  const aliases = service.networks
    .filter((network) => network.networkId === networkId)
    .flatMap((network) => network.aliases);
  const short = shortName(service.spec.name, service.spec.labels);
  return [
    ...new Set(
      [service.spec.name, ...(short === undefined ? [] : [short]), ...aliases].map((name) => name.toLowerCase()),
    ),
  ];
}

/** IPv4 first. */
export function vipsOn(service: Service, networkId: NetworkId): readonly IpAddress[] {
  return service.vips.filter((vip) => vip.networkId === networkId).map((vip) => vip.address);
}

export function wantedTasks(mode: ServiceMode, activeNodes: number): number {
  return mode.kind === 'global' ? activeNodes : mode.replicas;
}
