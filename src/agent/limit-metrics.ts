// What came of the limits of services, as Prometheus reads it.
import type { ServiceCounts } from '../datapath/counters.ts';
import type { Metrics, Sample } from '../runtime/metrics.ts';
import type { MetricSources } from './metrics.ts';

type Count = { [Key in keyof ServiceCounts]: ServiceCounts[Key] extends number ? Key : never }[keyof ServiceCounts];

/** By the flags that set the limits. */
const REFUSED = { 'max-connections': 'refusedFull', 'max-connections-per-client': 'refusedClient' } as const;
const ENDED = {
  'idle-timeout': 'endedIdle',
  'half-closed-timeout': 'endedHalfClosed',
  'max-duration': 'endedOld',
} as const;

export function registerLimitMetrics(metrics: Metrics, { context, plane, mesh }: MetricSources): void {
  const each = function* (limits: Readonly<Record<string, Count>>): Generator<Sample> {
    for (const service of context.snapshot().services.values()) {
      const slot = service.spec.limits && mesh.publisher.slotOfService(service.id);
      if (slot === undefined) continue;
      const counts = plane.serviceCounters(slot);
      for (const [limit, count] of Object.entries(limits))
        yield { labels: { service: service.spec.name, limit }, value: counts[count] };
    }
  };
  metrics.registerCollector(
    'vipmesh_service_limit_refusals_total',
    'Connections reset because the service, or their client, had as many as it may have',
    'counter',
    ['service', 'limit'],
    () => each(REFUSED),
  );
  metrics.registerCollector(
    'vipmesh_service_limit_ends_total',
    'Connections reset because they were idle, half-closed or open for too long',
    'counter',
    ['service', 'limit'],
    () => each(ENDED),
  );
}
