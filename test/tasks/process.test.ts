import t from 'tap';
import type { IpAddress } from '../../src/model/address.ts';
import type { NetworkId } from '../../src/model/network.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Service, ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ProcessTasks, type TaskRegistry, type TaskSession } from '../../src/tasks/process.ts';
import type { ProcessIdentity } from '../../src/tasks/process-table.ts';
import type { PreparedEvent, TaskEvent } from '../../src/tasks/protocol.ts';
import { publishNotes } from '../../src/tasks/publish-note.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

const service: Service = {
  id: 'service' as ServiceId,
  spec: {
    name: 'web',
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: [],
    publish: [],
    expose: [{ protocol: 'tcp', port: 80 as PortNumber }],
    endpoints: [],
    drainTimeoutMs: 3000,
  },
  networks: [],
  vips: [],
  ports: [],
  createdAt: 0,
  updatedAt: 0,
};

/** A control plane, containers and processes that remember what was asked of them. */
class World {
  readonly clock = new FakeClock();
  readonly asked: string[] = [];
  readonly records = new Map<string, Task>();
  readonly live = new Map<number, ProcessIdentity>();
  connections = 0;
  netns: string | null = null;
  attachFails = false;
  removeFails = false;

  readonly registry: TaskRegistry = {
    add: async (request) => {
      if (request.Service !== 'web') throw new Error(`no service ${request.Service}`);
      const task = this.task(
        `task${this.records.size + 1}`,
        request.Hostname === undefined ? {} : { hostname: request.Hostname },
      );
      this.asked.push(`add ${task.id}`);
      return task;
    },
    task: (id) => this.records.get(id),
    service: (id) => (id === service.id ? service : undefined),
    network: () => undefined,
    setState: async (id, state, pid) => {
      this.asked.push(`${state} ${id}${pid === undefined ? '' : ` ${pid}`}`);
      const task = this.records.get(id);
      if (task) this.records.set(id, { ...task, state, ...(pid === undefined ? {} : { pid }) });
    },
    remove: async (id) => {
      if (this.removeFails) throw new Error('the store is closed');
      this.asked.push(`remove ${id}`);
      this.records.delete(id);
    },
  };

  tasks(): ProcessTasks {
    return new ProcessTasks({
      clock: this.clock,
      log: SILENT_LOG,
      registry: this.registry,
      containers: {
        attach: async (task) => {
          if (this.attachFails) throw new Error('no namespaces here');
          this.asked.push(`attach ${task.id}`);
          return this.netns;
        },
        detach: async (id) => {
          this.asked.push(`detach ${id}`);
        },
      },
      processes: { find: (pid) => this.live.get(pid) },
      activeConnections: () => this.connections,
      applied: async () => {
        this.asked.push('applied');
      },
      nodeResolvConf: () => 'nameserver 192.0.2.1\nsearch example.com\noptions ndots:2\n',
    });
  }

  task(id: string, more: Partial<Task> = {}): Task {
    const task: Task = {
      id: id as TaskId,
      serviceId: service.id,
      slot: 1,
      name: `web.1.${id}`,
      nodeId: 'node' as Task['nodeId'],
      source: 'process',
      state: 'starting',
      health: 'none',
      attachments: [{ networkId: 'net' as NetworkId, address: '127.64.0.5' as IpAddress, aliases: [] }],
      portMap: [{ targetPort: 80, port: 8001 }],
      createdAt: 0,
      updatedAt: 1000,
      ...more,
    };
    this.records.set(id, task);
    return task;
  }

  process(pid: number, startedAt = 500): void {
    this.live.set(pid, { pid, startTicks: pid * 10 + startedAt, startedAt });
  }

  /** What was asked since the last time. */
  get news(): string {
    return this.asked.splice(0).join(', ');
  }
}

/** Reads a session's events as they come. */
function reader(session: TaskSession): { readonly seen: TaskEvent[]; ended: boolean } {
  const state = { seen: [] as TaskEvent[], ended: false };
  void (async () => {
    for await (const event of session.events) state.seen.push(event);
    state.ended = true;
  })();
  return state;
}

t.test('a task from its request to its end', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const session = await tasks.start({ Service: 'web' });
  const events = reader(session);
  await settle();
  t.match(events.seen, [
    {
      Event: 'prepared',
      TaskID: 'task1',
      Name: 'web.1.task1',
      Service: 'web',
      Addresses: [{ Network: 'net', Address: '127.64.0.5' }],
      Env: { VIPMESH_SERVICE: 'web', VIPMESH_TASK: 'web.1.task1', VIPMESH_ADDR: '127.64.0.5', PORT: '8001' },
    },
  ]);
  t.notOk('Namespace' in (events.seen[0] ?? {}), 'on the node itself');
  t.equal(world.news, 'add task1, attach task1');
  world.process(77);
  await tasks.running(session.taskId, 77);
  t.equal(world.news, 'running task1 77');
  await tasks.exited(session.taskId, { exitCode: 0, signal: null });
  t.equal(world.news, 'remove task1, detach task1', 'the endpoint goes before its address');
  await settle();
  t.equal(events.ended, true);
  session.abandon();
  await settle();
  t.equal(world.news, '');
  t.equal(tasks.has(session.taskId), false);
});

