// PURE: a service's limits in the API: durations in nanoseconds, as everywhere in Docker's.
import { z } from 'zod';
import {
  LIMIT_NAMES,
  LIMITS,
  type LimitName,
  type Limits,
  limitsOf,
  MAX_LIMIT,
  MAX_LIMIT_MS,
} from '../model/limits.ts';

const NANOSECONDS_PER_MS = 1_000_000;

const duration = z
  .number()
  .int()
  .min(0)
  .max(MAX_LIMIT_MS * NANOSECONDS_PER_MS);
const count = z.number().int().min(0).max(MAX_LIMIT);

const FIELDS = {
  ConnectTimeout: duration.describe('How long one endpoint may take to accept, nanoseconds; absent or 0: 5 s.'),
  IdleTimeout: duration.describe('A connection on which nothing moved for so long is reset, nanoseconds; 0: never.'),
  HalfClosedTimeout: duration.describe('The same, once one side has ended, nanoseconds; 0: never.'),
  MaxDuration: duration.describe('A connection of this age is reset, nanoseconds; 0: never.'),
  KeepAlive: duration.describe('Idle for so long, a connection is probed by the kernel, nanoseconds; 0: 5 minutes.'),
  MaxConnections: count.describe('Open at once on each node; further ones are reset; 0: no limit.'),
  MaxConnectionsPerClient: count.describe('The same, of one client address; 0: no limit.'),
} as const satisfies Record<(typeof LIMITS)[LimitName]['field'], z.ZodType>;

export const limitsRequest = z.strictObject(FIELDS).partial();

/** What is not limited is absent. */
export const limitsShape = z.object(FIELDS).partial();

export type LimitsShape = z.infer<typeof limitsShape>;

export function shapeLimits(limits: Limits): LimitsShape {
  const shaped = LIMIT_NAMES.flatMap((name) => {
    const value = limits[name];
    const { field, kind } = LIMITS[name];
    return value === undefined ? [] : [[field, kind === 'duration' ? value * NANOSECONDS_PER_MS : value] as const];
  });
  return Object.fromEntries(shaped);
}

/** Undefined when nothing is limited. */
export function limitsFrom(request: z.infer<typeof limitsRequest> | null): Limits | undefined {
  if (request === null) return undefined;
  const values = LIMIT_NAMES.flatMap((name) => {
    const { field, kind } = LIMITS[name];
    const value = request[field];
    if (value === undefined || value === 0) return [];
    return [[name, kind === 'duration' ? Math.max(1, Math.round(value / NANOSECONDS_PER_MS)) : value] as const];
  });
  return limitsOf(Object.fromEntries(values));
}
