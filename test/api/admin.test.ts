// Health, readiness and metrics over HTTP.
import t from 'tap';
import { type AdminServer, startAdminServer } from '../../src/api/admin.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';

const metrics = createMetrics({ processMetrics: false });
metrics.registerCollector('vipmesh_tests_total', 'Tests.', 'counter', ['kind'], () => [
  { labels: { kind: 'a' }, value: 3 },
]);

async function start(
  t: { teardown(run: () => unknown): void },
  notReady: () => string | undefined,
): Promise<AdminServer> {
  const server = await startAdminServer({ address: '127.0.0.1', port: 0, metrics, notReady });
  t.teardown(() => server.close());
  return server;
}

t.test('what each path answers, ready and not', async (t) => {
  let why: string | undefined;
  const { port } = await start(t, () => why);
  const get = async (path: string, method = 'GET') => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return `${answer.status} ${(await answer.text()).trim()}`;
  };
  t.equal(await get('/healthz'), '200 ok');
  t.equal(await get('/readyz'), '200 ready');
  why = 'draining';
  t.equal(await get('/readyz'), '503 draining');
  t.equal(await get('/healthz'), '200 ok', 'alive while it drains');
  t.match(await get('/metrics?x=1'), /vipmesh_tests_total\{kind="a"\} 3/);
  t.match(await get('/'), /^404 there are \/healthz/);
  t.equal(await get('/healthz', 'POST'), '405 only GET and HEAD');
});

t.test('a metric that cannot be read is an answer, not a crash', async (t) => {
  const broken = createMetrics({ processMetrics: false });
  broken.registerCollector('vipmesh_broken', 'Broken.', 'gauge', [], () => {
    throw new Error('no');
  });
  const server = await startAdminServer({ address: '127.0.0.1', port: 0, metrics: broken, notReady: () => undefined });
  t.teardown(() => server.close());
  const answer = await fetch(`http://127.0.0.1:${server.port}/metrics`);
  t.equal(answer.status, 500);
});

t.test('an address that cannot be had', async (t) => {
  const { port } = await start(t, () => undefined);
  const again = (address: string) => startAdminServer({ address, port, metrics, notReady: () => undefined });
  await t.rejects(again('127.0.0.1'), {
    code: 'SOCKET_IN_USE',
    message: `127.0.0.1:${port} (health and metrics) is taken by another program; choose another with --admin`,
  });
  await t.rejects(again('192.0.2.1'), {
    code: 'SOCKET_UNUSABLE',
    message: /192\.0\.2\.1:\d+ .* is no address of this node/,
  });
});