t.test('what a task has made of its service is said to who asked for it', async (t) => {
  const port = { protocol: 'tcp', targetPort: 80, publishedPort: 8080, mode: 'ingress' } as const;
  const first = { ...port, targetPort: 80 as PortNumber, publishedPort: 8080 as PortNumber };
  const ports = [first, { ...first, publishedPort: 8081 as PortNumber, hostAddress: '::1' }];
  const task = { createdAt: 7 } as Task;
  const note = (createdAt: number, updatedAt: number, asked = true) =>
    publishNotes({ ...service, ports, createdAt, updatedAt }, task, asked);
  t.match(note(7, 7), [/^service web is new and publishes \*:8080->80\/tcp, \[::1\]:8081->80\/tcp; it stays when/]);
  t.match(note(1, 7), [/^service web publishes .* from now on, also when the task has ended/]);
  t.same(note(1, 6), [], 'nothing was changed');
  t.same(note(7, 7, false), [], 'nobody asked');

  const world = new World();
  const tasks = world.tasks();
  const Publish = [first];
  const session = await tasks.start({ Service: 'web', Publish });
  const events = reader(session);
  await settle();
  t.match(events.seen, [{ Notes: [/^service web is new/] }]);
  world.process(77);
  const resumed = reader(await tasks.start({ Service: 'web', Publish, Resume: { TaskID: session.taskId, PID: 77 } }));
  await settle();
  t.notOk('Notes' in (resumed.seen[0] ?? {}), 'once');
});

t.test('in a container: its namespace, its files, its name', async (t) => {
  const world = new World();
  world.netns = '/run/netns/x';
  const session = await world.tasks().start({ Service: 'web', Hostname: 'db1' });
  const events = reader(session);
  await settle();
  const prepared = events.seen[0] as PreparedEvent;
  t.equal(prepared.Namespace, '/run/netns/x');
  t.equal(prepared.Hostname, 'db1');
  t.equal(prepared.Files?.['/etc/resolv.conf'], 'nameserver 127.0.0.11\nsearch example.com\noptions ndots:2\n');
  t.match(prepared.Files?.['/etc/hosts'], /^127\.64\.0\.5 +db1 web\.1\.task1$/m);
});

t.test('what cannot be started leaves nothing', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  await t.rejects(tasks.start({ Service: 'nope' }), { message: 'no service nope' });
  world.attachFails = true;
  await t.rejects(tasks.start({ Service: 'web' }), { message: 'no namespaces here' });
  t.equal(world.news, 'add task1, remove task1, detach task1');
  await t.rejects(tasks.running('task1' as TaskId, 1), { code: 'NOT_FOUND' });
  await t.rejects(async () => tasks.leave('task1' as TaskId), { code: 'NOT_FOUND' });
});

t.test('leaving waits for the last connection, counted after every worker knows', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const { taskId } = await tasks.start({ Service: 'web' });
  world.connections = 2;
  world.news;
  let left = 0;
  void tasks.leave(taskId).then(() => left++);
  void tasks.leave(taskId).then(() => left++);
  await world.clock.advance(1000);
  t.equal(world.news, 'draining task1, applied', 'asked twice, done once');
  t.equal(left, 0);
  world.connections = 0;
  await world.clock.advance(50);
  t.equal(left, 2);
  t.equal(world.clock.waiting, 0);
});

t.test(
  'but hardly longer than the drain time of the service, at whose end they are reset, and not for a command that has ended',
  async (t) => {
    const world = new World();
    const tasks = world.tasks();
    const [first, second] = [await tasks.start({ Service: 'web' }), await tasks.start({ Service: 'web' })];
    world.connections = 1;
    const left: string[] = [];
    void tasks.leave(first.taskId).then(() => left.push('first'));
    void tasks.leave(second.taskId).then(() => left.push('second'));
    await world.clock.advance(500);
    await tasks.exited(second.taskId, { exitCode: 1, signal: null });
    await world.clock.advance(100);
    t.same(left, ['second']);
    await world.clock.advance(2800);
    t.same(left, ['second']);
    await world.clock.advance(200);
    t.same(left, ['second', 'first']);
  },
);

