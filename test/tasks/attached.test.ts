// Attached containers from the agent's side: how they begin, last and end, with everything else made up.
import t from 'tap';
import type { IpAddress } from '../../src/model/address.ts';
import type { NetworkId } from '../../src/model/network.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { AttachedTasks, type AttachedTasksOptions } from '../../src/tasks/attached.ts';
import { asksResolver } from '../../src/tasks/container-dns.ts';
import type { ProcessIdentity } from '../../src/tasks/process-table.ts';
import { service as builtService } from '../support/builders.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

const web = builtService('web', { drainTimeoutMs: 3000 });
const checked = builtService('checked', {
  health: {
    probe: { kind: 'exec', command: ['true'], shell: false },
    intervalMs: 1,
    timeoutMs: 1,
    retries: 1,
    startPeriodMs: 0,
  },
});

class World {
  readonly clock = new FakeClock(0);
  readonly asked: string[] = [];
  readonly records = new Map<string, Task>();
  readonly live = new Map<number, ProcessIdentity>();
  /** Path → identity. */
  readonly paths = new Map<string, string>();
  readonly linked = new Set<string>();
  connections = 0;
  attachFails = false;
  removeFails = false;
  resolvConf: string | undefined = 'nameserver 127.0.0.11\n';
  /** While the links are made. */
  meanwhile: () => void = () => {};

  tasks(): AttachedTasks {
    const registry: AttachedTasksOptions['registry'] = {
      addAttached: async ({ Service, PID, Netns }) => {
        const found = [web, checked].find(({ spec }) => spec.name === Service);
        if (found === undefined) throw new Error(`no service ${Service}`);
        const id = `task${this.records.size + 1}`;
        this.asked.push(`add ${id}`);
        return this.task(id, {
          serviceId: found.id,
          ...(PID === undefined ? {} : { pid: PID }),
          ...(Netns === undefined ? {} : { netns: Netns }),
        });
      },
      task: (id) => this.records.get(id),
      service: (id) => [web, checked].find((one) => one.id === id),
      setState: async (id, state) => {
        const task = this.records.get(id);
        if (task === undefined) throw new Error(`there is no task ${id}`);
        this.asked.push(`${state} ${id}`);
        this.records.set(id, { ...task, state });
      },
      remove: async (id) => {
        if (this.removeFails) throw new Error('the store is closed');
        this.asked.push(`remove ${id}`);
        this.records.delete(id);
      },
    };
    return new AttachedTasks({
      clock: this.clock,
      log: SILENT_LOG,
      registry,
      containers: {
        attach: async ({ id }) => {
          if (this.attachFails) throw new Error('there is another resolver');
          this.asked.push(`attach ${id}`);
          this.linked.add(id);
          this.meanwhile();
        },
        detach: async (id) => {
          this.asked.push(`detach ${id}`);
          this.linked.delete(id);
        },
        has: (id) => this.linked.has(id),
      },
      processes: { find: (pid) => this.live.get(pid) },
      namespaces: { identify: (path) => this.paths.get(path), isHidden: () => false },
      activeConnections: () => this.connections,
      applied: async () => {
        this.asked.push('applied');
      },
      resolvConfOf: () => this.resolvConf,
    });
  }

  task(id: string, more: Partial<Task> = {}): Task {
    const task: Task = {
      id: id as TaskId,
      serviceId: web.id,
      slot: 1,
      name: `web.1.${id}`,
      nodeId: 'node' as Task['nodeId'],
      source: 'attached',
      state: 'starting',
      health: 'none',
      attachments: [{ networkId: 'net' as NetworkId, address: '10.64.0.5' as IpAddress, aliases: [] }],
      portMap: [],
      createdAt: 1000,
      updatedAt: 1000,
      ...more,
    };
    this.records.set(id, task);
    return task;
  }

  process(pid: number, startedAt = 500): void {
    this.live.set(pid, { pid, startTicks: pid * 10 + startedAt, startedAt });
    this.paths.set(`/proc/${pid}/ns/net`, `of ${pid}`);
  }

