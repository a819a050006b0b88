// The whole way of a task: `vipmesh run` as a process, the API's socket, and the agent's side, which is replaced meanwhile.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { ApiContext, TaskRunner } from '../../src/api/context.ts';
import { startApiServer } from '../../src/api/server.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { NetworkId } from '../../src/model/network.ts';
import type { ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ProcessTasks } from '../../src/tasks/process.ts';
import { systemProcesses } from '../../src/tasks/process-table.ts';

const PROGRAM = fileURLToPath(new URL('../support/run-command.js', import.meta.url));
const SERVER = ['--service', 'web', '--', 'sh', '-c', 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'];

/** What survives an agent: its records and its socket's path. */
class Node {
  readonly folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  readonly socket = join(this.folder, 'agent.sock');
  readonly records = new Map<string, Task>();
  readonly #changed = new Set<() => void>();

  /** Resolves when the records fulfil the condition. */
  until(holds: (tasks: readonly Task[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds([...this.records.values()])) return;
        this.#changed.delete(look);
        resolve();
      };
      this.#changed.add(look);
      look();
    });
  }

  async startAgent(): Promise<{ stop(): Promise<void> }> {
    const tasks = new ProcessTasks({
      clock: systemClock,
      log: SILENT_LOG,
      registry: {
        add: async () => {
          const now = Date.now();
          const task: Task = {
            id: `task${this.records.size + 1}` as TaskId,
            serviceId: 'web' as ServiceId,
            slot: 1,
            name: 'web.1',
            nodeId: 'node' as Task['nodeId'],
            source: 'process',
            state: 'starting',
            health: 'none',
            attachments: [{ networkId: 'net' as NetworkId, address: '127.64.0.5' as IpAddress, aliases: [] }],
            portMap: [],
            createdAt: now,
            updatedAt: now,
          };
          this.#put(task);
          return task;
        },
        task: (id) => this.records.get(id),
        service: () => undefined,
        network: () => undefined,
        setState: async (id, state, pid) => {
          const task = this.records.get(id);
          if (task) this.#put({ ...task, state, updatedAt: Date.now(), ...(pid === undefined ? {} : { pid }) });
        },
        remove: async (id) => {
          this.records.delete(id);
          this.#tell();
        },
      },
      containers: { attach: async () => null, detach: async () => {} },
      processes: systemProcesses,
      activeConnections: () => 0,
      applied: async () => {},
      nodeResolvConf: () => '',
    });
    await tasks.recover([...this.records.values()]);
    const runner: TaskRunner = tasks;
    const context = { facts: { version: 'test' }, tasks: runner, subscribe: () => () => {} } as unknown as ApiContext;
    const api = await startApiServer({ socket: this.socket, mode: 0o600, context, log: SILENT_LOG });
    return {
      stop: async () => {
        tasks.close();
        await api.close();
      },
    };
  }

  #put(task: Task): void {
    this.records.set(task.id, task);
    this.#tell();
  }

  #tell(): void {
    for (const look of this.#changed) look();
  }
}

function vipmeshRun(t: Test, node: Node): { child: ChildProcess; ended: Promise<number | null> } {
  const child = spawn(process.execPath, [PROGRAM, '--host', node.socket, ...SERVER], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return { child, ended: new Promise((resolve) => child.once('close', resolve)) };
}

const running = (tasks: readonly Task[]) => tasks.some((task) => task.state === 'running' && task.pid !== undefined);

t.test('a task outlives its agent, and ends with its command', async (t) => {
  const node = new Node();
  t.teardown(() => rmSync(node.folder, { recursive: true }));
  let agent = await node.startAgent();
  const { child, ended } = vipmeshRun(t, node);
  await node.until(running);
  const before = node.records.get('task1');
  await agent.stop();
  t.same(node.records.get('task1'), before, 'an agent that stops leaves the task alone');
  agent = await node.startAgent();
  child.kill('SIGTERM');
  await node.until((tasks) => tasks.some((task) => task.state === 'draining'));
  t.match(node.records.get('task1'), { pid: before?.pid, attachments: before?.attachments }, 'the same task');
  t.equal(await ended, 5);
  await node.until((tasks) => tasks.length === 0);
  await agent.stop();
});

t.test('kill -9 of `vipmesh run`: the task ends when its command does', async (t) => {
  const node = new Node();
  t.teardown(() => rmSync(node.folder, { recursive: true }));
  const agent = await node.startAgent();
  const { child, ended } = vipmeshRun(t, node);
  await node.until(running);
  const pid = node.records.get('task1')?.pid ?? 0;
  child.kill('SIGKILL');
  await ended;
  t.ok(systemProcesses.find(pid), 'the command goes on');
  t.equal(node.records.size, 1);
  process.kill(pid, 'SIGKILL');
  await node.until((tasks) => tasks.length === 0);
  await agent.stop();
});

t.test('a command that ended while no agent was there', async (t) => {
  const node = new Node();
  t.teardown(() => rmSync(node.folder, { recursive: true }));
  const agent = await node.startAgent();
  const { ended } = vipmeshRun(t, node);
  await node.until(running);
  await agent.stop();
  process.kill(node.records.get('task1')?.pid ?? 0, 'SIGKILL');
  t.equal(await ended, 137);
  const next = await node.startAgent();
  t.equal(node.records.size, 0, 'gone before the next agent answers');
  await next.stop();
});
