// What a service allows its TCP connections: how many, and how long. Everything is unlimited unless it is said here.

export interface Limits {
  /** How long one endpoint may take to accept, in milliseconds. Absent: 5 s. */
  readonly connectTimeoutMs?: number;
  /** A connection on which no byte moved either way for so long is reset. */
  readonly idleTimeoutMs?: number;
  /** The same, once one side has ended and the other has not. */
  readonly halfClosedTimeoutMs?: number;
  /** A connection is reset when it is this old, whatever it does. */
  readonly maxDurationMs?: number;
  /** Idle for so long, a connection is probed by the kernel, on both sides. Absent: 5 minutes. */
  readonly keepAliveMs?: number;
  /** Open on one node at once; whoever comes beyond that is reset. */
  readonly maxConnections?: number;
  /** The same, of one client address. */
  readonly maxConnectionsPerClient?: number;
}

interface LimitWords {
  readonly kind: 'duration' | 'number';
  /** In `x-vipmesh`. */
  readonly key: string;
  /** At the command line; without the dashes. */
  readonly flag: string;
  /** In the API. */
  readonly field: string;
  /** In sentences, and for people who look at the service. */
  readonly name: string;
}

/** What each is called, in the order in which they are shown. */
export const LIMITS = {
  connectTimeoutMs: {
    kind: 'duration',
    key: 'connect_timeout',
    flag: 'connect-timeout',
    field: 'ConnectTimeout',
    name: 'connect timeout',
  },
  idleTimeoutMs: {
    kind: 'duration',
    key: 'idle_timeout',
    flag: 'idle-timeout',
    field: 'IdleTimeout',
    name: 'idle timeout',
  },
  halfClosedTimeoutMs: {
    kind: 'duration',
    key: 'half_closed_timeout',
    flag: 'half-closed-timeout',
    field: 'HalfClosedTimeout',
    name: 'half-closed timeout',
  },
  maxDurationMs: {
    kind: 'duration',
    key: 'max_duration',
    flag: 'max-duration',
    field: 'MaxDuration',
    name: 'max duration',
  },
  keepAliveMs: { kind: 'duration', key: 'keep_alive', flag: 'keep-alive', field: 'KeepAlive', name: 'keep-alive' },
  maxConnections: {
    kind: 'number',
    key: 'max_connections',
    flag: 'max-connections',
    field: 'MaxConnections',
    name: 'max connections',
  },
  maxConnectionsPerClient: {
    kind: 'number',
    key: 'max_connections_per_client',
    flag: 'max-connections-per-client',
    field: 'MaxConnectionsPerClient',
    name: 'max connections per client',
  },
} as const satisfies Record<keyof Limits, LimitWords>;

export type LimitName = keyof Limits;
export const LIMIT_NAMES = Object.keys(LIMITS) as readonly LimitName[];

/** What a timer can hold: 24.8 days. */
export const MAX_LIMIT_MS = 2 ** 31 - 1;
export const MAX_LIMIT = 1_000_000_000;
/** The kernel counts keep-alive in seconds, up to this many (tcp(7), MAX_TCP_KEEPIDLE). */
export const MAX_KEEP_ALIVE_MS = 32_767_000;
const MIN_KEEP_ALIVE_MS = 1000;

/** Why a limit makes no sense, as the end of a sentence that began with its name; undefined when it does. */
export function limitProblem(name: LimitName, value: number): string | undefined {
  if (LIMITS[name].kind === 'number')
    return Number.isInteger(value) && value >= 1 && value <= MAX_LIMIT
      ? undefined
      : `must be a whole number from 1 to ${MAX_LIMIT}`;
  if (name === 'keepAliveMs')
    return value >= MIN_KEEP_ALIVE_MS && value <= MAX_KEEP_ALIVE_MS ? undefined : 'must be from 1s to 9h';
  return value > 0 && value <= MAX_LIMIT_MS ? undefined : 'must be longer than nothing and at most 24 days';
}

/** Without those that are 0 or absent; undefined when none is left. */
export function limitsOf(values: Readonly<Partial<Record<LimitName, number | undefined>>>): Limits | undefined {
  const set = LIMIT_NAMES.flatMap((name) => {
    const value = values[name];
    return value === undefined || value === 0 ? [] : [[name, value] as const];
  });
  return set.length === 0 ? undefined : Object.fromEntries(set);
}
