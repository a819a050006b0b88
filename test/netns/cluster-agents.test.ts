// M12 and M3: agents that are killed while what runs on their nodes goes on, and started again, at once or after their lease.
import { mayHaveLab, startLab } from './support/lab.ts';
import t from 'tap';
import { readFileSync } from 'node:fs';
import { httpGet } from './support/clients.ts';
import { kernelState } from './support/node.ts';
import { does, HTTP_PORT, namesOf, publishWeb, tasksOf, untilEligible, untilState, WEB } from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, until } from './support/tasks.ts';

const OWN_PORT = 8081;
const LISTENING = '0A';

/** Addresses and ports that somebody on the first node listens on, in hexadecimal, and in how many sockets. */
function listeners(): readonly string[] {
  const rows = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/self/net/${table}`, 'utf8').split('\n').slice(1));
  return rows
    .flatMap((row) => {
      const [, local = '', , state] = row.trim().split(/\s+/);
      return state === LISTENING ? [local] : [];
    })
    .sort();
}

t.test('agents that are killed', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  await does(one, 'service', 'create', '--name', 'own', '-p', `${OWN_PORT}:8000`);
  const [here, there] = [await startServer(one.runner, 'own'), await startServer(three.runner, 'own')];
  const known = await until(
    'all nodes know both tasks',
    async () => (await Promise.all(mesh.nodes.map((node) => tasksOf(node, 'own')))).map((list) => list.join()),
    (lists) => new Set(lists).size === 1 && [here, there].every(({ name }) => lists[0]?.includes(name)),
  );

  await t.test('M12: killed and started again', async (t) => {
    const before = { kernel: kernelState(), listeners: listeners() };
    await one.killAgent();
    t.equal(await httpGet(one.netns, '127.0.0.1', OWN_PORT), 'ECONNREFUSED');
    await one.restartAgent();
    await untilEligible(mesh.nodes, WEB, [two, three]);
    t.match(await httpGet(one.netns, '127.0.0.1', OWN_PORT), `${here.name} met`, 'its task is served');
    t.equal((await tasksOf(two, 'own')).join(), known[0], 'with the same ids and addresses');
    t.same(
      await until(
        'nothing of the former agent is left',
        () => ({ kernel: kernelState(), listeners: listeners() }),
        (after) => JSON.stringify(after) === JSON.stringify(before),
      ),
      before,
      'no stale listener, namespace or link',
    );
    t.equal(here.run.exitCode, null, 'vipmesh run goes on');
  });

  await t.test('M3: killed, and nobody starts it', async (t) => {
    await three.killAgent();
    for (const node of [one, two]) await untilState(node, three, 'unknown');
    t.same(await namesOf(one, `tasks.${WEB}`), [two.address], 'its endpoints are in no answer');
    await two.killAgent();
    await untilState(one, two, 'unknown');
    const load = startNodeLoad(one, { perSecond: 50, targets: [`127.0.0.1:${HTTP_PORT}`], names: [`tasks.${WEB}`] });
    await load.begun(50);
    const attempts = await load.stop();
    t.same(failures(attempts, ['node2', 'node3']), [], 'where all are suspected, they are used all the same');
    t.same([...new Set(attempts.map(({ outcome }) => outcome))].filter((name) => /node/.test(name)).sort(), [
      'node2',
      'node3',
    ]);
    await two.restartAgent();
    await untilState(one, two, 'ready');
  });

  await t.test('away for longer than its lease', async (t) => {
    await untilState(one, three, 'down');
    await until(
      'its task is out of the store',
      () => tasksOf(one, 'own'),
      (list) => list.length === 1,
    );
    await three.restartAgent();
    for (const node of mesh.nodes) {
      const list = await until(
        'its task is back',
        () => tasksOf(node, 'own'),
        (list) => list.length === 2,
      );
      t.equal(list.join(), known[0], 'with the same id and address');
    }
    await untilEligible(mesh.nodes, WEB, [two, three]);
    t.match(await httpGet(three.netns, '127.0.0.1', OWN_PORT), ' met ', 'and is served');
    t.equal(there.run.exitCode, null, 'vipmesh run goes on');
    there.run.kill('SIGHUP');
    t.equal(await there.says(/^SIGHUP$/), 'SIGHUP', 'and hears');
    there.run.kill('SIGTERM');
    t.equal(await there.ended, 0);
    await until(
      'it is gone',
      () => tasksOf(one, 'own'),
      (list) => list.length === 1,
    );
  });
  await mesh.down();
});