t.test('probes go to the client and come back', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const session = await tasks.start({ Service: 'web' });
  const events = reader(session);
  const check = { kind: 'exec', command: ['pg_isready'], shell: true } as const;
  const never = new AbortController().signal;
  const numbers = () => events.seen.flatMap((event) => (event.Event === 'probe' ? [event.Number] : []));

  const good = tasks.probe(session.taskId, check, 500, never);
  const bad = tasks.probe(session.taskId, check, 500, never);
  await settle();
  t.match(events.seen[1], { Event: 'probe', Command: ['pg_isready'], Shell: true, TimeoutMs: 500 });
  const [one = 0, two = 0] = numbers();
  await tasks.probed(session.taskId, two, { exitCode: 2, output: 'starting\nno response\n' });
  await tasks.probed(session.taskId, one, { exitCode: 0, output: '' });
  t.same(await good, { ok: true });
  t.same(await bad, { ok: false, reason: 'the command exited with 2: no response' });

  const stop = new AbortController();
  const late = tasks.probe(session.taskId, check, 500, stop.signal);
  await settle();
  stop.abort();
  t.match(await late, { ok: false, reason: /in time/ });
  await tasks.probed(session.taskId, numbers().at(-1) ?? 0, { exitCode: 0, output: '' });

  const orphan = tasks.probe(session.taskId, check, 500, never);
  session.abandon();
  t.match(await orphan, { ok: false });
  t.match(await tasks.probe(session.taskId, check, 500, never), { ok: false, reason: /not connected/ });
});

t.test('a client that dies: the task lives as long as its command', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const session = await tasks.start({ Service: 'web' });
  world.process(77);
  await tasks.running(session.taskId, 77);
  world.news;
  session.abandon();
  await world.clock.advance(5000);
  t.equal(world.news, '', 'the command lives');
  world.live.clear();
  world.process(77, 9999);
  await world.clock.advance(500);
  t.equal(world.news, 'remove task1, detach task1', 'another process with its id is not the command');
  t.equal(world.clock.waiting, 0);
});

t.test('a client that dies before its command ran, or with it', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const [before, after] = [await tasks.start({ Service: 'web' }), await tasks.start({ Service: 'web' })];
  world.process(77);
  await tasks.running(after.taskId, 77);
  world.live.clear();
  world.news;
  before.abandon();
  after.abandon();
  await settle();
  t.equal(world.news, 'remove task1, remove task2, detach task1, detach task2');
});

t.test('a client comes back', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const first = await tasks.start({ Service: 'web' });
  const firstEvents = reader(first);
  world.process(77);
  await tasks.running(first.taskId, 77);
  world.news;
  const second = await tasks.start({ Service: 'web', Resume: { TaskID: first.taskId, PID: 77 } });
  const secondEvents = reader(second);
  await settle();
  t.equal(firstEvents.ended, true, 'the former connection is over');
  t.match(secondEvents.seen, [{ Event: 'prepared', TaskID: first.taskId }]);
  t.equal(world.news, `attach ${first.taskId}`, 'it runs on record already');
  first.abandon();
  await world.clock.advance(5000);
  t.equal(world.news, '', 'the end of the former connection is not the end of the task');
  tasks.stop(second.taskId, 'service web was removed');
  await settle();
  t.match(secondEvents.seen[1], { Event: 'stop', Reason: 'service web was removed' });
  await t.rejects(tasks.start({ Service: 'web', Resume: { TaskID: 'gone' } }), { code: 'NOT_FOUND' });
});

t.test('after a restart of the agent', async (t) => {
  const world = new World();
  world.task('lives', { state: 'running', pid: 1 });
  world.task('ended', { state: 'running', pid: 2 });
  world.task('reused', { state: 'running', pid: 3 });
  world.task('young');
  world.task('returns');
  world.task('fixed', { source: 'static' });
  world.process(1);
  world.process(3, 100_000);
  const tasks = world.tasks();
  await tasks.recover([...world.records.values()]);
  t.equal(world.news, 'remove ended, detach ended, remove reused, detach reused');
  world.process(9);
  await tasks.start({ Service: 'web', Resume: { TaskID: 'returns', PID: 9 } });
  t.equal(world.news, 'attach returns, running returns 9', 'what the old agent did not hear is on record now');
  await world.clock.advance(5000);
  t.equal(world.news, 'remove young, detach young', 'nobody came for it');
  t.same([...world.records.keys()], ['lives', 'returns', 'fixed']);
  world.live.clear();
  await world.clock.advance(500);
  t.equal(world.news, 'remove lives, detach lives', "the connected one is its client's business");
});

t.test('an agent that stops leaves its tasks to the next one', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const session = await tasks.start({ Service: 'web' });
  const events = reader(session);
  world.news;
  tasks.close();
  session.abandon();
  await settle();
  t.equal(events.ended, true);
  t.equal(world.news, '');
  await t.rejects(tasks.start({ Service: 'web' }), { code: 'UNAVAILABLE' });
});

t.test('a record that cannot be removed now is removed later', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  const session = await tasks.start({ Service: 'web' });
  world.removeFails = true;
  world.news;
  await t.rejects(tasks.exited(session.taskId, { exitCode: 0, signal: null }), { message: 'the store is closed' });
  session.abandon();
  await world.clock.advance(1000);
  t.equal(world.news, '');
  world.removeFails = false;
  await world.clock.advance(500);
  t.equal(world.news, 'remove task1, detach task1');
});
