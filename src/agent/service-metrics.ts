// What each service moves, and how long its connections take: metrics by service, which Swarm's users asked for in moby#35558.
import type { Traffic } from '../balancer/service-traffic.ts';
import type { Durations, ServiceCounts } from '../datapath/counters.ts';
import type { HistogramSample, Metrics, Sample } from '../runtime/metrics.ts';
import type { TrafficSources } from './traffic.ts';

/** Services with histograms of their own: each has some thirty lines. What is beyond is one histogram together. */
const MOST_HISTOGRAMS = 1000;
const OTHERS = '(others)';

export function registerServiceMetrics(metrics: Metrics, sources: TrafficSources): void {
  const readings = oncePerTurn(() => readServices(sources));
  const each = (value: (one: Reading) => number) => (): readonly Sample[] =>
    readings().map((one) => ({ labels: { service: one.name }, value: value(one) }));
  const add = (name: string, help: string, type: 'counter' | 'gauge', value: (one: Reading) => number) =>
    metrics.registerCollector(`vipmesh_service_${name}`, `${help}, by service`, type, ['service'], each(value));
  add('connections_total', 'Connections and flows made to endpoints', 'counter', ({ moved }) => moved.total);
  add('connections_open', 'Connections and flows open', 'gauge', ({ moved }) => moved.active + moved.flows);
  add('connect_failures_total', 'Attempts to connect that failed', 'counter', ({ moved }) => moved.failures);
  add(
    'connections_refused_total',
    'Clients reset because no endpoint could be reached',
    'counter',
    ({ counts }) => counts?.refused ?? 0,
  );
  add('bytes_to_client_total', 'Bytes passed on to clients', 'counter', ({ moved }) => moved.bytesToClient);
  add('bytes_to_endpoint_total', 'Bytes passed on to endpoints', 'counter', ({ moved }) => moved.bytesToEndpoint);
  metrics.registerHistogram(
    'vipmesh_service_connect_seconds',
    'From taking a TCP client to having an endpoint for it, failed attempts included',
    () => histograms(readings(), 'connectTimes'),
  );
  metrics.registerHistogram(
    'vipmesh_service_connection_duration_seconds',
    'How long TCP connections lasted, counted when they end',
    () => histograms(readings(), 'durations'),
  );
}

interface Reading {
  readonly name: string;
  readonly moved: Traffic;
  /** Absent while nothing of the service is here. */
  readonly slot: number | undefined;
  readonly counts: ServiceCounts | undefined;
}

function readServices({ catalog, mesh, plane }: TrafficSources): readonly Reading[] {
  return [...catalog.snapshot.services.values()].map(({ id, spec }) => {
    const slot = mesh.publisher.slotOfService(id);
    const counts = slot === undefined ? undefined : plane.serviceCounters(slot);
    return { name: spec.name, moved: mesh.traffic.of(id), slot, counts };
  });
}

/** All metrics of a scrape are collected in one turn of the event loop; with 10,000 services, reading them takes its time. */
function oncePerTurn<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    if (made === undefined) {
      made = { value: make() };
      setImmediate(() => {
        made = undefined;
      });
    }
    return made.value;
  };
}

/** Of services that had a connection. A service's slot never changes, so none moves in or out of the others. */
function histograms(readings: readonly Reading[], what: 'connectTimes' | 'durations'): readonly HistogramSample[] {
  const own: HistogramSample[] = [];
  const others: Durations[] = [];
  for (const { name, slot, counts } of readings) {
    if (slot === undefined || counts === undefined || counts[what].count === 0) continue;
    if (slot < MOST_HISTOGRAMS) own.push(sample(name, [counts[what]]));
    else others.push(counts[what]);
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
