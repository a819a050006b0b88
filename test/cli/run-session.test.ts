// What cannot be waited for in real time: grace periods, terminals, backoff.
import t from 'tap';
import type { ApiClient } from '../../src/api/client.ts';
import type { TaskEvent } from '../../src/api/schema.ts';
import { type CommandRunner, type RunWorld, runTask } from '../../src/cli/run-session.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

const PREPARED: TaskEvent = {
  Event: 'prepared',
  TaskID: 'task1',
  Name: 'web.1',
  Service: 'web',
  Addresses: [],
  Env: {},
};

/** Everything around a session; `log` tells what it did, with the time in seconds. */
function rig(options: { terminal?: 'foreground' | 'background' | 'none'; agent?: () => 'up' | 'down' } = {}) {
  const clock = new FakeClock();
  const log: string[] = [];
  const note = (what: string) => log.push(`${clock.now() / 1000} ${what}`);
  const listeners = new Map<NodeJS.Signals, (signal: NodeJS.Signals) => void>();
  let end: (how: { exitCode: number | null; signal: NodeJS.Signals | null }) => void = () => {};
  let breakStream: () => void = () => {};
  const client = {
    post: async (path: string, body?: unknown) => {
      note(`${path.replace('/vipmesh/tasks/task1/', '')}${body === undefined ? '' : ` ${JSON.stringify(body)}`}`);
    },
    runTask: async () => {
      if (options.agent?.() === 'down') throw Object.assign(new Error('no agent'), { code: 'AGENT_NOT_RUNNING' });
      note('connected');
      const broken = new Promise<void>((resolve) => {
        breakStream = resolve;
      });
      async function* events(): AsyncGenerator<TaskEvent> {
        yield PREPARED;
        await broken;
      }
      return { events: events(), close: () => breakStream() };
    },
  } as unknown as ApiClient;
  const runner: CommandRunner = {
    enter: ({ netns }) => note(`enter ${netns}`),
    start: async (_command, { ownSession, stdin }) => {
      note(`start ${ownSession ? 'own session' : 'shared session'}, stdin ${stdin}`);
      return {
        pid: 77,
        ended: new Promise((resolve) => {
          end = resolve;
        }),
        signal: (signal) => note(`signal ${signal}`),
        destroy: () => note('destroy'),
      };
    },
    probe: async () => ({ exitCode: 0, output: '' }),
    terminal: () => options.terminal ?? 'none',
  };
  const world: RunWorld = {
    client,
    runner,
    clock,
    env: {},
    say: (line) => note(`says: ${line}`),
    signals: {
      on: (signal, listener) => listeners.set(signal, listener),
      off: (signal) => listeners.delete(signal),
    },
  };
  return {
    clock,
    log,
    listeners,
    world,
    exit: (exitCode: number) => end({ exitCode, signal: null }),
    kill: (signal: NodeJS.Signals) => listeners.get(signal)?.(signal),
    breakStream: () => breakStream(),
    /** What was done since the last time. */
    news: () => log.splice(0).join(' | '),
  };
}

t.test('a command that ignores its signal is killed after 10 s', async (t) => {
  const { world, clock, exit, kill, news, listeners } = rig();
  const ended = runTask(world, { Service: 'web' }, ['server']);
  await settle();
  t.equal(news(), '0 connected | 0 start own session, stdin inherit | 0 running {"PID":77}');
  kill('SIGTERM');
  await clock.advance(9_999);
  t.equal(news(), '0 leave | 0 signal SIGTERM');
  await clock.advance(1);
  t.equal(news(), '10 destroy');
  exit(1);
  t.equal(await ended, 1);
  t.equal(news(), '10 exited {"ExitCode":1,"Signal":null}');
  t.equal(clock.waiting, 0);
  t.equal(listeners.size, 0, 'nothing is left');
});

t.test('in the foreground of a terminal ctrl-C is between the terminal and the command', async (t) => {
  const { world, exit, kill, news } = rig({ terminal: 'foreground' });
  const ended = runTask(world, { Service: 'web' }, ['psql']);
  await settle();
  t.match(news(), /start shared session, stdin inherit/);
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGWINCH'] as const) kill(signal);
  await settle();
  t.equal(news(), '');
  kill('SIGTERM');
  await settle();
  t.equal(news(), '0 leave | 0 signal SIGTERM');
  exit(0);
  await ended;
});

t.test('in its background the command does not read from the terminal', async (t) => {
  const { world, exit, kill, news } = rig({ terminal: 'background' });
  const ended = runTask(world, { Service: 'web' }, ['server']);
  await settle();
  t.match(news(), /start own session, stdin ignore/);
  kill('SIGINT');
  await settle();
  t.equal(news(), '0 leave | 0 signal SIGINT');
  exit(0);
  await ended;
});

t.test('an agent that is away is asked soon, then every 2 s, and told of once', async (t) => {
  let state: 'up' | 'down' = 'up';
  const { world, clock, exit, breakStream, news } = rig({ agent: () => state });
  const ended = runTask(world, { Service: 'web' }, ['server']);
  await clock.advance(60_000);
  news();
  state = 'down';
  breakStream();
  await clock.advance(30_000);
  t.equal(
    news(),
    '60.05 says: vipmesh run: the agent is gone (no agent); web.1 goes on, and is taken up again when it is back',
  );
  state = 'up';
  await clock.advance(2000);
  t.match(news(), /^9\d\.\d+ connected \| 9\d\.\d+ says: vipmesh run: the agent is back; web\.1 goes on as before$/);
  breakStream();
  await clock.advance(200);
  t.match(news(), /connected$/, 'a short absence is not worth a line');
  exit(0);
  await ended;
  t.equal(clock.waiting, 0);
});

t.test('an agent that takes connections only to end them is not asked without pause', async (t) => {
  const { world, clock, exit, breakStream, log } = rig();
  const ended = runTask(world, { Service: 'web' }, ['server']);
  for (let ms = 0; ms < 10_000; ms += 10) {
    breakStream();
    await clock.advance(10);
  }
  const connections = log.filter((line) => line.endsWith('connected')).length;
  t.ok(connections < 12, `${connections} connections in 10 s`);
  exit(0);
  await ended;
});
