// What each service moves, and how long its connections take: metrics by service, which Swarm's users asked for in moby#35558.
import type { Durations } from '../datapath/counters.ts';
import type { ServiceId } from '../model/service.ts';
import type { HistogramSample, Metrics, Sample } from '../runtime/metrics.ts';
import { refusedOf, type TrafficSources } from './traffic.ts';

/** Services with histograms of their own: each has some thirty lines. What is beyond is one histogram together. */
const MOST_HISTOGRAMS = 1000;
const OTHERS = '(others)';

export function registerServiceMetrics(metrics: Metrics, sources: TrafficSources): void {
  const each = function* (value: (id: ServiceId) => number): Generator<Sample> {
    for (const { id, spec } of sources.catalog.snapshot.services.values())
      yield { labels: { service: spec.name }, value: value(id) };
  };
  const { traffic } = sources.mesh;
  const numbers: readonly [name: string, help: string, type: 'counter' | 'gauge', value: (id: ServiceId) => number][] =
    [
      ['connections_total', 'Connections and flows made to endpoints', 'counter', (id) => traffic.of(id).total],
      ['connections_open', 'Connections and flows open', 'gauge', (id) => traffic.of(id).active + traffic.of(id).flows],
      ['connect_failures_total', 'Attempts to connect that failed', 'counter', (id) => traffic.of(id).failures],
      [
        'connections_refused_total',
        'Clients reset because no endpoint could be reached',
        'counter',
        (id) => refusedOf(sources, id),
      ],
      ['bytes_to_client_total', 'Bytes passed on to clients', 'counter', (id) => traffic.of(id).bytesToClient],
      ['bytes_to_endpoint_total', 'Bytes passed on to endpoints', 'counter', (id) => traffic.of(id).bytesToEndpoint],
    ];
  for (const [name, help, type, value] of numbers)
    metrics.registerCollector(`vipmesh_service_${name}`, `${help}, by service`, type, ['service'], () => each(value));
  metrics.registerHistogram(
    'vipmesh_service_connect_seconds',
    'From taking a TCP client to having an endpoint for it, failed attempts included',
    () => histograms(sources, 'connectTimes'),
  );
  metrics.registerHistogram(
    'vipmesh_service_connection_duration_seconds',
    'How long TCP connections lasted, counted when they end',
    () => histograms(sources, 'durations'),
  );
}

/** Of services that had a connection. A service's slot never changes, so none moves in or out of the others. */
function histograms(
  { catalog, mesh, plane }: TrafficSources,
  what: 'connectTimes' | 'durations',
): readonly HistogramSample[] {
  const own: HistogramSample[] = [];
  const others: Durations[] = [];
  for (const { id, spec } of catalog.snapshot.services.values()) {
    const slot = mesh.publisher.slotOfService(id);
    if (slot === undefined) continue;
    const counted = plane.serviceCounters(slot)[what];
    if (counted.count === 0) continue;
    if (slot < MOST_HISTOGRAMS) own.push(sample(spec.name, [counted]));
    else others.push(counted);
  }
  return others.length === 0 ? own : [...own, sample(OTHERS, others)];
}

function sample(service: string, parts: readonly Durations[]): HistogramSample {
  const total = (value: (part: Durations) => number) => parts.reduce((sum, part) => sum + value(part), 0);
  return {
    labels: { service },
    buckets: (parts[0]?.buckets ?? []).map(({ upToMs }, bucket) => ({
      upTo: upToMs / 1000,
      count: total((part) => part.buckets[bucket]?.count ?? 0),
    })),
    count: total((part) => part.count),
    sum: total((part) => part.sumMs) / 1000,
  };
}
