// `x-vipmesh` of a service: what Compose has no word for.
import type { Access } from '../model/access.ts';
import { MAX_DNS_TTL_S, parseDnsTtl } from '../model/dns-ttl.ts';
import type { Limits } from '../model/limits.ts';
import { parsePort, type TargetPort } from '../model/port.ts';
import {
  type Balance,
  type HealthCheck,
  PROBE_DEFAULTS,
  type Probe,
  PROXY_PROTOCOLS,
  type ProxyProtocol,
  type StaticEndpoint,
} from '../model/service.ts';
import { MAX_WEIGHT } from '../model/weight.ts';
import { ACCESS_KEYS, readAccess } from './access.ts';
import { BALANCE_KEYS, readBalance } from './balance.ts';
import { quote } from './diagnostics.ts';
import { readTiming } from './healthcheck.ts';
import { readLimits } from './limits.ts';
import type { Reader } from './reader.ts';
import { parseStaticEndpoint } from './static-endpoint.ts';
import type { Place, Tree } from './tree.ts';

export interface PlacedEndpoint {
  readonly endpoint: StaticEndpoint;
  readonly text: string;
  readonly place: Place;
}

export interface Extension {
  readonly endpoints: readonly PlacedEndpoint[];
  readonly health?: HealthCheck | 'none';
  readonly drainTimeoutMs?: number;
  readonly onUnhealthy?: 'close';
  readonly dnsTtlS?: number;
  readonly balance?: Balance;
  readonly limits?: Limits;
  readonly proxyProtocol?: ProxyProtocol;
  readonly access?: Access;
}

const KEYS = {
  path: 'services.*.x-vipmesh',
  used: [
    'endpoints',
    'health',
    'on_unhealthy',
    'drain',
    'dns_ttl',
    'proxy_protocol',
    'limits',
    ...ACCESS_KEYS,
    ...BALANCE_KEYS,
  ],
  unused: [],
} as const;

