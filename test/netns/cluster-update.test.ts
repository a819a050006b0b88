// H9: ten tasks on three nodes are replaced one by one, the new one first, while connections come in on two nodes.
import { type Lab, mayHaveLab, type Node, startLab } from './support/lab.ts';
import t from 'tap';
import { does, endpointsOf, HTTP_PORT } from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, type Task, until } from './support/tasks.ts';

const TASKS = 10;
const PER_SECOND = 150;

async function startHealthy(mesh: Lab, number: number): Promise<Task> {
  const node = mesh.node((number % mesh.nodes.length) + 1);
  const task = await startServer(node.runner, 'web');
  await untilHealthy(node, task);
  return task;
}

/** As whoever updates a service finds out: from the agent that it talks to. */
async function untilHealthy(node: Node, task: Task): Promise<void> {
  await until(
    `${task.name} is healthy`,
    async () => (await endpointsOf(node)).find(({ Task }) => Task === task.name)?.Health,
    (health) => health === 'healthy',
  );
}

t.test('H9: a rolling update loses nothing', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two] = [mesh.node(1), mesh.node(2)];
  const words = [
    '-p',
    `${HTTP_PORT}:8000`,
    '--health-http',
    '/health',
    '--health-interval',
    '200ms',
    '--health-timeout',
    '20s',
  ];
  await does(one, 'service', 'create', '--name', 'web', ...words);
  const olds = await Promise.all(Array.from({ length: TASKS }, (_, number) => startHealthy(mesh, number)));
  const loads = [one, two].map((node) =>
    startNodeLoad(node, { perSecond: PER_SECOND, targets: [`${node.address}:${HTTP_PORT}`] }),
  );
  await Promise.all(loads.map((load) => load.begun(PER_SECOND)));
  const news: Task[] = [];
  for (const [number, old] of olds.entries()) {
    news.push(await startHealthy(mesh, number));
    old.run.kill('SIGTERM');
    t.equal(await old.ended, 0, `${old.name} has ended`);
  }
  const updated = Date.now();
  await Promise.all(loads.map((load) => load.begun(PER_SECOND)));
  const attempts = (await Promise.all(loads.map((load) => load.stop()))).flat();
  const names = [...olds, ...news].map(({ name }) => name);
  t.same(failures(attempts, names), [], `0 of ${attempts.length} fail`);
  const late = attempts.filter(({ startedAt }) => startedAt > updated).map(({ outcome }) => outcome);
  t.same([...new Set(late)].sort(), news.map(({ name }) => name).sort(), 'all new ones are met, and no old one');
  await mesh.down();
});
