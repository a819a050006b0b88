// What is made of an engine's answers, on a fake engine and a fake clock; the real one is in test/netns/docker*.test.ts.
import t from 'tap';
import type { NetworkId } from '../../../src/model/network.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { Service, ServiceId } from '../../../src/model/service.ts';
import type { Health, Task, TaskId, TaskState } from '../../../src/model/task.ts';
import { SILENT_LOG } from '../../../src/runtime/log.ts';
import { type ContainerDetails, containerDetails } from '../../../src/tasks/docker/container-details.ts';
import { DockerTasks } from '../../../src/tasks/docker/docker-tasks.ts';
import type { EngineEvent } from '../../../src/tasks/docker/engine.ts';
import { service as makeService, ip } from '../../support/builders.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const id = (letter: string) => letter.repeat(64);

interface Shape {
  readonly pid?: number;
  readonly paused?: boolean;
  readonly health?: string;
  readonly stop?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

function details(letter: string, { pid = 100, paused = false, health, stop, labels }: Shape): ContainerDetails {
  return containerDetails.parse({
    Id: id(letter),
    Name: `/${letter}${letter}`,
    State: {
      Running: pid > 0,
      Paused: paused,
      Pid: pid,
      ...(health === undefined ? {} : { Health: { Status: health } }),
    },
    Config: { StopSignal: stop, Labels: labels ?? { 'vipmesh.service': 'web' } },
    NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.2', IPPrefixLen: 16 } } },
  });
}

/** An engine with containers that a test changes, and a registry whose tasks it can look at. */
function rig(options: { readonly cannotEnter?: boolean } = {}) {
  const clock = new FakeClock();
  const there = new Map<string, Shape>();
  const tasks = new Map<TaskId, Task>();
  const web: Service = makeService('web');
  let made = 0;
  let hear: ((event: EngineEvent) => void) | undefined;
  let hangUp: (() => void) | undefined;
  const sent: string[] = [];
  let drained: (() => void) | undefined;
  const state = {
    isAway: false,
    attachFails: undefined as Error | undefined,
    duringAttach: () => {},
    attempts: 0,
    removedUnused: 0,
  };
  const change = (task: TaskId, to: Partial<Task>) => {
    const before = tasks.get(task);
    if (before !== undefined) tasks.set(task, { ...before, ...to });
  };
  const make = (source: Task['source'], container: string, pid: number | undefined, name: string | undefined): Task => {
    const task = {
      id: `task${++made}` as TaskId,
      serviceId: web.id as ServiceId,
      nodeId: 'node' as NodeId,
      source,
      name: name ?? `web.${made}`,
      slot: made,
      state: 'running' as TaskState,
      health: 'starting' as Health,
      container: { id: container, hasCheck: true },
      ...(pid === undefined ? {} : { pid }),
      attachments: [{ networkId: 'n' as NetworkId, address: ip('172.17.0.2'), aliases: [] }],
      portMap: [],
      createdAt: 0,
      updatedAt: 0,
    };
    tasks.set(task.id, task);
    return task;
  };
  const docker = new DockerTasks({
    clock,
    log: SILENT_LOG,
    selections: new Set(['vipmesh']),
    engine: {
      containers: async () => [...there.keys()].map(id),
      close: () => undefined,
      inspect: async (full) => {
        const shape = there.get(full[0] ?? '');
        return shape && details(full[0] ?? '', shape);
      },
      kill: async (full, signal) => void sent.push(`${signal} to ${full[0]}`),
      follow: (listening, heard, signal) =>
        state.isAway
          ? Promise.reject(new Error('it is away'))
          : new Promise((resolve) => {
              hear = heard;
              hangUp = resolve;
              signal.addEventListener('abort', () => resolve());
              listening();
            }),
    },
    names: { set: () => undefined, sees: () => undefined, answer: async () => undefined },
    cannotEnter: () => options.cannotEnter === true,
    attached: {
      attach: async ({ Container, PID, Name }) => {
        state.attempts++;
        state.duringAttach();
        if (state.attachFails !== undefined) throw state.attachFails;
        return { task: make('attached', Container?.ID ?? '', PID, Name), warnings: [] };
      },
      ended: async (task) => void tasks.delete(task),
      drained: () =>
        new Promise((resolve) => {
          drained = resolve;
        }),
    },
    registry: {
      tasks: () => [...tasks.values()],
      service: () => web,
      ensureService: async () => web,
      addBridged: async ({ Name }, _address, { id: container }) => make('bridged', container, undefined, Name),
      remove: async (task) => void tasks.delete(task),
      removeUnused: async () => void state.removedUnused++,
      isFree: (name) => ![...tasks.values()].some((task) => task.name === name),
      setState: async (task, to) => change(task, { state: to }),
      setHealth: async (task, health) => change(task, { health }),
      setNames: async (task, { name }) => change(task, { name }),
    },
  });
  t.teardown(() => docker.close());
  const settled = async () => {
    for (let i = 0; i < 200; i++) await Promise.resolve();
  };
  return {
    docker,
    clock,
    state,
    set: (letter: string, shape: Shape | undefined) => (shape ? there.set(letter, shape) : there.delete(letter)),
    start: async () => {
      docker.start();
      await settled();
    },
    event: async (letter: string, action: string, signal?: number) => {
      hear?.({ container: id(letter), action, ...(signal === undefined ? {} : { signal }) });
      await settled();
    },
    hangUp: async () => {
      hangUp?.();
      await settled();
    },
    advance: async (ms: number) => {
      await clock.advance(ms);
      await settled();
    },
    sent,
    drained: async () => {
      drained?.();
      await settled();
    },
    detach: (task: string) => tasks.delete(task as TaskId),
    shown: () => [...tasks.values()].map((one) => `${one.id} ${one.name} ${one.state} ${one.health}`),
  };
}

t.test('whatever order events come in, a container is one task', async (t) => {
  const r = rig();
  r.set('a', { health: 'healthy' });
  await r.start();
  t.same(r.shown(), ['task1 aa running healthy']);
  for (const action of ['start', 'connect', 'start', 'die', 'health_status: healthy']) await r.event('a', action);
  t.same(r.shown(), ['task1 aa running healthy'], 'the engine says that it runs: the rest is old news');
  r.set('a', { pid: 200, health: 'starting' });
  await r.event('a', 'start');
  t.same(r.shown(), ['task2 aa running starting'], 'another process is another task');
  r.set('a', { pid: 0 });
  await r.event('a', 'rename');
  t.same(r.shown(), [], 'nobody said that it died');
  r.set('b', { labels: {} });
  await r.event('b', 'start');
  t.same(r.shown(), [], 'whose labels name no service is left alone');
});

t.test('stopping, pausing, and signals that end nothing', async (t) => {
  const r = rig();
  r.set('a', {});
  await r.start();
  await r.event('a', 'kill', 1);
  t.same(r.shown(), ['task1 aa running starting'], 'SIGHUP');
  await r.event('a', 'kill', 15);
  t.same(r.shown(), ['task1 aa draining starting'], 'SIGTERM');
  await r.event('a', 'health_status: healthy');
  t.same(r.shown(), ['task1 aa draining starting'], 'whatever comes, it is leaving');
  await r.advance(14_000);
  t.same(r.shown(), ['task1 aa draining starting']);
  await r.advance(2000);
  t.same(r.shown(), ['task1 aa running starting'], 'it did not heed it, and is back');
  r.set('a', { paused: true });
  await r.event('a', 'pause');
  t.same(r.shown(), ['task1 aa draining starting']);
});

t.test('told to end when nothing is open to it', async (t) => {
  const r = rig();
  r.set('a', { stop: 'SIGCONT', labels: { 'vipmesh.service': 'web', 'vipmesh.stop-signal': 'SIGTERM' } });
  await r.start();
  await r.event('a', 'kill', 15);
  t.same(r.shown(), ['task1 aa running starting'], 'not what `docker stop` sends');
  await r.event('a', 'kill', 18);
  await r.advance(60_000);
  await r.event('a', 'kill', 18);
  t.same([r.shown(), r.sent], [['task1 aa draining starting'], []], 'however long it takes');
  await r.drained();
  t.same(r.sent, ['15 to a'], 'once');
  await r.event('a', 'kill', 15);
  t.same(r.shown(), ['task1 aa draining starting']);
  await r.advance(16_000);
  t.same(r.shown(), ['task1 aa running starting'], 'it did not heed it');
  await r.event('a', 'kill', 18);
  r.set('a', { pid: 0 });
  await r.event('a', 'die');
  await r.drained();
  t.same([r.shown(), r.sent], [[], ['15 to a']], 'it has ended by itself');
});

t.test('an engine that goes away takes nothing with it', async (t) => {
  const r = rig();
  r.set('a', {});
  r.set('b', {});
  await r.start();
  r.state.isAway = true;
  await r.hangUp();
  t.match(r.docker.problems, [/has ended/]);
  await r.advance(1000);
  t.match(r.docker.problems, ['it is away']);
  t.equal(r.shown().length, 2);
  r.set('a', undefined);
  r.set('c', {});
  r.state.isAway = false;
  await r.advance(1000);
  t.same(r.shown(), ['task2 bb running starting', 'task3 cc running starting'], 'what happened meanwhile is found');
  t.same(r.docker.problems, []);
});

t.test('what cannot be attached is tried again, or served where it is', async (t) => {
  const r = rig();
  r.set('a', {});
  r.state.attachFails = new Error('no address is left');
  await r.start();
  t.same(r.docker.problems, ['no address is left']);
  for (const ms of [5000, 10_000, 20_000, 40_000, 60_000, 60_000]) await r.advance(ms);
  t.equal(r.state.attempts, 7, 'ever more seldom');
  r.state.attachFails = undefined;
  await r.advance(60_000);
  t.same([r.shown(), r.docker.problems], [['task1 aa running starting'], []]);

  const near = rig({ cannotEnter: true });
  near.set('a', {});
  near.state.attachFails = new Error('not allowed');
  await near.start();
  await near.event('a', 'start');
  t.same(near.shown(), ['task1 aa running starting']);
  t.equal(near.state.attempts, 1, 'it is known by its address');
  near.set('a', { pid: 200 });
  await near.event('a', 'start');
  t.same([near.shown(), near.state.attempts], [['task2 aa running starting'], 2], 'and tried again when it runs anew');
  near.set('a', { pid: 0 });
  await near.event('a', 'die');
  t.same(near.shown(), []);
});

t.test('a container that ends while it is attached', async (t) => {
  const r = rig({ cannotEnter: true });
  r.set('a', {});
  r.state.attachFails = new Error('no process 100 runs on this node');
  r.state.duringAttach = () => r.set('a', { pid: 0 });
  await r.start();
  t.same([r.shown(), r.docker.problems], [[], []], 'is not served at its address');
  r.set('a', { pid: 200 });
  r.state.duringAttach = () => {
    r.set('a', { pid: 300 });
    // Only the first of the two attempts is too late.
    if (r.state.attempts > 2) r.state.attachFails = undefined;
  };
  await r.event('a', 'start');
  t.same([r.shown(), r.state.attempts], [['task1 aa running starting'], 3], 'is attached when it runs again');
});

t.test('detached by hand; and the last one of a service', async (t) => {
  const r = rig();
  r.set('a', {});
  await r.start();
  r.detach('task1');
  await r.event('a', 'health_status: healthy');
  await r.event('a', 'kill', 15);
  t.same(r.shown(), [], 'it stays so');
  r.set('a', { pid: 200 });
  await r.event('a', 'start');
  t.same(r.shown(), ['task2 aa running starting'], 'until it is started again');
  await r.advance(5000);
  t.equal(r.state.removedUnused, 1, 'after the list');
  r.set('a', undefined);
  await r.event('a', 'destroy');
  t.equal(r.state.removedUnused, 1, 'not at once');
  await r.advance(5000);
  t.equal(r.state.removedUnused, 2);
});
