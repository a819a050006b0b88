// What workers tell of their connections when one of them dies: its successor goes on telling, and who asks is not left waiting.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { ConnectionQueue, QUEUE_BYTES } from '../../src/balancer/connection-record.ts';
import type { Command } from '../../src/datapath/command.ts';
import { CONNECT_BOUNDS_MS, DURATION_BOUNDS_MS, SERVICE } from '../../src/runtime/worker-env.ts';
import { ask, dial, endpoint, TcpRig } from '../support/tcp-rig.ts';

const POISON = { kind: 'backend-set', backend: { id: 77, roundRobinSlot: 77, endpoints: null } } as unknown as Command;
const echo = (socket: Socket): void => void socket.pipe(socket);
const ALL = { from: 0, rows: 10 };

t.test('the successor of a worker that died logs, too, into the same queue', async (t) => {
  const rig = await TcpRig.start(1);
  const queue = new SharedArrayBuffer(QUEUE_BYTES);
  const reader = new ConnectionQueue(queue);
  const front = await rig.publish(endpoint(0, await rig.serve((socket) => void socket.end('hello'))));
  rig.plane.postTo(0, { kind: 'connection-log', share: 1, queue });
  t.equal(await ask(front.port), 'hello');
  await rig.until(() => rig.plane.frontendCounters(front.id).active === 0);
  t.match(reader.read(), { frontend: { port: front.port }, slot: 0, bytesToClient: 5, end: 'FIN by endpoint' });
  const replaced = rig.replaced();
  rig.plane.postTo(0, POISON);
  await replaced;
  t.equal(await ask(front.port), 'hello');
  await rig.until(() => rig.plane.frontendCounters(front.id).active === 0);
  t.match(reader.read(), { frontend: { port: front.port }, bytesToClient: 5 });
  t.equal(reader.read(), undefined);
  await rig.stop();
});

t.test('a worker that dies has no page, and what it had open is open no more', async (t) => {
  const rig = await TcpRig.start(2);
  const front = await rig.publish(endpoint(0, await rig.serve(echo)));
  const clients = await Promise.all(Array.from({ length: 20 }, () => dial(front.port)));
  for (const client of clients) client.on('error', () => {});
  await rig.until(() => rig.plane.serviceCounters(0).open === 20);
  const wanted = new Map([
    [0, ALL],
    [1, ALL],
  ]);
  const pages = await rig.plane.connectionPages('tcp', wanted);
  const rows = [...pages.values()].flatMap((page) => page.rows);
  t.same([...pages.keys()].sort(), [0, 1]);
  t.ok(rows.every(({ state, service, slot }) => state === 'open' && service === 0 && slot === 0));
  const replaced = rig.replaced();
  rig.plane.postTo(0, POISON);
  const during = await rig.plane.connectionPages('tcp', wanted);
  t.ok(during.has(1), 'the other one answers');
  await replaced;
  await rig.until(() => rig.plane.serviceCounters(0).open === rig.plane.endpointCounters(0).active);
  const { open, connectTimes } = rig.plane.serviceCounters(0);
  t.ok(open < 20, `${open} are left`);
  t.equal(connectTimes.count, 20, 'what was counted stays');
  for (const client of clients) {
    client.end();
    if (!client.closed) await once(client, 'close');
  }
  await rig.stop();
});

t.test('the histograms fit into what a service has', (t) => {
  // The sum, a count for each bound, and one for what is beyond.
  const words = (bounds: readonly number[]) => bounds.length + 2;
  const taken = [
    [SERVICE.connectTimes, words(CONNECT_BOUNDS_MS)],
    [SERVICE.durations, words(DURATION_BOUNDS_MS)],
  ] as const;
  const others = Object.values(SERVICE).filter((at) => at !== SERVICE.connectTimes && at !== SERVICE.durations);
  for (const [from, length] of taken) {
    t.ok(from + length <= SERVICE.stride);
    t.same(
      [...others, ...taken.map(([at]) => at)].filter((at) => at > from && at < from + length),
      [],
    );
  }
  t.end();
});
