// What a service allows its connections, as `x-vipmesh` says it under `limits`.
import {
  LIMIT_NAMES,
  LIMITS,
  type LimitName,
  limitProblem,
  type Limits,
  limitsOf,
  MAX_LIMIT,
} from '../model/limits.ts';
import type { Reader } from './reader.ts';
import type { Tree } from './tree.ts';

const KEYS = {
  path: 'services.*.x-vipmesh.limits',
  used: LIMIT_NAMES.map((name) => LIMITS[name].key),
  unused: [],
} as const;

/** Undefined when nothing is limited; what is 0 is not. */
export function readLimits(reader: Reader, tree: Tree, what: string): Limits | undefined {
  const fields = reader.fields(tree, what, KEYS);
  const values: Partial<Record<LimitName, number>> = {};
  for (const name of LIMIT_NAMES) {
    const { key, kind } = LIMITS[name];
    const field = fields?.get(key)?.value;
    if (field === undefined) continue;
    const where = `${what}.${key}`;
    const value = kind === 'duration' ? reader.duration(field, where) : reader.integer(field, where, MAX_LIMIT);
    const problem = value === undefined || value === 0 ? undefined : limitProblem(name, value);
    if (problem !== undefined) reader.diagnostics.error(field.place, `${where} ${problem}`);
    if (value !== undefined) values[name] = value;
  }
  return limitsOf(values);
}