  ended(pid: number): void {
    this.live.delete(pid);
    this.paths.delete(`/proc/${pid}/ns/net`);
  }

  /** What was asked since the last time. */
  get news(): string {
    return this.asked.splice(0).join(', ');
  }
}

t.test('by a process: it lasts as long as that', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.process(77);
  t.match(await tasks.attach({ Service: 'web', PID: 77 }), { task: { id: 'task1', state: 'running' }, warnings: [] });
  t.equal(world.news, 'add task1, attach task1, running task1');
  await world.clock.advance(5000);
  t.equal(world.news, '');
  world.ended(77);
  world.process(77, 9999);
  await world.clock.advance(500);
  t.equal(world.news, 'remove task1, applied, detach task1', 'another process with its id is not it');
  t.equal(world.clock.waiting, 0);
});

t.test('by a path: it lasts as long as the same namespace is there', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.paths.set('/a', 'first').set('/b', 'second');
  await tasks.attach({ Service: 'web', Netns: '/a' });
  await tasks.attach({ Service: 'web', Netns: '/b' });
  await world.clock.advance(500);
  world.news;
  world.paths.delete('/a');
  await world.clock.advance(500);
  t.equal(world.news, 'remove task1, applied, detach task1');
  world.paths.set('/b', 'another');
  await world.clock.advance(500);
  t.equal(world.news, 'remove task2, applied, detach task2');
});

t.test('what cannot be attached leaves nothing', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  await t.rejects(tasks.attach({ Service: 'web', PID: 7 }), { code: 'NOT_FOUND', message: /^no process 7 runs/ });
  await t.rejects(tasks.attach({ Service: 'web', Netns: '/x' }), { code: 'NOT_FOUND', message: /namespace at \/x/ });
  world.process(7);
  await t.rejects(tasks.attach({ Service: 'nope', PID: 7 }), { message: 'no service nope' });
  t.equal(world.news, '');
  world.attachFails = true;
  await t.rejects(tasks.attach({ Service: 'web', PID: 7 }), { message: 'there is another resolver' });
  t.equal(world.news, 'add task1, remove task1, applied, detach task1');
  world.attachFails = false;
  world.meanwhile = () => world.ended(7);
  await t.rejects(tasks.attach({ Service: 'web', PID: 7 }), { code: 'NOT_FOUND' }, 'it ended meanwhile');
  t.equal(world.news, 'add task1, attach task1, remove task1, applied, detach task1');
  world.process(7);
  world.meanwhile = () => {
    world.records.delete('task1');
    tasks.removed('task1' as TaskId);
  };
  await t.rejects(tasks.attach({ Service: 'web', PID: 7 }), { message: 'there is no task task1' }, 'its service went');
  t.equal(world.news, 'add task1, attach task1, remove task1, applied, detach task1');
  t.equal(world.clock.waiting, 0);
  tasks.close();
  await t.rejects(tasks.attach({ Service: 'web', PID: 7 }), { code: 'UNAVAILABLE' });
});

t.test('detaching drains first, as long as the service wants', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.process(7);
  await tasks.attach({ Service: 'web', PID: 7 });
  world.news;
  world.connections = 1;
  let done = 0;
  for (let i = 0; i < 2; i++) void tasks.detach('task1' as TaskId).then(() => done++);
  await world.clock.advance(1000);
  t.equal(world.news, 'draining task1, applied', 'asked twice, done once');
  world.connections = 0;
  await world.clock.advance(50);
  t.equal(world.news, 'remove task1, applied, detach task1');
  t.equal(done, 2);
  await t.rejects(tasks.detach('task1' as TaskId), { code: 'NOT_FOUND' });

  await tasks.attach({ Service: 'web', PID: 7 });
  world.connections = 1;
  void tasks.detach('task1' as TaskId).then(() => done++);
  await world.clock.advance(3400);
  t.equal(done, 2);
  await world.clock.advance(200);
  t.equal(done, 3, 'no longer than the drain time, at whose end they are reset, and half a second');

  await tasks.attach({ Service: 'web', PID: 7 });
  void tasks.detach('task1' as TaskId).then(() => done++);
  await settle();
  world.ended(7);
  await world.clock.advance(600);
  t.equal(done, 4, 'nor for a container that has ended');
  t.equal(world.clock.waiting, 0);
});

