// Two readings of what a node has moved → rates, as `vipmesh top` shows them. PURE.
import type { TrafficReading } from '../api/status-schema.ts';
import { formatBytes } from '../runtime/bytes.ts';
import { formatTable } from './table.ts';

type ServiceReading = TrafficReading['Services'][number];
type EndpointReading = ServiceReading['Endpoints'][number];

/** Now, and per second between two readings. */
export interface Rates {
  readonly Open: number;
  readonly Total: number;
  readonly ConnectionsPerSecond: number;
  readonly BytesToEndpointPerSecond: number;
  readonly BytesToClientPerSecond: number;
  /** Attempts to connect to an endpoint. */
  readonly FailuresPerSecond: number;
}

export interface EndpointRates extends Rates {
  readonly Task: string;
  readonly Network: string;
  readonly Address: string;
  readonly Eligible: boolean;
  readonly Ejected: boolean;
}

export interface ServiceRates extends Rates {
  readonly Name: string;
  /** Clients that no endpoint could be reached for. */
  readonly RefusedPerSecond: number;
  readonly Endpoints: readonly EndpointRates[];
}

export interface Top {
  readonly Seconds: number;
  /** The busiest first. */
  readonly Services: readonly ServiceRates[];
}

/** What was not there at the first reading counts from zero; so does everything when the agent is another since. */
export function ratesOf(first: TrafficReading, second: TrafficReading): Top {
  const seconds = Math.max((second.AtMs - first.AtMs) / 1000, 0.001);
  const before = new Map(first.Services.map((service) => [service.Name, service]));
  const services = second.Services.map((service) => serviceRates(before.get(service.Name), service, seconds));
  return { Seconds: seconds, Services: services.sort(byActivity) };
}

function serviceRates(before: ServiceReading | undefined, now: ServiceReading, seconds: number): ServiceRates {
  const known = new Map(before?.Endpoints.map((one) => [keyOf(one), one]));
  const endpoints = now.Endpoints.map((one) => ({
    Task: one.Task,
    Network: one.Network,
    Address: one.Address,
    Eligible: one.Eligible,
    Ejected: one.Ejected,
    ...rates(known.get(keyOf(one)), one, seconds),
  }));
  return {
    Name: now.Name,
    ...rates(before, now, seconds),
    RefusedPerSecond: since(before?.Refused, now.Refused) / seconds,
    Endpoints: endpoints.sort((a, b) => b.ConnectionsPerSecond - a.ConnectionsPerSecond || compare(a.Task, b.Task)),
  };
}

type Counted = Pick<EndpointReading, 'Open' | 'Total' | 'Failures' | 'BytesToClient' | 'BytesToEndpoint'>;

function rates(before: Counted | undefined, now: Counted, seconds: number): Rates {
  const perSecond = (what: Exclude<keyof Counted, 'Open'>) => since(before?.[what], now[what]) / seconds;
  return {
    Open: now.Open,
    Total: now.Total,
    ConnectionsPerSecond: perSecond('Total'),
    BytesToEndpointPerSecond: perSecond('BytesToEndpoint'),
    BytesToClientPerSecond: perSecond('BytesToClient'),
    FailuresPerSecond: perSecond('Failures'),
  };
}

/** A count that is lower than before has begun anew. */
function since(before: number | undefined, now: number): number {
  return before === undefined || before > now ? now : now - before;
}

function keyOf({ Task, Network }: EndpointReading): string {
  return `${Network} ${Task}`;
}

function byActivity(a: ServiceRates, b: ServiceRates): number {
  return b.ConnectionsPerSecond - a.ConnectionsPerSecond || b.Open - a.Open || compare(a.Name, b.Name);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

const HEADINGS = ['SERVICE', 'ENDPOINT', 'OPEN', 'CONN/S', 'IN/S', 'OUT/S', 'FAILED/S', 'REFUSED/S', 'STATE'];

/** A line of sums and a table, no longer than `lines`; what is left out is counted in the last line. */
export function formatTop(top: Top, lines: number): string {
  const total = (value: (one: ServiceRates) => number) => top.Services.reduce((sum, one) => sum + value(one), 0);
  const head =
    `${top.Services.length} ${top.Services.length === 1 ? 'service' : 'services'}: ${total((one) => one.Open)} open, ` +
    `${rate(total((one) => one.ConnectionsPerSecond))} connections/s, ` +
    `in ${bytes(total((one) => one.BytesToEndpointPerSecond))}, out ${bytes(total((one) => one.BytesToClientPerSecond))}, ` +
    `${rate(total((one) => one.FailuresPerSecond))} failed/s, ${rate(total((one) => one.RefusedPerSecond))} refused/s`;
  const rows = top.Services.flatMap((service) => [serviceRow(service), ...service.Endpoints.map(endpointRow)]);
  // The head, an empty line, the headings; and where something is left out, a line that says so.
  const room = Math.max(1, lines - 3);
  const shown = rows.length <= room ? rows : rows.slice(0, Math.max(1, room - 1));
  const rest = rows.length - shown.length;
  return `${head}\n\n${formatTable(HEADINGS, shown)}${rest === 0 ? '' : `${rest} more lines\n`}`;
}

function serviceRow(one: ServiceRates): readonly string[] {
  const isServed = one.Endpoints.some(({ Eligible }) => Eligible);
  return [one.Name, '', ...ratesText(one), rate(one.RefusedPerSecond), isServed ? '' : 'no eligible endpoint'];
}

function endpointRow(one: EndpointRates): readonly string[] {
  const state = one.Eligible ? (one.Ejected ? 'ejected' : '') : 'not eligible';
  return ['', `${one.Address} ${one.Task}`, ...ratesText(one), '', state];
}

function ratesText(one: Rates): readonly string[] {
  const [to, from] = [one.BytesToEndpointPerSecond, one.BytesToClientPerSecond];
  return [String(one.Open), rate(one.ConnectionsPerSecond), bytes(to), bytes(from), rate(one.FailuresPerSecond)];
}

/** One decimal where it says something. */
function rate(value: number): string {
  return value === 0 || value >= 99.95 ? String(Math.round(value)) : value.toFixed(1);
}

function bytes(perSecond: number): string {
  return `${formatBytes(Math.round(perSecond))}/s`;
}
