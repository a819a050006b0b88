// `--since` and `--until`, and the times of events, as Docker writes them. PURE.
import { parseDuration } from '../runtime/duration.ts';
import { CliError } from './shell.ts';

/**
 * A duration before `now` (`10m`), a date or time of RFC 3339 (of this machine's zone where it names none), or seconds since the
 * epoch → the latter, as the API takes them. `now` in milliseconds since the epoch. Throws CliError.
 */
export function parseTimestamp(flag: string, text: string, now: number): string {
  if (/^\d{1,11}(\.\d{1,9})?$/.test(text)) return text;
  const before = parseDuration(text);
  if (before !== undefined) return seconds(now - before);
  const [, date, time, fraction = '', zone = ''] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d){0,2})(\.\d+)?)?(Z|[+-]\d\d:\d\d)?$/i.exec(text) ?? [];
  const clock = time === undefined ? '00:00:00' : `${time}${':00'.repeat(3 - time.split(':').length)}`;
  const parsed = Date.parse(`${date}T${clock}${fraction}${zone.toUpperCase()}`);
  if (Number.isNaN(parsed)) {
    throw new CliError(
      'USAGE',
      `${flag} should be a duration such as 10m, a time such as 2026-11-20T22:45:00 or seconds since the epoch, not "${text}"`,
    );
  }
  return seconds(parsed);
}

/**
 * `2026-11-20T23:45:03.100001000+01:00`: always nine digits, in a zone so many minutes before UTC. Microseconds since the epoch:
 * a number holds no finer times.
 */
export function formatTimestamp(microseconds: number, minutesBefore: number): string {
  const milliseconds = Math.floor(microseconds / 1000);
  const rest = String(microseconds % 1000).padStart(3, '0');
  const local = new Date(milliseconds - minutesBefore * 60_000).toISOString().slice(0, -1);
  const [hours, minutes] = [Math.floor(Math.abs(minutesBefore) / 60), Math.abs(minutesBefore) % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  const zone = minutesBefore === 0 ? 'Z' : `${minutesBefore < 0 ? '+' : '-'}${two(hours)}:${two(minutes)}`;
  return `${local}${rest}000${zone}`;
}

function seconds(milliseconds: number): string {
  return `${Math.floor(milliseconds / 1000)}.${String(milliseconds % 1000).padStart(3, '0')}`;
}
