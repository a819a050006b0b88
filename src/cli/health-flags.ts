// `--health-…` and `--no-healthcheck` → how a service's tasks are checked. PURE.
import type { ServiceSpecRequest } from '../api/requests.ts';
import type { DockerHealth } from '../api/schema.ts';
import { parsePort } from '../model/port.ts';
import { parseDuration } from '../runtime/duration.ts';
import { CliError } from './shell.ts';

export interface HealthFlags {
  readonly healthCmd?: string;
  /** True: without a port. */
  readonly healthTcp?: string | true;
  readonly healthHttp?: string;
  readonly healthInterval?: string;
  readonly healthTimeout?: string;
  readonly healthRetries?: string;
  readonly healthStartPeriod?: string;
  /** False: `--no-healthcheck`. */
  readonly healthcheck?: boolean;
}

/** The tcp and http checks that Docker lacks, made by the agent itself. */
export type Probe = NonNullable<NonNullable<ServiceSpecRequest['Vipmesh']>['Health']>;

/** At most one of the two; a `command` of `NONE` switches checks off. */
export interface Health {
  readonly command?: DockerHealth | undefined;
  readonly probe?: Probe | undefined;
}

type Times = Pick<Probe, 'Interval' | 'Timeout' | 'Retries' | 'StartPeriod'>;

const NANOSECONDS_PER_MS = 1_000_000;

/**
 * The check after these flags; `current` is the one before. An empty `--health-cmd` takes the check away, as in Docker. What is
 * checked by another means than before forgets its times, which would not fit. Throws CliError.
 */
export function applyHealthFlags(flags: HealthFlags, current: Health): Health {
  const { healthCmd, healthTcp, healthHttp } = flags;
  const means = [healthCmd, healthTcp, healthHttp].filter((flag) => flag !== undefined).length;
  const times = healthTimes(flags);
  const timed = Object.keys(times).length > 0;
  if (flags.healthcheck === false) {
    if (means > 0 || timed)
      throw new CliError('USAGE', '--no-healthcheck contradicts the other --health flags; leave one of them out');
    return { command: { Test: ['NONE'] } };
  }
  if (means > 1) throw new CliError('USAGE', 'one of --health-cmd, --health-tcp and --health-http, not several');
  if (healthCmd === '') return {};
  const probe = probeOf(flags);
  if (probe !== undefined) return { probe: { ...timesOf(current.probe), ...times, ...probe } };
  const command = current.command?.Test[0] === 'NONE' ? undefined : current.command;
  if (healthCmd !== undefined)
    return { command: { ...command, ...times, Test: ['CMD-SHELL', healthCmd] } as DockerHealth };
  if (!timed) return current;
  if (current.probe !== undefined) return { probe: { ...current.probe, ...times } };
  if (command !== undefined) return { command: { ...command, ...times } as DockerHealth };
  throw new CliError('USAGE', 'there is nothing to check yet; add --health-cmd, --health-tcp or --health-http');
}

/** A duration of a flag in nanoseconds. Throws CliError. */
export function parseNanoseconds(flag: string, text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    throw new CliError('USAGE', `${flag} should be a duration such as 500ms, 10s or 1m30s, not "${text}"`);
  }
  return milliseconds * NANOSECONDS_PER_MS;
}

function probeOf({ healthTcp, healthHttp }: HealthFlags): Probe | undefined {
  if (healthHttp !== undefined) return { HTTP: httpProbe(healthHttp) };
  if (healthTcp === undefined) return undefined;
  if (healthTcp === true) return { TCP: {} };
  const port = parsePort(healthTcp);
  if (port !== undefined) return { TCP: { Port: port } };
  throw new CliError(
    'USAGE',
    `--health-tcp "${healthTcp}" is no port of 1 to 65535; to check the target port, put the flag last or before another one`,
  );
}

/** `/up`, `:8080/up`, `/up 204`. A path holds no blanks (RFC 9112 section 3). */
function httpProbe(text: string): NonNullable<Probe['HTTP']> {
  const [, portText, path = '', status] = /^(?::(\d+))?(\/[\x21-\x7e]*)(?: ([1-5]\d\d))?$/.exec(text) ?? [];
  const port = portText === undefined ? undefined : parsePort(portText);
  if (path === '' || (portText !== undefined && port === undefined)) {
    throw new CliError(
      'USAGE',
      `--health-http should be [:PORT]/PATH[ STATUS], such as /up or ":8080/up 204", not "${text}"`,
    );
  }
  return {
    Path: path,
    ...(port === undefined ? {} : { Port: port }),
    ...(status === undefined ? {} : { Status: Number(status) }),
  };
}

function healthTimes(flags: HealthFlags): Times {
  const duration = (flag: string, text: string | undefined) =>
    text === undefined ? undefined : parseNanoseconds(flag, text);
  const times = {
    Interval: duration('--health-interval', flags.healthInterval),
    Timeout: duration('--health-timeout', flags.healthTimeout),
    Retries: flags.healthRetries === undefined ? undefined : parseRetries(flags.healthRetries),
    StartPeriod: duration('--health-start-period', flags.healthStartPeriod),
  };
  return Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined));
}

function timesOf(probe: Probe | undefined): Times {
  const { TCP: _, HTTP: __, ...times } = probe ?? {};
  return times;
}

function parseRetries(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new CliError('USAGE', `--health-retries should be a whole number, not "${text}"`);
}
