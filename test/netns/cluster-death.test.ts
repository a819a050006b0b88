// M3: a whole node is killed: out of balancing everywhere, then out of the store, and back.
import { mayHaveLab, startLab } from './support/lab.ts';
import t from 'tap';
import { does, HTTP_PORT, publishWeb, tasksOf, untilEligible, untilState, WEB } from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, until } from './support/tasks.ts';

t.test('M3: a node that dies', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  await does(one, 'service', 'create', '--name', 'own', '--expose', '8000');
  const task = await startServer(three.runner, 'own');
  const own = [`${task.name} ${task.address}`];
  const ownAt = async () => (await tasksOf(one, 'own')).map((text) => text.replace(/ \S+ /, ' '));
  await until('the task is known', ownAt, (found) => found.join() === own.join());
  const loads = [one, two].map((node) =>
    startNodeLoad(node, { perSecond: 20, targets: [`${node.address}:${HTTP_PORT}`], names: [`tasks.${WEB}`] }),
  );
  const stopLoads = async () => (await Promise.all(loads.map((load) => load.stop()))).flat();
  await Promise.all(loads.map((load) => load.begun(20)));

  await t.test('the whole node', async (t) => {
    const cutAt = Date.now();
    await three.kill();
    const gone = Date.now();
    for (const node of [one, two]) await untilState(node, three, 'unknown');
    await untilEligible([one, two], WEB, [two]);
    const suspected = Date.now();
    for (const node of [one, two]) await untilState(node, three, 'down');
    await until('its task is out of the store', ownAt, (found) => found.length === 0);
    await Promise.all(loads.map((load) => load.begun(20)));
    const attempts = await stopLoads();
    const failed = failures(attempts, ['node2', 'node3']);
    t.same(
      failed.filter(({ startedAt, endedAt }) => startedAt > gone || endedAt < cutAt),
      [],
      `0 of ${attempts.length} fail but those that were open to it`,
    );
    const late = attempts.filter(({ startedAt }) => startedAt > suspected);
    t.same(
      [...new Set(late.map(({ outcome }) => outcome))].sort(),
      [two.address, 'node2'].sort(),
      'nobody is led to it, neither while it is suspected nor when its lease has ended',
    );
  });

  await t.test('it comes back', async (t) => {
    await three.heal();
    await three.serve();
    await three.restartAgent();
    for (const node of [one, two]) await untilState(node, three, 'ready');
    await untilEligible(mesh.nodes, WEB, [two, three]);
    t.same(await ownAt(), [], 'what ran on it is not there any more');
  });
  await mesh.down();
});
