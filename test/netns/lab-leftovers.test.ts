// Nothing is left of a lab, whatever was killed and wherever its start ended.
import { adoptLab, mayHaveLab } from './support/lab.ts';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { endWithProcess, PROGRAM, startAgent } from '../support/agent.ts';
import { lab, pidsOf, SOCKET, up, watchTraces } from './support/lab-command.ts';
import { kernelState } from './support/node.ts';
import { until } from './support/tasks.ts';

t.test('what is left of labs', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const isGone = watchTraces();
  await t.test('nothing, whatever was killed', (t) => killed(t, isGone));
  await t.test('nothing, when up fails or is stopped', (t) => failing(t, isGone));
});

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
