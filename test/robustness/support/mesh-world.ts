// Control, catalog and store, and a data plane that follows them, in this process: everything of an agent but its API and its
// timers. What the workers are told is kept, so that a test can see what they would still know.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Containers } from '../../../src/agent/containers.ts';
import { kernelInstance } from '../../../src/agent/identity.ts';
import { Mesh } from '../../../src/agent/mesh.ts';
import { portProblem } from '../../../src/balancer/listener-set.ts';
import { Catalog } from '../../../src/catalog/catalog.ts';
import { Control } from '../../../src/control/control.ts';
import type { Command } from '../../../src/datapath/command.ts';
import { DataPlane } from '../../../src/datapath/plane.ts';
import { ReplayLog } from '../../../src/datapath/replay-log.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';
import { OverlayDriver } from '../../../src/overlay/driver.ts';
import type { Log } from '../../../src/runtime/log.ts';
import { newId, type Random } from '../../../src/runtime/random.ts';
import { openEmbeddedStore } from '../../../src/store/embedded.ts';
import type { Store } from '../../../src/store/store.ts';

const TURNS = 10;
/** Where writing is for nothing: these tests make thousands of commits, and what a disk does with them is not their subject. */
const MEMORY = '/dev/shm';

export interface MeshWorld {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly control: Control;
  readonly plane: DataPlane;
  readonly mesh: Mesh;
  readonly containers: Containers;
  /** What was logged as an error or a warning. */
  readonly complaints: readonly string[];
  /** The largest number of each kind that a worker was told, and the most that were there at once. */
  readonly numbers: Readonly<Record<'backend' | 'endpoint' | 'frontend', { highest: number; most: number }>>;
  /** Everything that was committed is in effect. */
  settled(): Promise<void>;
  /** All that a worker which starts now would be told. */
  known(): readonly Command[];
  close(): Promise<void>;
}

export interface MeshWorldOptions {
  readonly workers: number;
  /** Also overlay networks and containers: needs root, and a namespace of one's own. */
  readonly privileged: boolean;
  /** Ids are drawn from it: what is found in which order depends on them. */
  readonly random: Random;
}

export async function openMeshWorld(t: Test, { workers, privileged, random }: MeshWorldOptions): Promise<MeshWorld> {
  const directory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const complaints: string[] = [];
  const complain = (message: string, fields?: object) =>
    void complaints.push(`${message} ${JSON.stringify(fields, errorsAsText)}`);
  const log: Log = { debug() {}, info() {}, warn: complain, error: complain };
  const store = openEmbeddedStore({ directory, log });
  const catalog = await Catalog.open(store, { log });
  const control = await Control.open({
    store,
    catalog,
    log,
    nodeName: 'one',
    privileged,
    allowPlaintextOverlays: false,
    portProblem,
    newId: () => newId(random),
  });
  const plane = await DataPlane.start({ workers, log });
  const record = recordCommands(plane);
  const kernel = privileged ? new LinuxKernel() : undefined;
  const node = { id: control.nodeId };
  const overlay = kernel && new OverlayDriver({ instance: kernelInstance(control.nodeId), node, kernel, log });
  const mesh = new Mesh({ nodeId: control.nodeId, plane, log, ...(overlay === undefined ? {} : { overlay }) });
  const containers = new Containers(catalog, mesh, overlay);
  // As the agent does once the command of a task that was removed has ended.
  let detaching: Promise<unknown> = Promise.resolve();
  catalog.subscribe((after, before, changes) => {
    mesh.apply(after, before, changes);
    for (const change of changes) {
      const gone = change.kind === 'task' && change.after === undefined ? change.before : undefined;
      if (gone !== undefined) detaching = Promise.all([detaching, containers.detach(gone.id)]);
    }
  });
  mesh.start(catalog.snapshot);
  await mesh.settled();
  return {
    store,
    catalog,
    control,
    plane,
    mesh,
    containers,
    complaints,
    numbers: record.numbers,
    known: record.known,
    async settled() {
      await detaching;
      await mesh.settled();
      // Netlink sockets are closed by the event loop, a turn or two later.
      for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
      // Those that refuse have a number, too, of which no worker hears.
      record.numbers.frontend.most = Math.max(record.numbers.frontend.most, mesh.listeners.all().length);
    },
    async close() {
      await mesh.refuseNew();
      await mesh.close();
      await overlay?.removeAll();
      kernel?.close();
      await plane.stop(5000);
      control.close();
      catalog.close();
      await store.close();
    },
  };
}

function recordCommands(plane: DataPlane): Pick<MeshWorld, 'numbers' | 'known'> {
  const shared = new ReplayLog();
  const own = Array.from({ length: plane.workers }, () => new ReplayLog());
  const numbers = {
    backend: { highest: -1, most: 0 },
    endpoint: { highest: -1, most: 0 },
    frontend: { highest: -1, most: 0 },
  };
  const backends = new Map<number, readonly number[]>();
  const frontends = new Set<number>();
  const count = (kind: keyof typeof numbers, used: Iterable<number>, there: number) => {
    for (const number of used) numbers[kind].highest = Math.max(numbers[kind].highest, number);
    numbers[kind].most = Math.max(numbers[kind].most, there);
  };
  const watch = (command: Command) => {
    if (command.kind === 'backend-set') {
      const slots = command.backend.endpoints.map(({ slot }) => slot);
      backends.set(command.backend.id, slots);
      count('backend', [command.backend.id], backends.size);
      count('endpoint', slots, new Set([...backends.values()].flat()).size);
    }
    if (command.kind === 'backend-remove') backends.delete(command.id);
    if (command.kind === 'frontend-add') {
      frontends.add(command.frontend.id);
      count('frontend', [command.frontend.id], frontends.size);
    }
    if (command.kind === 'frontend-remove') frontends.delete(command.id);
  };
  const post = plane.post.bind(plane);
  plane.post = (command) => {
    watch(command);
    if (command.kind === 'frontend-remove') for (const log of own) log.note(command);
    else shared.note(command);
    post(command);
  };
  const postTo = plane.postTo.bind(plane);
  plane.postTo = (worker, command) => {
    watch(command);
    own[worker]?.note(command);
    postTo(worker, command);
  };
  return { numbers, known: () => [shared, ...own].flatMap((log) => log.commands()) };
}

/** Errors have no fields that JSON would show. */
function errorsAsText(_name: string, value: unknown): unknown {
  return value instanceof Error ? String(value) : value;
}
