// `--max-connections`, `--idle-timeout` and the other limits of `service create` and `service update`. PURE.
import type { Command } from 'commander';
import type { DockerServiceSpec } from '../api/schema.ts';
import { LIMIT_NAMES, LIMITS, limitProblem, MAX_LIMIT } from '../model/limits.ts';
import { formatDuration } from '../runtime/duration.ts';
import { parseNanoseconds } from './health-flags.ts';
import { CliError } from './shell.ts';

export interface LimitFlags {
  readonly connectTimeout?: string;
  readonly idleTimeout?: string;
  readonly halfClosedTimeout?: string;
  readonly maxDuration?: string;
  readonly keepAlive?: string;
  readonly maxConnections?: string;
  readonly maxConnectionsPerClient?: string;
}

type LimitsShape = NonNullable<DockerServiceSpec['Vipmesh']['Limits']>;

const NANOSECONDS_PER_MS = 1_000_000;

export function limitOptions(command: Command): Command {
  return command
    .option('--connect-timeout <DURATION>', 'how long one endpoint may take to accept (default: 5s)')
    .option('--idle-timeout <DURATION>', 'reset TCP connections on which nothing moved for so long; "off" (default)')
    .option('--half-closed-timeout <DURATION>', 'the same, once one side has ended; "off" (default)')
    .option('--max-duration <DURATION>', 'reset TCP connections that are so old; "off" (default)')
    .option('--keep-alive <DURATION>', 'idle for so long, connections are probed by the kernel (default: 5m)')
    .option('--max-connections <NUMBER>', 'TCP connections at once, on each node; further ones are reset; "off"')
    .option('--max-connections-per-client <NUMBER>', 'the same, of one client address; "off"');
}

/** The limits after these flags. Throws CliError. */
export function limits(flags: LimitFlags, before?: LimitsShape): { readonly Limits?: LimitsShape } {
  const said: Partial<Record<keyof LimitsShape, number>> = {};
  for (const name of LIMIT_NAMES) {
    const { field, flag, kind } = LIMITS[name];
    const text = flags[camelCase(flag) as keyof LimitFlags];
    if (text === undefined) continue;
    const value =
      text === 'off' ? 0 : kind === 'duration' ? parseNanoseconds(`--${flag}`, text) : parseCount(flag, text);
    const problem =
      value === 0 ? undefined : limitProblem(name, kind === 'duration' ? value / NANOSECONDS_PER_MS : value);
    if (problem !== undefined) throw new CliError('USAGE', `--${flag} ${problem}, or "off", not "${text}"`);
    said[field] = value;
  }
  return Object.keys(said).length === 0 ? {} : { Limits: { ...before, ...said } };
}

/** `idle timeout 5m, max connections 100`; empty when there are none. */
export function limitsText(shape: LimitsShape | undefined): string {
  return LIMIT_NAMES.flatMap((name) => {
    const { field, kind, name: words } = LIMITS[name];
    const value = shape?.[field];
    if (value === undefined) return [];
    return [`${words} ${kind === 'duration' ? formatDuration(value / NANOSECONDS_PER_MS) : value}`];
  }).join(', ');
}

function parseCount(flag: string, text: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= MAX_LIMIT) return Number(text);
  throw new CliError('USAGE', `--${flag} should be a whole number from 1 to ${MAX_LIMIT}, or "off", not "${text}"`);
}

/** As commander names options. */
function camelCase(flag: string): string {
  return flag.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
