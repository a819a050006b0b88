// M4: a node is cut off for longer than its lease, and healed. Nothing is published again by hand.
import { mayHaveLab, startLab } from './support/lab.ts';
import t from 'tap';
import { connectFrom, lines } from './support/clients.ts';
import {
  does,
  HTTP_PORT,
  namesOf,
  openTo,
  publishWeb,
  tasksOf,
  untilEligible,
  untilState,
  untilStore,
  WEB,
} from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, until } from './support/tasks.ts';

const OWN_PORT = 7071;
/** Of which the tests' lines are made. */
const names = (tasks: readonly { readonly name: string }[]) => tasks.map(({ name }) => name).sort();

t.test('M4: cut off, and back', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  await does(one, 'service', 'create', '--name', 'own', '-p', `${OWN_PORT}:7000`);
  const tasks = [await startServer(three.runner, 'own'), await startServer(three.runner, 'own')];
  const [first, second] = tasks;
  if (first === undefined || second === undefined) return;
  const known = await until(
    'all nodes know the tasks',
    async () => (await Promise.all(mesh.nodes.map((node) => tasksOf(node, 'own')))).map((list) => list.join()),
    (lists) => new Set(lists).size === 1 && lists[0]?.includes(second.name) === true && lists[0].includes(first.name),
  );
  // Inside the node that is cut off: through its published port, and from one container to the other.
  const inside = [
    lines(connectFrom(three.netns, '127.0.0.1', OWN_PORT)),
    lines(connectFrom(first.netns, second.address, 7000)),
  ];
  for (const connection of inside) t.ok(names(tasks).includes((await connection.line()) ?? ''), 'connected');
  const across = await openTo(one, two);
  const load = startNodeLoad(three, {
    perSecond: 20,
    targets: [`127.0.0.1:${HTTP_PORT}`],
    names: [`tasks.${WEB}`],
  });
  await load.begun(20);

  const cutAt = Date.now();
  await three.cut();
  const isCut = Date.now();
  await untilState(one, three, 'unknown');
  await untilState(three, two, 'unknown');
  await untilState(one, three, 'down');
  await until(
    'its tasks are out of the store',
    () => tasksOf(one, 'own'),
    (list) => list.length === 0,
  );
  await untilStore(three, false);
  t.same(await namesOf(three, `tasks.${WEB}`), [three.address], 'cut off, it serves what is on it');
  t.equal((await tasksOf(three, 'own')).join(), known[0], 'and knows its tasks');
  for (const [index, connection] of inside.entries())
    t.match(await connection.ask('cut off'), / cut off$/, `connection ${index} goes on`);
  // Longer than the lease: who is cut off could not tell what has become of it.
  await three.heal();
  for (const node of [one, two]) await untilState(node, three, 'ready');
  for (const node of [one, two]) {
    const list = await until(
      'its tasks are back',
      () => tasksOf(node, 'own'),
      (list) => list.length === tasks.length,
    );
    t.equal(list.join(), known[0], 'the same ids and addresses');
  }
  await untilEligible(mesh.nodes, WEB, [two, three]);
  for (const [index, connection] of inside.entries())
    t.match(await connection.ask('healed'), / healed$/, `connection ${index} goes on`);
  t.equal(await across.ask('still'), 'node2 still', 'a connection between the others, too');
  for (const { run, says, name } of tasks) {
    t.equal(run.exitCode, null, `${name}: vipmesh run goes on`);
    run.kill('SIGHUP');
    t.equal(await says(/^SIGHUP$/), 'SIGHUP', 'and hears');
  }
  await load.begun(20);
  const attempts = await load.stop();
  t.same(
    failures(attempts, ['node2', 'node3']).filter(({ startedAt, endedAt }) => startedAt > isCut || endedAt < cutAt),
    [],
    `0 of ${attempts.length} from the node itself fail but those that were open to others`,
  );
  first.run.kill('SIGTERM');
  t.equal(await first.ended, 0, 'a task that is told to end does');
  for (const node of mesh.nodes)
    await until(
      'it is gone everywhere',
      async () => (await tasksOf(node, 'own')).map((text) => text.split(' ')[0]),
      (list) => list.join() === second.name,
    );
  for (const { socket } of [...inside, across]) socket.destroy();
  await mesh.down();
});
