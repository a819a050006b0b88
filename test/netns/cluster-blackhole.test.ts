// M2: the way to a task on another node loses everything, while the task is well and its node answers probes. Only connections can
// tell, so the agent learns it from them.
import { mayHaveLab, type Node, startLab } from './support/lab.ts';
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { findProgram } from '../support/requirements.ts';
import { httpGet } from './support/clients.ts';
import { does, endpointsOf, tasksOf } from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, type Task, until } from './support/tasks.ts';

const PORT = 8081;
const WORKERS = 2;

t.test('M2: the path to an endpoint is black-holed', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab({ nodes: 2 });
  const [one, two] = [mesh.node(1), mesh.node(2)];
  await does(one, 'service', 'create', '--name', 'own', '-p', `${PORT}:8000`);
  const near = [await startServer(one.runner, 'own'), await startServer(one.runner, 'own')];
  const far = await startServer(two.runner, 'own');
  const names = [...near, far].map(({ name }) => name).sort();
  const meets = (wanted: readonly string[]) =>
    until(
      `${wanted} are met`,
      async () => {
        const answers = await Promise.all(Array.from({ length: 9 }, () => httpGet(one.netns, one.address, PORT)));
        return [...new Set(answers.map((text) => text.split(' ')[0] ?? ''))].sort().join();
      },
      (met) => met === wanted.join(),
    );
  await meets(names);
  const load = startNodeLoad(one, { perSecond: 100, targets: [`${one.address}:${PORT}`] });
  await load.begun(50);

  dropTunnel(true);
  await until(
    'each worker has found out',
    () => countOf(one, 'ejected', far),
    (count) => count === WORKERS,
  );
  // Who had a connection when the path was cut has it still: only their answers wait.
  await until(
    'nobody waits to be connected to it any more',
    () => does(one, 'conn', 'ls', '--format', '{{.State}} {{.Task}}', 'own'),
    (open) => !open.split('\n').includes(`connecting ${far.name}`),
  );
  const failed = await countOf(one, 'connect_failures_total', far);
  await load.begun(300);
  t.equal(await countOf(one, 'connect_failures_total', far), failed, 'no client is sent there any more');
  t.equal((await tasksOf(one, 'own')).length, names.length, 'nobody else was told: its own node finds it well');
  const shown = (await endpointsOf(one)).find(({ Task }) => Task === far.name);
  t.match(shown, { Eligible: false, Reason: /ejected/ });

  dropTunnel(false);
  await until(
    'it is back',
    () => countOf(one, 'ejected', far),
    (count) => count === 0,
  );
  await meets(names);
  const attempts = await load.stop();
  t.same(failures(attempts, names), [], `0 of ${attempts.length} fail`);
  await mesh.down();
});

/** Whatever the other nodes send to this one through the tunnel is lost. */
function dropTunnel(drop: boolean): void {
  const table = 'inet vipmesh_test_tunnel';
  const chain = 'chain input { type filter hook input priority 0; udp dport 4789 drop; }';
  const rules = drop ? `table ${table} {\n${chain}\n}` : `delete table ${table}`;
  const { status, stderr } = spawnSync(findProgram('nft') ?? 'nft', ['-f', '-'], { input: `${rules}\n` });
  if (status !== 0) throw new Error(String(stderr));
}

async function countOf(node: Node, what: string, { name }: Task): Promise<number> {
  const lines = (await node.metrics()).split('\n').filter((line) => line.startsWith(`vipmesh_endpoint_${what}{`));
  return Number(
    lines
      .find((line) => line.includes(`task="${name}"`))
      ?.split(' ')
      .at(-1),
  );
}
