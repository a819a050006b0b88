// The settings of the resolver: whom it asks for names that are not ours, and what it keeps of the answers. PURE.
import { formatHostPort, type IpAddress, isLoopback, parseIp } from './model/address.ts';
import { type PortNumber, parsePort } from './model/port.ts';

export interface HostPort {
  readonly address: IpAddress;
  readonly port: PortNumber;
}

export interface DnsRoute {
  /** Lower case, without a final dot. */
  readonly suffix: string;
  readonly upstreams: readonly HostPort[];
}

export interface ForwardingConfig {
  /** Outside DNS servers, asked in order; none: outside names fail with SERVFAIL. */
  readonly upstreams: readonly HostPort[];
  /** Who is asked instead for names that end in a suffix; the longest decides. */
  readonly dnsRoutes: readonly DnsRoute[];
  /** Memory for answers of upstreams, in bytes for each worker; 0: none are kept. */
  readonly dnsCacheBytes: number;
}

/** Rows of the table behind `vipmesh agent --help`. */
export const DNS_SETTINGS = [
  {
    flag: '--upstream <ADDR[:PORT]>',
    help: 'outside DNS server to forward other names to',
    defaultText: 'the servers of /etc/resolv.conf',
    repeatable: true,
  },
  {
    flag: '--dns-route <SUFFIX=ADDR[:PORT],…>',
    help: 'DNS servers for names that end in SUFFIX, instead of the upstreams; the longest suffix decides',
    repeatable: true,
  },
  {
    flag: '--dns-cache <SIZE>',
    help: 'memory for answers from outside, in each worker: 512K, 16M; 0 or off keeps none',
    defaultText: '4M',
  },
] as const;

export const DNS_PORT = 53 as PortNumber;
/** Some 10,000 answers, more than the containers of a node ask for within a TTL. */
const CACHE_BYTES = 4 * 2 ** 20;
/** Smaller, and it would hold less than what one page of a browser asks for. */
const LEAST_CACHE_BYTES = 64 * 2 ** 10;
const MOST_CACHE_BYTES = 2 ** 30;
/** Each is counted by itself, in memory that is set aside at the start. */
const MOST_SERVERS = 32;

interface Reader {
  one<T>(name: string, parse: (text: string, flag: string) => T): T | undefined;
  many<T>(name: string, parse: (text: string, flag: string) => T): readonly T[];
}

/** What a flag should have been; `flag` is where it was written. */
type Refuse = (flag: string, problem: string) => never;

/** `own`: where our own resolver listens, which must not be asked. */
export function parseForwarding(read: Reader, own: HostPort, resolvConf: string, refuse: Refuse): ForwardingConfig {
  const outside = (text: string, flag: string): HostPort => {
    const server = parseServer(text) ?? refuse(flag, `${WANTED}, not "${text}"`);
    if (isOwn(server, own))
      refuse(
        flag,
        `${text} is this resolver itself (--dns ${formatHostPort(own.address, own.port)}), which would ask itself for ever`,
      );
    return server;
  };
  const given = read.many('upstream', outside);
  const upstreams = given.length > 0 ? given : resolvConfServers(resolvConf, own);
  const routes: DnsRoute[] = [];
  // In the environment a list is parted by commas as a route's servers are, so what has no suffix belongs to the one before.
  for (const { text, flag } of read
    .many('dns-route', (texts, flag) => texts.split(',').map((text) => ({ text, flag })))
    .flat()) {
    const route = parseRoute(text.trim(), flag, routes, outside, refuse);
    if (routes.at(-1)?.suffix === route.suffix) routes.pop();
    routes.push(route);
  }
  const servers = new Set(
    [...upstreams, ...routes.flatMap((route) => route.upstreams)].map((one) => `${one.address} ${one.port}`),
  );
  if (servers.size > MOST_SERVERS)
    refuse(
      routes.length > 0 ? '--dns-route' : '--upstream',
      `names ${servers.size} different servers; at most ${MOST_SERVERS} are asked`,
    );
  return {
    upstreams: Object.freeze([...upstreams]),
    dnsRoutes: Object.freeze(routes),
    dnsCacheBytes: read.one('dns-cache', (text, flag) => parseCacheSize(text, flag, refuse)) ?? CACHE_BYTES,
  };
}

