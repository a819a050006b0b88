// A service for people: `vipmesh service inspect --pretty`. PURE.
import type { ServiceDetail } from '../api/schema.ts';
import { EXEC_PROBE_DEFAULTS } from '../model/service.ts';
import { formatDuration } from '../runtime/duration.ts';
import { limitsText } from './limit-flags.ts';
import { formatPorts } from './ports.ts';
import { formatTable } from './table.ts';

const NANOSECONDS_PER_MS = 1_000_000;

export function prettyService(service: ServiceDetail): string {
  const { Spec, Vipmesh } = service;
  const mode = 'Global' in Spec.Mode ? 'global' : `replicated, ${Spec.Mode.Replicated.Replicas} wanted`;
  const published = (['ingress', 'host'] as const)
    .map((one) => ({ one, text: formatPorts(service.Endpoint.Ports ?? [], one) }))
    .filter(({ text }) => text !== '');
  const lines = [
    field('ID', service.ID),
    field('Name', Spec.Name),
    ...Object.entries(Spec.Labels).map(([key, value]) => field('Label', `${key}=${value}`)),
    field('Mode', mode),
    field('Endpoint mode', Spec.EndpointSpec.Mode ?? 'vip'),
    field('Drain', formatDuration(Spec.Vipmesh.DrainTimeout / NANOSECONDS_PER_MS)),
    ...(Spec.Vipmesh.DNSTTL === undefined
      ? []
      : [field('DNS TTL', formatDuration(Spec.Vipmesh.DNSTTL / NANOSECONDS_PER_MS))]),
    ...balanceLines(service),
    ...(Spec.Vipmesh.Limits === undefined ? [] : [field('Limits', limitsText(Spec.Vipmesh.Limits))]),
    ...(Spec.Vipmesh.ProxyProtocol === undefined ? [] : [field('PROXY protocol', Spec.Vipmesh.ProxyProtocol)]),
    ...accessLines(service),
    ...healthLines(service),
    ...published.map(({ one, text }) => field(`Ports (${one})`, text)),
    ...Vipmesh.VIPs.map((vip) =>
      field('VIP', `${vip.Address} on ${vip.Network} (${vip.Names.join(', ')}), ${Vipmesh.Path}`),
    ),
  ];
  return [
    lines.join(''),
    section('Endpoints', endpointTable(service)),
    section('Frontends', frontendTable(service)),
    Vipmesh.Warnings.map((warning) => `Warning: ${warning}\n`).join(''),
  ]
    .filter((text) => text !== '')
    .join('\n');
}

export function field(name: string, value: string): string {
  return `${`${name}:`.padEnd(17)}${value}\n`;
}

export function section(title: string, text: string): string {
  return text === '' ? '' : `${title}:\n${text.replaceAll(/^(?=.)/gm, ' ')}`;
}

/** Nothing where it is as it is by default. */
function balanceLines({ Spec }: ServiceDetail): string[] {
  const { Method, Affinity, LocalFirst } = Spec.Vipmesh.Balance;
  if (Method === 'round-robin' && Affinity === 0 && !LocalFirst) return [];
  const affinity = Affinity === 0 ? [] : [`affinity ${formatDuration(Affinity / NANOSECONDS_PER_MS)}`];
  return [field('Balance', [Method, ...affinity, ...(LocalFirst ? ['local first'] : [])].join(', '))];
}

function accessLines({ Spec }: ServiceDetail): string[] {
  const { Allow = [], Deny = [], AcceptProxy = [] } = Spec.Vipmesh.Access ?? {};
  const line = (name: string, sources: readonly string[]) =>
    sources.length === 0 ? [] : [field(name, sources.join(', '))];
  return [...line('Let in', Allow), ...line('Denied', Deny), ...line('PROXY from', AcceptProxy)];
}

function healthLines({ Spec }: ServiceDetail): string[] {
  const { Healthcheck } = Spec.TaskTemplate.ContainerSpec;
  const health = Spec.Vipmesh.Health ?? Healthcheck;
  if (health === undefined) return [];
  if (Healthcheck?.Test[0] === 'NONE') return [field('Health', 'no checks')];
  const ms = (nanoseconds: number) => formatDuration(nanoseconds / NANOSECONDS_PER_MS);
  const { intervalMs, timeoutMs, retries } = EXEC_PROBE_DEFAULTS;
  const [interval, timeout] = [
    health.Interval ?? intervalMs * NANOSECONDS_PER_MS,
    health.Timeout ?? timeoutMs * NANOSECONDS_PER_MS,
  ].map(ms);
  const what = healthText(Spec.Vipmesh.Health) ?? Healthcheck?.Test.join(' ') ?? '';
  return [field('Health', `${what}, every ${interval}, within ${timeout}, ${health.Retries ?? retries} failures`)];
}

/** `HTTP :8080/up 204`, `TCP`. */
function healthText(probe: ServiceDetail['Spec']['Vipmesh']['Health']): string | undefined {
  const { TCP, HTTP } = probe ?? {};
  if (TCP !== undefined) return TCP.Port === undefined ? 'TCP' : `TCP :${TCP.Port}`;
  if (HTTP === undefined) return undefined;
  const port = HTTP.Port === undefined ? '' : `:${HTTP.Port}`;
  return `HTTP ${port}${HTTP.Path}${HTTP.Status === undefined ? '' : ` ${HTTP.Status}`}`;
}

function endpointTable({ Vipmesh }: ServiceDetail): string {
  if (Vipmesh.Endpoints.length === 0) return '';
  return formatTable(
    ['TASK', 'NODE', 'NETWORK', 'ADDRESS', 'PORTS', 'WEIGHT', 'ELIGIBLE', 'OPEN', 'TOTAL', 'FAILED', 'WHY'],
    Vipmesh.Endpoints.map((endpoint) => [
      endpoint.Task,
      endpoint.Node,
      endpoint.Network,
      endpoint.Address,
      formatMappings(endpoint.Ports),
      String(endpoint.Weight),
      endpoint.Eligible ? 'yes' : 'no',
      String(endpoint.OpenConnections),
      String(endpoint.TotalConnections),
      String(endpoint.ConnectFailures),
      endpoint.Reason ?? '',
    ]),
  );
}

/** `80`, or `80->8080` where a task serves a target port on another one. */
export function formatMappings(ports: readonly { readonly TargetPort: number; readonly Port: number }[]): string {
  return ports
    .map(({ TargetPort, Port }) => (TargetPort === Port ? String(Port) : `${TargetPort}->${Port}`))
    .join(', ');
}

function frontendTable({ Vipmesh }: ServiceDetail): string {
  return Vipmesh.Frontends.length === 0 ? '' : formatFrontends(Vipmesh.Frontends);
}

export function formatFrontends(frontends: ServiceDetail['Vipmesh']['Frontends']): string {
  return formatTable(
    ['SERVICE', 'NETWORK', 'LISTENS ON', 'TARGET', 'STATE', 'OPEN', 'TOTAL', 'WHY'],
    frontends.map((frontend) => [
      frontend.Service,
      frontend.Network ?? '',
      `${frontend.Address.includes(':') ? `[${frontend.Address}]` : frontend.Address}:${frontend.Port}/${frontend.Protocol}`,
      frontend.TargetPort === undefined ? 'same port' : String(frontend.TargetPort),
      frontend.State,
      String(frontend.OpenConnections ?? ''),
      String(frontend.TotalConnections ?? ''),
      frontend.Reason ?? '',
    ]),
  );
}
