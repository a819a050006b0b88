// `vipmesh lab`: nodes on one machine, with what happens to them, and that nothing is left of them.
import { adoptLab, type Lab, mayHaveLab } from './support/lab.ts';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { LabView } from '../../src/cli/lab/view.ts';
import { systemProcesses } from '../../src/tasks/process-table.ts';
import { endWithProcess, type Outcome, PROGRAM, run, startAgent } from '../support/agent.ts';
import { httpGet } from './support/clients.ts';
import { kernelState } from './support/node.ts';
import { until } from './support/tasks.ts';

const LABS = '/run/vipmesh-lab';
const SOCKET = '/run/vipmesh/vipmesh.sock';

/** Everything that a lab could leave behind. Folders of other tests' labs are not in the folder that this one uses. */
function traces() {
  return {
    ...kernelState(),
    labs: existsSync(LABS),
    folders: readdirSync(tmpdir()),
    socket: existsSync(SOCKET),
  };
}

function lab(...words: string[]): Promise<Outcome> {
  return run(['lab', ...words]);
}

async function up(...words: string[]): Promise<LabView> {
  const { code, stdout, stderr } = await lab('up', '--json', ...words);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as LabView;
}

async function status(): Promise<LabView> {
  return JSON.parse((await lab('status', '--format', 'json')).stdout) as LabView;
}

function pidsOf({ Etcd, Nodes }: LabView): readonly (number | null)[] {
  return [Etcd.PID, ...Nodes.map(({ PID }) => PID)];
}

function living(view: LabView): readonly (number | null)[] {
  return pidsOf(view).filter((pid) => pid !== null && systemProcesses.find(pid) !== undefined);
}

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

t.test('labs', async (t) => {
  if (!(await mayHaveLab(t))) return;
  process.env.TMPDIR = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(process.env.TMPDIR ?? '', { recursive: true, force: true }));
  const before = traces();
  const isGone = (t: Test, message: string) => t.same(traces(), before, message);
  await t.test('up, what it is good for, down', (t) => life(t, isGone));
  await t.test('nothing is left, whatever was killed', (t) => killed(t, isGone));
  await t.test('up that fails, or is stopped, leaves nothing', (t) => failing(t, isGone));
});

async function life(t: Test, isGone: (t: Test, message: string) => void): Promise<void> {
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
}

async function killed(t: Test, isGone: (t: Test, message: string) => void): Promise<void> {
  const view = await up('--nodes', '2', '--', '--drain', '0s');
  const mesh = adoptLab();
  await mesh.node(1).cli('service', 'create', '--name', 'app');
  const asked = [...mesh.nodes].map((node) => {
    const words = ['lab', 'exec', node.name, '--', 'vipmesh', 'run', '--service', 'app', '--', 'sleep', '1000'];
    const child = spawn(process.execPath, [PROGRAM, ...words], { stdio: 'ignore' });
    endWithProcess(() => child.kill('SIGKILL'));
    return once(child, 'exit');
  });
  await until(
    'both have a container',
    () => kernelState().namespaces.filter((name) => /-t-/.test(name)),
    (names) => names.length === 2,
  );
  for (const pid of pidsOf(view)) if (pid !== null) process.kill(pid, 'SIGKILL');
  t.equal((await lab('down')).code, 0);
  await Promise.all(asked);
  isGone(t, 'after kill -9 of etcd and all agents, while containers ran');

  execFileSync('ip', ['netns', 'add', 'vmlab-lab-node2']);
  const stray = spawn('nsenter', ['--net=/run/netns/vmlab-lab-node2', 'sleep', '1000'], { stdio: 'ignore' });
  const ended = once(stray, 'exit');
  t.match(await lab('up'), { code: 1, stderr: /has left vmlab-lab-node2; remove that with: vipmesh lab down/ });
  t.equal((await lab('down')).code, 0);
  await ended;
  isGone(t, 'what nothing is written about any more is known by its name');
}

async function failing(t: Test, isGone: (t: Test, message: string) => void): Promise<void> {
  const refused = await lab('up', '--', '--workers', '0');
  t.match(refused, { code: 1, stderr: /the agent of node1 has ended; its log says:\n.*--workers: should be a number/ });
  isGone(t, 'agents that do not start');

  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    const child = spawn(process.execPath, [PROGRAM, 'lab', 'up'], { stdio: ['ignore', 'ignore', 'pipe'] });
    endWithProcess(() => child.kill('SIGKILL'));
    const said: string[] = [];
    child.stderr.on('data', (data) => said.push(String(data)));
    const ended = once(child, 'close');
    await until('node2 is being made', () => existsSync('/run/netns/vmlab-lab-node2'), Boolean);
    if (signal === 'SIGKILL')
      t.match(await lab('down'), { code: 1, stderr: /being made or removed by another command/ });
    child.kill(signal);
    await ended;
    if (signal === 'SIGINT') t.match(said.join(''), 'stopped by SIGINT');
    else t.equal((await lab('down')).code, 0);
    isGone(t, `up, and ${signal}`);
  }

  const agent = await startAgent({ folder: { path: tmpdir(), socket: SOCKET, dnsPort: 1053, adminPort: 1080 } });
  t.match(await lab('up'), {
    code: 1,
    stderr: new RegExp(`an agent is running on ${SOCKET} \\(pid ${agent.process.pid}\\)`),
  });
  await agent.stop();
  rmSync(join(tmpdir(), 'state'), { recursive: true });
  isGone(t, 'another agent');
  t.match(await lab('up', '--nodes', '0'), { code: 2, stderr: /from 1 to 100/ });
  t.match(await lab('up', '--name', 'My-Lab'), { code: 2, stderr: /lower-case/ });
}