const WANTED = 'should be ADDRESS or ADDRESS:PORT of a DNS server, such as 9.9.9.9 or [2620:fe::fe]:53';

/** `SUFFIX=SERVER` begins a route; `SERVER` alone is one more for the route before, which comes back with it. */
function parseRoute(
  text: string,
  flag: string,
  before: readonly DnsRoute[],
  outside: (text: string, flag: string) => HostPort,
  refuse: Refuse,
): DnsRoute {
  const equals = text.indexOf('=');
  if (equals < 0) {
    const last =
      before.at(-1) ?? refuse(flag, `should be SUFFIX=ADDRESS, such as corp.example=10.0.0.53, not "${text}"`);
    return { suffix: last.suffix, upstreams: Object.freeze([...last.upstreams, outside(text, flag)]) };
  }
  const suffix = text
    .slice(0, equals)
    .toLowerCase()
    .replace(/^\*?\./, '')
    .replace(/\.$/, '');
  if (!isDomain(suffix)) {
    const all = suffix === '' ? '; for all names there is --upstream' : '';
    refuse(flag, `should be SUFFIX=ADDRESS with a domain such as corp.example, not "${text.slice(0, equals)}"${all}`);
  }
  if (before.some((one) => one.suffix === suffix))
    refuse(flag, `has ${suffix} twice; write its servers behind each other: ${suffix}=10.0.0.53,10.0.0.54`);
  return { suffix, upstreams: Object.freeze([outside(text.slice(equals + 1), flag)]) };
}

function isDomain(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
}

function parseServer(text: string): HostPort | undefined {
  const split = splitHostPort(text);
  const port = split.port === undefined ? DNS_PORT : parsePort(split.port);
  const address = parseIp(split.host);
  return address === undefined || port === undefined ? undefined : { address, port };
}

function isOwn({ address, port }: HostPort, own: HostPort): boolean {
  const onAll = (own.address === '0.0.0.0' || own.address === '::') && isLoopback(address);
  return port === own.port && (address === own.address || onAll);
}

function parseCacheSize(text: string, flag: string, refuse: Refuse): number {
  if (text === 'off' || text === '0') return 0;
  const match = /^(\d{1,12})([KMG]?)(?:iB|B)?$/i.exec(text);
  const unit = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[match?.[2]?.toUpperCase() ?? ''] ?? 1;
  const bytes = match === null ? 0 : Number(match[1]) * unit;
  if (bytes >= LEAST_CACHE_BYTES && bytes <= MOST_CACHE_BYTES) return bytes;
  return refuse(flag, `should be a size from 64K to 1G, such as 16M, or off, not "${text}"`);
}

/**
 * The `nameserver` lines of a resolv.conf (resolv.conf(5)), without our own listener, which would forward to itself. Lines
 * that are no address are passed over, as the C library does, and so are link-local servers with a zone (`fe80::1%eth0`).
 */
export function resolvConfServers(text: string, own: HostPort): readonly HostPort[] {
  const servers: HostPort[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*nameserver\s+(\S+)/.exec(line);
    const address = match?.[1] === undefined ? undefined : parseIp(match[1]);
    if (address === undefined || isOwn({ address, port: DNS_PORT }, own)) continue;
    if (servers.some((server) => server.address === address)) continue;
    servers.push({ address, port: DNS_PORT });
  }
  return servers;
}

/** `1.2.3.4:5`, `[::1]:5`, `1.2.3.4`, `::1`: what stands before and behind the colon that parts them. */
export function splitHostPort(text: string): { readonly host: string; readonly port?: string } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) return withPort(bracketed[1] ?? '', bracketed[2]);
  const colon = text.lastIndexOf(':');
  if (colon < 0 || text.indexOf(':') !== colon) return { host: text };
  return withPort(text.slice(0, colon), text.slice(colon + 1));
}

function withPort(host: string, port: string | undefined): { readonly host: string; readonly port?: string } {
  return port === undefined ? { host } : { host, port };
}
