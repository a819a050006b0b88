// Metrics in Prometheus' text format. Rooms keep plain counters; they are read when somebody scrapes, so nothing on a hot
// path knows of this file. The only importer of prom-client.
import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';

type MetricType = 'counter' | 'gauge';

/** One line of a metric: the value of one combination of labels. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One histogram: the counts of one combination of labels. */
export interface HistogramSample {
  /** Absent: none. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly buckets: readonly { readonly upTo: number; readonly count: number }[];
  readonly count: number;
  readonly sum: number;
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
    collect: () => Iterable<Sample> | Promise<Iterable<Sample>>,
  ): void;
  /** Histograms, read at each scrape; `upTo` in the metric's unit, each bucket counting all up to it. */
  registerHistogram(name: string, help: string, collect: () => Iterable<HistogramSample>): void;
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
    registerHistogram(name, help, collect) {
      registry.registerMetric(histogram(name, help, collect));
    },
    registerCollector(name, help, type, labelNames, collect) {
      const settings = { name, help, labelNames: [...labelNames], registers: [registry] };
      if (type === 'counter') {
        const counter = new Counter({
          ...settings,
          async collect() {
            const samples = await collect();
            // From here on at once: somebody else may be scraping, too.
            counter.reset();
            for (const { labels, value } of samples) counter.inc({ ...labels }, value);
          },
        });
      } else {
        const gauge = new Gauge({
          ...settings,
          async collect() {
            const samples = await collect();
            // From here on at once: somebody else may be scraping, too.
            gauge.reset();
            for (const { labels, value } of samples) gauge.set({ ...labels }, value);
          },
        });
      }
    },
  };
}

/** prom-client's own histograms count themselves; this one has been counted elsewhere. */
function histogram(name: string, help: string, collect: () => Iterable<HistogramSample>): Metric {
  const get = async () => {
    const values = [...collect()].flatMap(({ labels, buckets, count, sum }) => {
      const row = (metricName: string, value: number, more: Record<string, string | number> = {}) => ({
        metricName,
        labels: { ...more, ...labels },
        value,
      });
      return [
        ...buckets.map((bucket) => row(`${name}_bucket`, bucket.count, { le: bucket.upTo })),
        row(`${name}_bucket`, count, { le: '+Inf' }),
        row(`${name}_sum`, sum),
        row(`${name}_count`, count),
      ];
    });
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  };
  return { name, get, reset: () => {} } as unknown as Metric;
}
