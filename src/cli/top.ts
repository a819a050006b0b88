// `vipmesh top`: what goes through this node now, by service and endpoint.
import type { Command } from 'commander';
import type { ApiClient } from '../api/client.ts';
import { type TrafficReading, trafficReading } from '../api/status-schema.ts';
import { sleep, systemClock } from '../runtime/clock.ts';
import { formatDuration, parseDuration } from '../runtime/duration.ts';
import { apiCommand, CliError, clientOf, type Shell } from './shell.ts';
import { formatTop, ratesOf } from './top-table.ts';

/** How many lines a terminal has; undefined when the output is none. */
export type ScreenLines = () => number | undefined;

interface Flags {
  readonly once?: true;
  readonly interval: string;
  readonly format?: string;
}

const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 60_000;
/** ECMA-48: the cursor to the first place, everything behind it erased. */
const CLEAR = '\x1b[H\x1b[J';

export function topCommand(shell: Shell, screenLines: ScreenLines): Command {
  return apiCommand('top', 'connections, bytes and failures per second, by service and endpoint', [
    'vipmesh top',
    'vipmesh top web --interval 5s',
    'vipmesh top --once',
    'vipmesh top --format json',
  ])
    .argument('[SERVICE]', 'name or id (default: all services)')
    .option('--once', 'one table, and no more; so it is when the output is no terminal')
    .option('--interval <DURATION>', 'over what time rates are, and how often the table is renewed', '1s')
    .option('--format <FORMAT>', 'json: numbers instead of a table, once')
    .action(async (service: string | undefined, flags: Flags, self: Command) => {
      const intervalMs = checkedInterval(flags.interval);
      if (flags.format !== undefined && flags.format !== 'json')
        throw new CliError('USAGE', `--format should be json, not "${flags.format}"`);
      const client = clientOf(self, shell);
      const isLive = flags.once !== true && flags.format === undefined && screenLines() !== undefined;
      for (let last = await read(client, service); ; ) {
        await sleep(systemClock, intervalMs);
        const next = await read(client, service);
        const top = ratesOf(last, next);
        if (flags.format === 'json') shell.out(`${JSON.stringify(top)}\n`);
        else if (isLive) shell.out(`${CLEAR}${formatTop(top, (screenLines() ?? 24) - 1)}`);
        else shell.out(formatTop(top, Number.POSITIVE_INFINITY));
        if (!isLive) return;
        last = next;
      }
    });
}

function read(client: ApiClient, service: string | undefined): Promise<TrafficReading> {
  return client.get('/vipmesh/traffic', trafficReading, { service });
}

function checkedInterval(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= MIN_INTERVAL_MS && ms <= MAX_INTERVAL_MS) return ms;
  const [least, most] = [formatDuration(MIN_INTERVAL_MS), formatDuration(MAX_INTERVAL_MS)];
  throw new CliError('USAGE', `--interval should be a duration from ${least} to ${most}, such as 2s, not "${text}"`);
}
