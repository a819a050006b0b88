// How the resolver's upstreams are, and what it keeps of their answers: what all workers counted, for the status and for metrics.
import type { AgentStatus, DnsCacheListing } from '../api/status-schema.ts';
import type { HostPort } from '../config-dns.ts';
import { type Config, formatAddress } from '../config.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { UpstreamRoutes } from '../dns/upstream-routes.ts';
import type { Metrics } from '../runtime/metrics.ts';
import { TOTAL, UPSTREAM } from '../runtime/worker-env.ts';

type ResolverConfig = Pick<Config, 'dns' | 'upstreams' | 'dnsRoutes' | 'dnsCacheBytes'>;
type ResolverStatus = AgentStatus['DNS'];

export function resolverStatus(config: ResolverConfig, plane: DataPlane): ResolverStatus {
  const { dns, upstreams, dnsRoutes } = config;
  return {
    Listen: [`${formatAddress(dns)}/udp`, `${formatAddress(dns)}/tcp`],
    Upstreams: upstreams.map(formatAddress),
    Routes: dnsRoutes.map((route) => ({ Suffix: route.suffix, Upstreams: route.upstreams.map(formatAddress) })),
    Servers: serversOf(config).map((server, number) => serverStatus(formatAddress(server), number, plane)),
    Cache: {
      Entries: plane.total(TOTAL.dnsCacheEntries),
      Bytes: plane.total(TOTAL.dnsCacheBytes),
      Limit: config.dnsCacheBytes * plane.workers,
    },
  };
}

/** In the order in which workers number them. */
function serversOf({ upstreams, dnsRoutes }: ResolverConfig): readonly HostPort[] {
  return new UpstreamRoutes(upstreams, dnsRoutes).servers as readonly HostPort[];
}

function serverStatus(address: string, number: number, plane: DataPlane): ResolverStatus['Servers'][number] {
  const read = (what: number) => plane.total(TOTAL.dnsUpstreams + number * UPSTREAM.stride + what);
  const loops = read(UPSTREAM.loops);
  const answers = read(UPSTREAM.answered);
  const silent = read(UPSTREAM.silent) > 0;
  return {
    Address: address,
    State: loops > 0 ? 'loop' : silent ? 'silent' : answers > 0 ? 'answers' : 'unused',
    Questions: read(UPSTREAM.asked),
    Answers: answers,
  };
}

/** Whole sentences for whoever runs the agent. */
export function resolverWarnings({ Servers }: ResolverStatus): readonly string[] {
  return Servers.filter(({ State }) => State === 'loop').map(
    ({ Address }) =>
      `upstream ${Address} asks this resolver what it is asked by it; name servers outside with --upstream, or in its own settings`,
  );
}

/** Workers keep answers each on its own: what they have stands together, worker by worker. */
export async function listDnsCache(
  plane: DataPlane,
  below: string | undefined,
  atMost: number,
): Promise<DnsCacheListing> {
  const kept = [...(await plane.listDnsCache(below, atMost))].sort(([a], [b]) => a - b);
  const entries = kept.flatMap(([worker, { entries }]) =>
    entries.map((one) => ({
      Name: one.name,
      Type: one.type,
      State: one.state,
      Left: one.leftS,
      Rcode: one.rcode,
      Answers: one.answers,
      Bytes: one.bytes,
      Worker: worker,
    })),
  );
  return { Entries: entries.slice(0, atMost), Total: kept.reduce((sum, [, { total }]) => sum + total, 0) };
}

export function registerResolverMetrics(metrics: Metrics, config: ResolverConfig, plane: DataPlane): void {
  const addresses = serversOf(config).map(formatAddress);
  const each = (what: number) => () =>
    addresses.map((upstream, number) => ({
      labels: { upstream },
      value: plane.total(TOTAL.dnsUpstreams + number * UPSTREAM.stride + what),
    }));
  const labels = ['upstream'];
  metrics.registerCollector(
    'vipmesh_dns_upstream_questions_total',
    'Messages sent to an upstream',
    'counter',
    labels,
    each(UPSTREAM.asked),
  );
  metrics.registerCollector(
    'vipmesh_dns_upstream_answers_total',
    'Messages that an upstream sent back',
    'counter',
    labels,
    each(UPSTREAM.answered),
  );
  metrics.registerCollector(
    'vipmesh_dns_upstream_silent',
    'Workers that got no answer from the upstream and ask it last',
    'gauge',
    labels,
    each(UPSTREAM.silent),
  );
  metrics.registerCollector(
    'vipmesh_dns_upstream_loops_total',
    'Questions of ours that an upstream asked us',
    'counter',
    labels,
    each(UPSTREAM.loops),
  );
  const one = (counter: number) => () => [{ labels: {}, value: plane.total(counter) }];
  metrics.registerCollector(
    'vipmesh_dns_cache_entries',
    'Answers of upstreams that are kept, over all workers',
    'gauge',
    [],
    one(TOTAL.dnsCacheEntries),
  );
  metrics.registerCollector(
    'vipmesh_dns_cache_bytes',
    'What they take, roughly',
    'gauge',
    [],
    one(TOTAL.dnsCacheBytes),
  );
  metrics.registerCollector(
    'vipmesh_dns_merged_total',
    'Questions that shared the answer of an equal one under way',
    'counter',
    [],
    one(TOTAL.dnsMerged),
  );
  metrics.registerCollector(
    'vipmesh_dns_over_cap_total',
    'Questions not sent on because too many were under way',
    'counter',
    [],
    one(TOTAL.dnsOverCap),
  );
  metrics.registerCollector(
    'vipmesh_dns_over_share_total',
    'Questions not sent on because their client had its share of those under way',
    'counter',
    [],
    one(TOTAL.dnsOverShare),
  );
}