t.test('a record that cannot be removed now is removed later', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.process(7);
  await tasks.attach({ Service: 'web', PID: 7 });
  world.news;
  world.removeFails = true;
  await t.rejects(tasks.detach('task1' as TaskId), { message: 'the store is closed' });
  world.ended(7);
  await world.clock.advance(1500);
  world.removeFails = false;
  world.news;
  await world.clock.advance(500);
  t.equal(world.news, 'remove task1, applied, detach task1');
});

t.test('which tasks a container is', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.process(7);
  world.paths.set('/run/netns/seven', 'of 7').set('/proc/8/ns/net', 'of 7').set('/blue', 'blue');
  await tasks.attach({ Service: 'web', PID: 7 });
  await tasks.attach({ Service: 'web', Netns: '/blue' });
  t.same(tasks.at({ PID: 7 }), ['task1']);
  t.same(tasks.at({ PID: 8 }), ['task1'], 'by any process in it');
  t.same(tasks.at({ Netns: '/run/netns/seven' }), ['task1'], 'by any path');
  t.same(tasks.at({ Netns: '/blue' }), ['task2']);
  t.same(tasks.at({ Netns: '/red' }), []);
  world.ended(7);
  t.same(tasks.at({ PID: 7 }), ['task1'], 'also when it has just ended');
});

t.test('after a restart of the agent', async (t) => {
  const world = new World();
  const running = { state: 'running' } as const;
  for (const pid of [1, 3, 4]) world.process(pid);
  world.process(2, 100_000);
  world.paths.set('/here', 'a').set('/new', 'b');
  const table: readonly (readonly [string, Partial<Task>, boolean])[] = [
    ['lives', { ...running, pid: 1 }, true],
    ['drains', { state: 'draining', pid: 4 }, true],
    ['here', { ...running, netns: '/here' }, true],
    ['reused', { ...running, pid: 2 }, true],
    ['ended', { ...running, pid: 9 }, false],
    ['unlinked', { ...running, pid: 3 }, false],
    ['half', { pid: 3 }, true],
    ['remade', { ...running, netns: '/new' }, false],
    ['away', { ...running, netns: '/gone' }, false],
  ];
  for (const [id, more, isLinked] of table) {
    world.task(id, more);
    if (isLinked) world.linked.add(id);
  }
  world.task('run', { source: 'process', pid: 55 });
  const tasks = world.tasks();
  await tasks.recover([...world.records.values()]);
  t.same([...world.records.keys()], ['lives', 'drains', 'here', 'run']);
  t.match(world.news, /^remove reused, applied, detach reused, remove ended/);
  await world.clock.advance(1000);
  t.equal(world.news, '');
  world.paths.delete('/here');
  world.ended(1);
  await world.clock.advance(500);
  t.same([...world.records.keys()], ['drains', 'run'], 'they are watched again');
  tasks.close();
  t.equal(world.clock.waiting, 0);
});

t.test('what the user should know', async (t) => {
  const world = new World();
  const tasks = world.tasks();
  world.process(7);
  world.process(8);
  world.resolvConf = 'nameserver 192.0.2.1\n';
  t.match((await tasks.attach({ Service: 'checked', PID: 7 })).warnings, [
    /^the check of service checked is a command, .* by tcp instead$/,
    /^the container's \/etc\/resolv\.conf does not name 127\.0\.0\.11, /,
  ]);
  world.resolvConf = undefined;
  t.same((await tasks.attach({ Service: 'web', PID: 8 })).warnings, [], 'nothing that is not known');
  for (const [text, expected] of [
    ['nameserver 127.0.0.11\noptions ndots:0\n', true],
    ['search x\n  nameserver\t127.0.0.11  ', true],
    ['# nameserver 127.0.0.11\nnameserver 8.8.8.8', false],
    ['nameserver 127.0.0.111', false],
    ['', false],
  ] as const) {
    t.equal(asksResolver(text), expected, JSON.stringify(text));
  }
});
