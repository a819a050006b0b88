// `vipmesh run` as a real process, against an agent that a test plays.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { systemProcesses } from '../../src/tasks/process-table.ts';
import { StubAgent, type StubOptions } from '../support/stub-agent.ts';

const PROGRAM = fileURLToPath(new URL('../support/run-command.js', import.meta.url));

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  /** What it wrote so far. */
  readonly text: { out: string; err: string };
  /** Resolves when standard output holds this. */
  says(text: string): Promise<void>;
}

async function agentFor(t: Test, options: StubOptions = {}): Promise<StubAgent> {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  const agent = new StubAgent(join(folder, 'agent.sock'), options);
  await agent.listen();
  t.teardown(async () => {
    await agent.kill();
    rmSync(folder, { recursive: true });
  });
  return agent;
}

function run(t: Test, socket: string, words: readonly string[]): Run {
  const child = spawn(process.execPath, [PROGRAM, '--host', socket, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const text = { out: '', err: '' };
  const waiting = new Set<() => void>();
  child.stdout.on('data', (data) => {
    text.out += String(data);
    for (const look of waiting) look();
  });
  child.stderr.on('data', (data) => {
    text.err += String(data);
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const says = (wanted: string) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!text.out.includes(wanted)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return { child, ended, text, says };
}

/** A command that says when it is ready, and what signals it gets; SIGTERM ends it with 5. */
const SERVER = [
  '--service',
  'web',
  '--',
  'sh',
  '-c',
  'for s in HUP USR1 USR2 INT QUIT; do trap "echo got $s" $s; done; trap "echo got TERM; exit 5" TERM; echo ready; while :; do sleep 0.05; done',
];

t.test('the command, its environment, its output, its exit code', async (t) => {
  const agent = await agentFor(t, { prepared: { Env: { PORT: '8001', VIPMESH_ADDR: '127.64.0.5' } } });
  const { ended, text } = run(t, agent.socket, [
    '--service',
    'web',
    '--network',
    'net',
    '--name',
    'one',
    '--port',
    '8001',
    '--alias',
    'a',
    '--alias',
    'b',
    '--ip',
    '127.64.0.5',
    '--',
    'sh',
    '-c',
    'echo "$PORT $VIPMESH_ADDR $HOME $*"; echo problem >&2; exit 42',
    'sh',
    '--port',
    '-x',
  ]);
  t.equal(await ended, 42);
  t.equal(text.out, `8001 127.64.0.5 ${process.env.HOME ?? ''} --port -x\n`);
  t.equal(text.err, 'problem\n');
  t.equal(
    agent.heard[0],
    'tasks {"Service":"web","Networks":["net"],"Name":"one","Port":8001,"Aliases":["a","b"],"Addresses":["127.64.0.5"]}',
  );
  t.match(agent.heard[1], /^running \{"PID":\d+\}$/);
  t.equal(agent.heard[2], 'exited {"ExitCode":42,"Signal":null}');
});

t.test('--publish: the ports as for services, and what the agent says of them', async (t) => {
  const agent = await agentFor(t, { prepared: { Notes: ['service web is new'] } });
  const words = ['--service', 'web', '-p', '8080:80', '--publish', 'published=53,target=53,protocol=udp,mode=host'];
  const { ended, text } = run(t, agent.socket, [...words, '--', 'true']);
  t.equal(await ended, 0);
  t.equal(text.err, 'vipmesh run: service web is new\n');
  const Publish = [
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
    { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'host' },
  ];
  t.same(JSON.parse(agent.heard[0]?.slice('tasks '.length) ?? ''), { Service: 'web', Publish });
  const wrong = run(t, agent.socket, ['--service', 'web', '-p', '80:x', '--', 'true']);
  t.equal(await wrong.ended, 1);
  t.match(wrong.text.err, /^vipmesh run: --publish "80:x": "x" is no port of 1 to 65535/);
});

t.test('what follows the command is its own, with -- or without', async (t) => {
  const agent = await agentFor(t);
  const { ended, text } = run(t, agent.socket, ['--service', 'web', 'echo', '--port', 'x', '-h']);
  t.equal(await ended, 0);
  t.equal(text.out, '--port x -h\n');
});

t.test('a signal that ends the command is its exit code, as in a shell', async (t) => {
  const agent = await agentFor(t);
  const { ended } = run(t, agent.socket, ['--service', 'web', '--', 'sh', '-c', 'kill -9 $$']);
  t.equal(await ended, 137);
  t.equal(await agent.hear('exited'), 'exited {"ExitCode":null,"Signal":"SIGKILL"}');
});

t.test('what goes wrong is one line', async (t) => {
  const agent = await agentFor(t);
  const missing = run(t, agent.socket, ['--service', 'web', '--', 'vipmesh-no-such-command']);
  t.equal(await missing.ended, 127);
  t.equal(missing.text.err, 'vipmesh run: vipmesh-no-such-command: command not found\n');
  t.equal(await agent.hear('exited'), 'exited {"ExitCode":127,"Signal":null}', 'the task is removed');

  const folder = run(t, agent.socket, ['--service', 'web', '--', '/tmp']);
  t.equal(await folder.ended, 126);
  t.match(folder.text.err, /^vipmesh run: \/tmp: permission denied; is it an executable file\?\n$/);

  agent.options = { refuse: { status: 404, message: 'no service web; `vipmesh service ls` shows what there is' } };
  const unknown = run(t, agent.socket, ['--service', 'web', '--', 'true']);
  t.equal(await unknown.ended, 1);
  t.equal(unknown.text.err, 'vipmesh run: no service web; `vipmesh service ls` shows what there is\n');

  const nobody = run(t, `${agent.socket}.none`, ['--service', 'web', '--', 'true']);
  t.equal(await nobody.ended, 1);
  t.match(nobody.text.err, /^vipmesh run: no agent at .*start it with `vipmesh agent`.*\n$/);
});

t.test('signals are forwarded; a stop leaves first', async (t) => {
  const agent = await agentFor(t);
  let drained = () => {};
  agent.drained = new Promise((resolve) => {
    drained = resolve;
  });
  const { child, ended, text, says } = run(t, agent.socket, SERVER);
  await says('ready');
  await agent.hear('running');
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT'] as const) {
    child.kill(signal);
    await says(`got ${signal.slice(3)}`);
  }
  t.notMatch(agent.heard.join(), /leave/);
  child.kill('SIGTERM');
  await agent.hear('leave');
  child.kill('SIGUSR1');
  await says('got USR1');
  t.notMatch(text.out, /TERM/, 'not before the connections have ended');
  drained();
  t.equal(await ended, 5);
  t.match(text.out, /got TERM\n$/);
  t.match(agent.heard.slice(-2).join(), /^(closed,)?exited \{"ExitCode":5/);
});

t.test('a second signal does not wait', async (t) => {
  const agent = await agentFor(t);
  agent.drained = new Promise(() => {});
  const { child, ended, says } = run(t, agent.socket, SERVER);
  await says('ready');
  await agent.hear('running');
  child.kill('SIGINT');
  await agent.hear('leave');
  child.kill('SIGTERM');
  t.equal(await ended, 5);
});

t.test('the agent may end a task', async (t) => {
  const agent = await agentFor(t);
  const { ended, text, says } = run(t, agent.socket, SERVER);
  await says('ready');
  await agent.hear('running');
  agent.send({ Event: 'stop', Reason: 'service web was removed' });
  t.equal(await ended, 5);
  t.equal(text.err, 'vipmesh run: stopping web.1.task1: service web was removed\n');
});

t.test('checks run beside the command, with its environment', async (t) => {
  const agent = await agentFor(t, { prepared: { Env: { PORT: '8001' } } });
  const { child, ended, says } = run(t, agent.socket, SERVER);
  await says('ready');
  agent.send({ Event: 'probe', Number: 7, Command: ['echo $PORT; exit 3'], Shell: true, TimeoutMs: 60_000 });
  t.equal(await agent.hear('probes/7'), 'probes/7 {"ExitCode":3,"Output":"8001\\n"}');
  child.kill('SIGTERM');
  t.equal(await ended, 5);
});

t.test('an agent that is killed and comes back gets its task back', async (t) => {
  const agent = await agentFor(t);
  const { child, ended, text, says } = run(t, agent.socket, SERVER);
  await says('ready');
  const pid = Number(/\d+/.exec(await agent.hear('running'))?.[0]);
  await agent.kill();
  t.ok(systemProcesses.find(pid), 'the command does not notice');
  agent.heard.length = 0;
  await agent.listen();
  t.equal(await agent.hear('tasks'), `tasks {"Service":"web","Resume":{"TaskID":"task1","PID":${pid}}}`);
  agent.send({ Event: 'probe', Number: 1, Command: ['true'], Shell: false, TimeoutMs: 60_000 });
  await agent.hear('probes/1');
  child.kill('SIGTERM');
  t.equal(await ended, 5);
  t.match(agent.heard.join(), /leave.*exited/s);
  t.ok(text.err.split('\n').length <= 3, 'one line for its end, one for its return');
});

t.test('an agent that knows the task no more ends it', async (t) => {
  const agent = await agentFor(t);
  const { ended, text, says } = run(t, agent.socket, SERVER);
  await says('ready');
  await agent.hear('running');
  await agent.kill();
  agent.options = { refuse: { status: 404, message: 'task task1 is not known here any more' } };
  await agent.listen();
  t.equal(await ended, 5);
  t.match(text.err, /stopping web.1.task1: task task1 is not known here any more\n$/);
});

t.test('without an agent a stop is a plain stop', async (t) => {
  const agent = await agentFor(t);
  const { child, ended, says } = run(t, agent.socket, SERVER);
  await says('ready');
  await agent.hear('running');
  await agent.kill();
  child.kill('SIGTERM');
  t.equal(await ended, 5);
});

t.test('the command is out of the way of signals to our process group', async (t) => {
  const agent = await agentFor(t);
  const { ended, text } = run(t, agent.socket, [
    '--service',
    'web',
    '--',
    'sh',
    '-c',
    'echo "$$ $(cut -d" " -f5,6 /proc/$$/stat)"',
  ]);
  t.equal(await ended, 0);
  const [pid, group, session] = text.out.trim().split(' ');
  t.same([group, session], [pid, pid]);
});
