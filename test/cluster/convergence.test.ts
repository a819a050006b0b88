// How long changes take, told from counts in buckets.
import fc from 'fast-check';
import t from 'tap';
import { Convergence, WINDOW_MS } from '../../src/cluster/convergence.ts';

t.test('nothing yet', (t) => {
  const convergence = new Convergence();
  t.same(convergence.quantiles(0), { p50Ms: 0, p99Ms: 0, changes: 0 });
  t.equal(convergence.totals().count, 0);
  t.end();
});

t.test('a hundred changes, one of them slow', (t) => {
  const convergence = new Convergence();
  for (let change = 0; change < 98; change++) convergence.record(1000, 16);
  convergence.record(1000, 1024);
  convergence.record(1000, 1024);
  t.same(convergence.quantiles(2000), { p50Ms: 16, p99Ms: 1024, changes: 100 });
  t.end();
});

t.test('what is old is forgotten, slice by slice', (t) => {
  const convergence = new Convergence();
  convergence.record(0, 1000);
  convergence.record(WINDOW_MS / 2, 2);
  t.equal(convergence.quantiles(WINDOW_MS / 2).changes, 2);
  t.same(convergence.quantiles(WINDOW_MS + 1), { p50Ms: 2, p99Ms: 2, changes: 1 });
  t.equal(convergence.quantiles(2 * WINDOW_MS).changes, 0);
  convergence.record(10 * WINDOW_MS, 4);
  t.same(convergence.quantiles(10 * WINDOW_MS), { p50Ms: 4, p99Ms: 4, changes: 1 }, 'and its place is used again');
  t.same([convergence.totals().count, convergence.totals().sumMs], [3, 1006], 'but for the totals');
  t.end();
});

t.test('clocks that disagree, and what cannot be', (t) => {
  const convergence = new Convergence();
  convergence.record(0, -50);
  convergence.record(0, Number.NaN);
  convergence.record(0, Number.POSITIVE_INFINITY);
  const { p50Ms, p99Ms, changes } = convergence.quantiles(0);
  t.same([p50Ms, p99Ms, changes], [1, 2 ** 20, 2]);
  t.end();
});

t.test('a histogram as Prometheus wants it', (t) => {
  const convergence = new Convergence();
  for (const tookMs of [0.5, 1, 1.5, 2, 3, 4, 5000]) convergence.record(0, tookMs);
  const { buckets, count, sumMs } = convergence.totals();
  const text = buckets.slice(0, 5).map(({ upToMs, count }) => `${upToMs}:${count}`);
  t.same(text, ['1:2', '2:4', '4:6', '8:6', '16:6']);
  t.same([count, sumMs, buckets.at(-1)], [7, 5012, { upToMs: 2 ** 20, count: 7 }]);
  t.end();
});

t.test('never below what was measured, and at most a fifth above', (t) => {
  const took = fc.double({ min: 1, max: 2 ** 20, noNaN: true });
  fc.assert(
    fc.property(fc.array(took, { minLength: 1, maxLength: 300 }), (all) => {
      const convergence = new Convergence();
      for (const one of all) convergence.record(5, one);
      const sorted = [...all].sort((x, y) => x - y);
      const { p50Ms, p99Ms } = convergence.quantiles(5);
      const exact = (share: number) => sorted[Math.max(0, Math.ceil(share * all.length) - 1)] ?? 0;
      const fits = (told: number, real: number) => told >= real && told <= real * 1.2;
      return fits(p50Ms, exact(0.5)) && fits(p99Ms, exact(0.99));
    }),
    { seed: 4 },
  );
  t.pass();
  t.end();
});