export function readExtension(reader: Reader, tree: Tree, what: string): Extension {
  const fields = reader.fields(tree, what, KEYS);
  const endpoints = fields?.get('endpoints')?.value;
  const health = fields?.get('health')?.value;
  const drain = fields?.get('drain')?.value;
  const check = health === undefined ? undefined : readHealth(reader, health, `${what}.health`);
  const drainTimeoutMs = drain === undefined ? undefined : reader.duration(drain, `${what}.drain`);
  const ttl = fields?.get('dns_ttl')?.value;
  const dnsTtlS = ttl === undefined ? undefined : readDnsTtl(reader, ttl, `${what}.dns_ttl`);
  const closes = readOnUnhealthy(reader, fields?.get('on_unhealthy')?.value, `${what}.on_unhealthy`);
  const proxy = fields?.get('proxy_protocol')?.value;
  const proxyProtocol = proxy && readProxyProtocol(reader, proxy, `${what}.proxy_protocol`);
  const limited = fields?.get('limits')?.value;
  const limits = limited && readLimits(reader, limited, `${what}.limits`);
  const balance = fields && readBalance(reader, fields, what);
  const access = fields && readAccess(reader, fields, what);
  return {
    endpoints: endpoints === undefined ? [] : readEndpoints(reader, endpoints, `${what}.endpoints`),
    ...(check === undefined ? {} : { health: check }),
    ...(drainTimeoutMs === undefined ? {} : { drainTimeoutMs }),
    ...(dnsTtlS === undefined ? {} : { dnsTtlS }),
    ...(balance === undefined ? {} : { balance }),
    ...(limits === undefined ? {} : { limits }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    ...(access === undefined ? {} : { access }),
    ...(closes ? { onUnhealthy: 'close' as const } : {}),
  };
}

function readDnsTtl(reader: Reader, tree: Tree, what: string): number | undefined {
  const text = reader.text(tree, what);
  const seconds = text === undefined ? undefined : parseDnsTtl(text);
  if (text !== undefined && seconds === undefined)
    reader.diagnostics.error(
      tree.place,
      `${what} must be whole seconds from 0 to ${MAX_DNS_TTL_S}, such as 30s, not ${quote(text)}`,
    );
  return seconds;
}

function readProxyProtocol(reader: Reader, tree: Tree, what: string): ProxyProtocol | undefined {
  const text = reader.text(tree, what);
  const version = PROXY_PROTOCOLS.find((one) => one === text);
  if (text !== undefined && version === undefined)
    reader.diagnostics.error(tree.place, `${what} is ${PROXY_PROTOCOLS.join(' or ')}, not ${quote(text)}`);
  return version;
}

function readOnUnhealthy(reader: Reader, tree: Tree | undefined, what: string): boolean {
  const text = tree && reader.text(tree, what);
  if (tree !== undefined && text !== undefined && text !== 'keep' && text !== 'close') {
    reader.diagnostics.error(
      tree.place,
      `${what} is "keep" or "close" (what becomes of connections), not ${quote(text)}`,
    );
  }
  return text === 'close';
}

/** Which port an endpoint stands for is only certain once all of the service's target ports are known. */
export function checkEndpoints(
  reader: Reader,
  endpoints: readonly PlacedEndpoint[],
  targets: readonly TargetPort[],
  what: string,
): void {
  const numbers = new Set<number>(targets.map((target) => target.port));
  const [alone] = endpoints;
  if (alone !== undefined && numbers.size === 0 && endpoints.every(({ endpoint }) => endpoint.port === undefined)) {
    const effect = 'so only an overlay can forward to them, and nothing checks them';
    reader.diagnostics.warn(alone.place, `${what}: neither its endpoints nor "expose" name a port, ${effect}`);
  }
  const seen = new Map<string, Place>();
  for (const { endpoint, text, place } of endpoints) {
    const { address, targetPort, port } = endpoint;
    const listed = numbers.size > 10 ? `${numbers.size} ports` : [...numbers].join(', ');
    if (targetPort !== undefined && !numbers.has(targetPort)) {
      const declared =
        numbers.size === 0 ? 'none; add it to "expose"' : `${listed}; add it to "expose" or mend it here`;
      reader.diagnostics.error(
        place,
        `${what}: target port ${targetPort} of ${quote(text)} is not declared by the service, which has ${declared}`,
      );
    } else if (targetPort === undefined && port !== undefined && numbers.size > 1) {
      reader.diagnostics.error(
        place,
        `${what}: ${quote(text)} does not say which target port it serves (${listed}); write TARGET=ADDRESS:PORT, or the address alone for the same ports`,
      );
    }
    const key = `${targetPort ?? ''}=${address}:${port ?? ''}`;
    const first = seen.get(key);
    if (first !== undefined)
      reader.diagnostics.error(place, `${what}: ${quote(text)} stands twice, first at ${reader.diagnostics.at(first)}`);
    else seen.set(key, place);
  }
}

function readEndpoints(reader: Reader, tree: Tree, what: string): readonly PlacedEndpoint[] {
  const endpoints: PlacedEndpoint[] = [];
  for (const item of reader.list(tree, what)?.items ?? []) {
    const { address, weight } = item.kind === 'map' ? readWeighted(reader, item, what) : { address: item };
    const text = address && reader.text(address, what);
    if (text === undefined) continue;
    const endpoint = parseStaticEndpoint(text.trim());
    if (typeof endpoint === 'string') reader.diagnostics.error(item.place, `${what}: ${quote(text)} ${endpoint}`);
    else
      endpoints.push({
        endpoint: { ...endpoint, ...(weight === undefined ? {} : { weight }) },
        text,
        place: item.place,
      });
  }
  return endpoints;
}

const ENDPOINT_KEYS = { path: 'services.*.x-vipmesh.endpoints', used: ['address', 'weight'], unused: [] } as const;

/** The long form: `{ address: 10.0.0.5:8080, weight: 3 }`. */
function readWeighted(reader: Reader, tree: Tree, what: string): { readonly address?: Tree; readonly weight?: number } {
  const fields = reader.fields(tree, what, ENDPOINT_KEYS);
  const address = fields?.get('address')?.value;
  if (fields !== undefined && address === undefined)
    reader.diagnostics.error(tree.place, `${what}: an endpoint needs "address", as in the short form`);
  const weightTree = fields?.get('weight')?.value;
  const weight = weightTree && reader.integer(weightTree, `${what}.weight`, MAX_WEIGHT);
  return { ...(address && { address }), ...(weight === undefined ? {} : { weight }) };
}

const HEALTH_KEYS = {
  path: 'services.*.x-vipmesh.health',
  used: ['tcp', 'http', 'interval', 'timeout', 'retries', 'start_period'],
  unused: [],
} as const;

function readHealth(reader: Reader, tree: Tree, what: string): HealthCheck | 'none' | undefined {
  if (tree.kind === 'scalar') {
    const text = reader.text(tree, what);
    if (text === undefined || text === 'none') return text;
    reader.diagnostics.error(tree.place, `${what} is "none" or a map with "tcp" or "http", not ${quote(text)}`);
    return undefined;
  }
  const fields = reader.fields(tree, what, HEALTH_KEYS);
  if (fields === undefined) return undefined;
  const timing = readTiming(reader, fields, what, PROBE_DEFAULTS);
  const tcp = fields.get('tcp')?.value;
  const http = fields.get('http')?.value;
  if ((tcp === undefined) === (http === undefined)) {
    reader.diagnostics.error(tree.place, `${what} needs either "tcp" (true or a port) or "http" (a path)`);
    return undefined;
  }
  const probe = tcp === undefined ? readHttp(reader, http, `${what}.http`) : readTcp(reader, tcp, `${what}.tcp`);
  return probe === undefined ? undefined : { probe, ...timing };
}

function readTcp(reader: Reader, tree: Tree, what: string): Probe | undefined {
  const text = reader.text(tree, what);
  if (text === undefined) return undefined;
  const port = parsePort(text);
  if (text === 'true') return { kind: 'tcp' };
  if (port !== undefined) return { kind: 'tcp', port };
  reader.diagnostics.error(tree.place, `${what} is true or a port of 1 to 65535, not ${quote(text)}`);
  return undefined;
}

const HTTP_KEYS = { path: 'services.*.x-vipmesh.health.http', used: ['path', 'port', 'status'], unused: [] } as const;

function readHttp(reader: Reader, tree: Tree | undefined, what: string): Probe | undefined {
  if (tree === undefined) return undefined;
  if (tree.kind === 'scalar') return readPath(reader, tree, what);
  const fields = reader.fields(tree, what, HTTP_KEYS);
  if (fields === undefined) return undefined;
  const [path, port, status] = ['path', 'port', 'status'].map((key) => fields.get(key)?.value);
  const probe = path === undefined ? ({ kind: 'http', path: '/' } as const) : readPath(reader, path, `${what}.path`);
  const portNumber = port === undefined ? undefined : parsePort(reader.text(port, `${what}.port`) ?? '');
  if (port !== undefined && portNumber === undefined)
    reader.diagnostics.error(port.place, `${what}.port must be a port of 1 to 65535`);
  const expectStatus = status === undefined ? undefined : reader.integer(status, `${what}.status`, 599);
  if (status !== undefined && expectStatus !== undefined && expectStatus < 100) {
    reader.diagnostics.error(status.place, `${what}.status must be an HTTP status of 100 to 599`);
  }
  if (probe === undefined) return undefined;
  return {
    ...probe,
    ...(portNumber === undefined ? {} : { port: portNumber }),
    ...(expectStatus === undefined ? {} : { expectStatus }),
  };
}

/** A request line ends at a space or line end, so a path has none (RFC 9112 section 3). */
function readPath(reader: Reader, tree: Tree, what: string): (Probe & { readonly kind: 'http' }) | undefined {
  const path = reader.text(tree, what);
  if (path === undefined) return undefined;
  if (/^\/[\x21-\x7e]*$/.test(path) && path.length <= 2000) return { kind: 'http', path };
  reader.diagnostics.error(tree.place, `${what} must be a path such as "/healthz", without spaces, not ${quote(path)}`);
  return undefined;
}
