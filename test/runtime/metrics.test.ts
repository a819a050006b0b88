import t from 'tap';
import { createMetrics, type Sample } from '../../src/runtime/metrics.ts';

t.test('samples are read at each scrape, and what is gone is gone', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  let samples: Sample[] = [
    { labels: { service: 'web' }, value: 5 },
    { labels: { service: 'db' }, value: 1 },
  ];
  metrics.registerCollector('vipmesh_connections_total', 'Connections.', 'counter', ['service'], () => samples);
  metrics.registerCollector('vipmesh_open', 'Open.', 'gauge', ['service'], () => samples);
  t.match(
    await metrics.render(),
    /vipmesh_connections_total\{service="web"\} 5\nvipmesh_connections_total\{service="db"\} 1/,
  );
  samples = [{ labels: { service: 'web' }, value: 7 }];
  const page = await metrics.render();
  t.match(page, /# TYPE vipmesh_open gauge\nvipmesh_open\{service="web"\} 7/);
  t.match(page, /vipmesh_connections_total\{service="web"\} 7/);
  t.notMatch(page, /db/);
  t.match(metrics.contentType, /^text\/plain/);
});

t.test('samples that have to be asked for, by several at once', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  const waiting: (() => void)[] = [];
  metrics.registerCollector('vipmesh_dropped_total', 'Dropped.', 'counter', [], async () => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return [{ labels: {}, value: 3 }];
  });
  const pages = Promise.all([metrics.render(), metrics.render()]);
  await Promise.resolve();
  t.equal(waiting.length, 2, 'both ask');
  for (const answer of waiting) answer();
  for (const page of await pages) t.match(page, /^vipmesh_dropped_total 3$/m);
});

t.test('a name is taken once', async (t) => {
  const metrics = createMetrics({ processMetrics: true });
  metrics.registerCollector('vipmesh_a', 'A.', 'gauge', [], () => []);
  t.throws(() => metrics.registerCollector('vipmesh_a', 'A.', 'gauge', [], () => []));
  t.match(await metrics.render(), /process_resident_memory_bytes \d+/);
});

t.test('histograms that were counted elsewhere, one for each service', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  const buckets = [
    { upTo: 0.1, count: 2 },
    { upTo: 1, count: 3 },
  ];
  metrics.registerHistogram('vipmesh_took_seconds', 'Took.', () => [
    { labels: { service: 'web' }, buckets, count: 4, sum: 9.5 },
    { buckets: [], count: 0, sum: 0 },
  ]);
  t.match(
    await metrics.render(),
    `# TYPE vipmesh_took_seconds histogram
vipmesh_took_seconds_bucket{le="0.1",service="web"} 2
vipmesh_took_seconds_bucket{le="1",service="web"} 3
vipmesh_took_seconds_bucket{le="+Inf",service="web"} 4
vipmesh_took_seconds_sum{service="web"} 9.5
vipmesh_took_seconds_count{service="web"} 4
vipmesh_took_seconds_bucket{le="+Inf"} 0
`,
  );
});
