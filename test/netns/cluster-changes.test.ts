// M13 and S9: changes made anywhere are in effect everywhere, each node tells how soon; whatever comes to the probes' port is passed over.
import { mayHaveLab, startLab } from './support/lab.ts';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { encodeMessage, newNonce } from '../../src/cluster/probe-message.ts';
import { systemRandom } from '../../src/runtime/random.ts';
import { datagrams } from './support/clients.ts';
import { does, namesOf, statesOf, statusOf, untilState } from './support/lab-mesh.ts';
import { until } from './support/tasks.ts';

const NODES = 5;
const CHANGES = 25;
const PROBE_PORT = 7946;
const JUNK = 2000;

t.test('M13: changes are in effect everywhere', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab({ nodes: NODES });
  const one = mesh.node(1);
  await does(one, 'network', 'create', '--driver', 'local', 'back');
  await does(one, 'service', 'create', '--name', 'web', '--network', 'back', '--no-healthcheck', '--expose', '80');
  const counts = () =>
    Promise.all(
      mesh.nodes.map(async (node) =>
        Number(/^vipmesh_change_in_effect_seconds_count (\S+)$/m.exec(await node.metrics())?.[1]),
      ),
    );
  const before = await counts();
  const added = Array.from({ length: CHANGES }, (_, index) => `192.0.2.${index + 1}`);
  await Promise.all(
    mesh.nodes.map((node, turn) => {
      const own = added.filter((_, index) => index % NODES === turn);
      return does(node, 'endpoint', 'add', 'web', ...own);
    }),
  );
  for (const node of mesh.nodes) {
    const found = await until(
      `${node.name} knows all endpoints`,
      () => namesOf(node, 'tasks.web'),
      (names) => names.length === CHANGES,
    );
    t.same(found, [...added].sort(), node.name);
  }
  const { Cluster } = await until(
    'everybody has confirmed everything',
    () => statusOf(one),
    (status) => status.Cluster?.Nodes.every(({ Behind }) => Behind === 0) === true,
  );
  for (const { Name, P50 = 0, P99 = 0 } of Cluster?.Nodes ?? [])
    t.ok(P50 > 0 && P50 <= P99 && P99 < 60_000, `${Name}: 50 of 100 within ${P50} ms, 99 within ${P99} ms`);
  for (const [index, count] of (await counts()).entries())
    t.ok(count >= (before[index] ?? 0) + CHANGES, `node${index + 1} has counted them`);

  await t.test('what an agent finds when it starts, or what is put on record again, is no change', async (t) => {
    const five = mesh.node(5);
    await five.killAgent();
    await five.restartAgent();
    const [count = 0] = (await counts()).slice(4);
    t.ok(count < CHANGES, `${count} changes`);
  });

  await t.test('S9: random bytes, huge lengths and wrong keys at the probe port', async (t) => {
    const two = mesh.node(2);
    const dropped = async () =>
      [...(await two.metrics()).matchAll(/^vipmesh_probe_datagrams_dropped_total\{reason="([^"]+)"\} (\d+)$/gm)].map(
        ([, reason, count]) => [reason, Number(count)] as const,
      );
    const all = async () => (await dropped()).reduce((sum, [, count]) => sum + count, 0);
    const start = await all();
    const client = await datagrams(one.netns, two.address, PROBE_PORT);
    let sent = 0;
    const send = async (bytes: Buffer) => {
      sent++;
      const [answer] = await client.ask(bytes, 1, 0);
      if (answer !== undefined) t.fail(`it answers ${bytes.toString('hex')}`);
    };
    const genuine = { kind: 'request', from: two.id, nonce: newNonce(systemRandom) } as const;
    for (let i = 0; i < JUNK; i++) {
      const message = encodeMessage({ ...genuine, nonce: newNonce(systemRandom) }, randomBytes(32));
      const kinds = [randomBytes(i % 1400), message, message.subarray(0, i % 116), Buffer.concat([message, message])];
      await send(kinds[i % kinds.length] ?? message);
    }
    await send(Buffer.alloc(0));
    await send(randomBytes(60_000));
    // A socket's queue is finite: what does not fit is dropped by the kernel.
    const counted = await until('most are counted', all, (count) => count - start >= sent / 2);
    t.ok(counted - start <= sent, `${counted - start} of ${sent} counted: ${(await dropped()).join(' ')}`);
    client.close();
    t.equal(await two.readiness(), 'ready');
    for (const node of mesh.nodes) await untilState(node, two, 'ready');
    t.notMatch(await statesOf(two), /down|unknown/);
  });
  await mesh.down();
});
