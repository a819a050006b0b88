// Metrics in Prometheus' text format. Rooms keep plain counters; they are read when somebody scrapes, so nothing on a hot
// path knows of this file. The only importer of prom-client.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

type MetricType = 'counter' | 'gauge';

/** One line of a metric: the value of one combination of labels. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metrics {
  /**
   * Adds a metric whose samples `collect` reads at each scrape. What it no longer yields is no longer shown. A counter's
   * name ends in `_total`, names begin with `vipmesh_`, times are in seconds (prometheus.io/docs/practices/naming).
   * Throws when the name is taken.
   */
  registerCollector(
    name: string,
    help: string,
    type: MetricType,
    labelNames: readonly string[],
    collect: () => Iterable<Sample>,
  ): void;
  /** The whole page. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** `processMetrics`: also this process's CPU, memory, descriptors and event loop lag. */
export function createMetrics(options: { readonly processMetrics: boolean }): Metrics {
  const registry = new Registry();
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    registerCollector(name, help, type, labelNames, collect) {
      const settings = { name, help, labelNames: [...labelNames], registers: [registry] };
      if (type === 'counter') {
        const counter = new Counter({
          ...settings,
          collect() {
            counter.reset();
            for (const { labels, value } of collect()) counter.inc({ ...labels }, value);
          },
        });
      } else {
        const gauge = new Gauge({
          ...settings,
          collect() {
            gauge.reset();
            for (const { labels, value } of collect()) gauge.set({ ...labels }, value);
          },
        });
      }
    },
  };
}
