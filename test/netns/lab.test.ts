// `vipmesh lab`: a cluster on one machine, from up to down.
import { adoptLab, type Lab, mayHaveLab } from './support/lab.ts';
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { run } from '../support/agent.ts';
import { httpGet } from './support/clients.ts';
import { lab, living, pidsOf, status, up, watchTraces } from './support/lab-command.ts';
import { until } from './support/tasks.ts';

/** A published service with a server on each of these nodes. */
async function publish(mesh: Lab, numbers: readonly number[]): Promise<void> {
  const create = await mesh.node(1).cli('service', 'create', '--name', 'web', '--publish', '8080:8000');
  if (create.code !== 0) throw new Error(create.stderr);
  for (const number of numbers) {
    const node = mesh.node(number);
    await node.serve();
    const added = await node.cli('endpoint', 'add', 'web', node.address);
    if (added.code !== 0) throw new Error(added.stderr);
  }
}

/** Which nodes answer at a published port, asked from there. */
async function whoAnswers(mesh: Lab, from: number): Promise<readonly string[]> {
  const answers = await Promise.all(Array.from({ length: 6 }, () => httpGet(mesh.node(from).netns, '127.0.0.1', 8080)));
  return [...new Set(answers.map((text) => text.split(' ')[0] ?? ''))].sort();
}

t.test('a lab is there, good for something, and gone', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const isGone = watchTraces();
  execFileSync('ip', ['route', 'add', 'blackhole', '198.18.0.128/25']);
  const first = await up();
  const mesh = adoptLab();
  t.same(
    first.Nodes.map(({ Name, Address, State, Namespace }) => [Name, Address, State, Namespace].join(' ')),
    ['node1 198.18.1.1 ready ', 'node2 198.18.1.2 ready vmlab-lab-node2', 'node3 198.18.1.3 ready vmlab-lab-node3'],
    'not where something leads already',
  );
  t.same(await Promise.all(mesh.nodes.map((node) => node.readiness())), ['ready', 'ready', 'ready']);
  t.match(await run(['node', 'ls', '--format', '{{.Hostname}} {{.Status}}']), {
    stdout: 'node1 Ready\nnode2 Ready\nnode3 Ready\n',
  });
  await publish(mesh, [2, 3]);
  for (const number of [1, 2, 3])
    await until(
      'both answer',
      () => whoAnswers(mesh, number),
      (names) => names.join() === 'node2,node3',
    );
  t.match(await lab('exec', 'node2', '--', 'ip', '-brief', 'address', 'show', 'eth0'), {
    code: 0,
    stdout: /198\.18\.1\.2\/24/,
  });
  t.match(await lab('exec', 'node2', '--', 'vipmesh', 'status', '--format', '{{.Node.Name}}'), { stdout: 'node2\n' });
  t.equal((await lab('exec', 'node3', 'sh', '-c', 'exit 7')).code, 7, "the command's own exit code");
  t.match(await lab('exec', 'node9', '--', 'true'), { code: 1, stderr: /no node "node9"; it has node1, node2, node3/ });
  t.match(await lab('ls'), { stdout: /^lab +3 +3 +198\.18\.1\.0\/24 +198\.18\.1\.1:2379, ready$/m });
  t.same(await up(), first, 'up again: everything is there');
  t.match(await lab('up', '--nodes', '2'), { code: 1, stderr: /is there with 3 nodes.*lab down --name lab/ });
  t.match(await lab('up', '--name', 'other'), { code: 1, stderr: /there is a lab already, "lab"/ });
  const grown = await up('--nodes', '4');
  t.same(grown.Nodes.slice(0, 3), first.Nodes, 'who was there goes on');
  t.match(grown.Nodes[3], { Name: 'node4', State: 'ready', Address: '198.18.1.4' });

  await mesh.node(2).killAgent();
  await mesh.etcd.kill();
  t.match(await status(), { Etcd: { State: 'ended' }, Nodes: [{}, { State: 'ended', PID: null }, {}, {}] });
  const mended = await up();
  t.same(
    [mended.Etcd.State, ...mended.Nodes.map(({ State }) => State)],
    Array(5).fill('ready'),
    'up again: what is missing',
  );
  t.equal(pidsOf(mended).filter((pid) => pidsOf(grown).includes(pid)).length, 3);

  t.same(await lab('down'), { code: 0, stdout: '', stderr: '' });
  t.same(living(mended), []);
  execFileSync('ip', ['route', 'delete', 'blackhole', '198.18.0.128/25']);
  isGone(t, 'down leaves nothing');
  t.match(await lab('down'), { code: 0, stdout: 'There is no lab "lab".\n' });
  t.match(await lab('status'), { code: 1, stderr: /there is no lab "lab"; start it with: vipmesh lab up/ });
});
