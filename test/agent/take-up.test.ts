// An agent that starts while other nodes join and commit: at each moment of its start, nothing of that is missed.
import t, { type Test } from 'tap';
import { allOf } from '../../src/agent/mesh.ts';
import { takeUp } from '../../src/agent/take-up.ts';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { Change } from '../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import { HealthMonitor } from '../../src/health/monitor.ts';
import type { Network, NetworkId } from '../../src/model/network.ts';
import { type Bridge, bridgeId, type NodeId, type Presence } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Service, ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { OverlayDriver } from '../../src/overlay/driver.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { encodeRecord, type StoredRecord } from '../../src/store/record.ts';
import { network as anyNetwork, ip, service, task } from '../support/builders.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeKernel } from '../support/fake-kernel.ts';
import { FakeCluster, FakeLink } from '../support/fake-store.ts';

const id = <T extends string>(text: string) => text.padEnd(25, 'x') as T;
const SELF = id<NodeId>('self');
const OTHER = id<NodeId>('other');

const back: Network = { ...anyNetwork('back', 'overlay', ['10.64.0.0/24']), id: id<NetworkId>('back'), vni: 4097 };
const web: Service = {
  ...service('web', { on: [{ network: back, vip: '10.64.0.9' }] }),
  id: id<ServiceId>('web'),
  networks: [{ networkId: back.id, aliases: [] }],
  vips: [{ networkId: back.id, address: ip('10.64.0.9') }],
};

function presence(nodeId: NodeId, address: string): Presence {
  const [at, probePort] = [ip(address), 7946 as PortNumber];
  return { id: nodeId, instance: '0'.repeat(16), address: at, dataAddress: at, probePort, version: '0', startedAt: 0 };
}

function bridge(nodeId: NodeId, address: string): Bridge {
  return { id: bridgeId(back.id, nodeId), networkId: back.id, nodeId, addresses: [ip(address)] };
}

const there: Task = {
  ...task(web, 1, {}, { nodeId: OTHER }),
  id: id<TaskId>('there'),
  serviceId: web.id,
  attachments: [{ networkId: back.id, address: ip('10.64.0.3'), aliases: [] }],
};

/** This node was here before, and has its place on the network. */
const BEFORE: readonly StoredRecord[] = [
  { kind: 'network', value: back },
  { kind: 'service', value: web },
  { kind: 'bridge', value: bridge(SELF, '10.64.0.1') },
  { kind: 'presence', value: presence(SELF, '192.0.2.1') },
];
/** What a node that joins commits, one after another. */
const JOINING: readonly StoredRecord[] = [
  { kind: 'presence', value: presence(OTHER, '192.0.2.2') },
  { kind: 'bridge', value: bridge(OTHER, '10.64.0.254') },
  { kind: 'task', value: there },
];

interface Moments {
  /** The driver has read what there was, and makes it. */
  readonly adopting?: () => Promise<void>;
  /** It has done so, and the agent has not gone on yet. */
  readonly adopted?: () => Promise<void>;
  readonly settling?: () => Promise<void>;
}

/** Starts as an agent does, as far as the overlay goes; what happens meanwhile is the test's. */
async function start(catalog: Catalog, { adopting, adopted, settling }: Moments) {
  const kernel = new FakeKernel();
  const node = { id: SELF, cluster: { dataAddress: ip('192.0.2.1') } };
  const driver = new OverlayDriver({ instance: 'ab12cd', node, kernel, log: SILENT_LOG });
  const heard: { readonly from: Snapshot; readonly to: Snapshot }[] = [];
  let tail: Promise<unknown> = Promise.resolve();
  const apply = (to: Snapshot, from: Snapshot, changes: readonly Change[]): void => {
    heard.push({ from, to });
    tail = tail.then(() => driver.applyChanges(to, from, changes));
  };
  const clock = new FakeClock();
  await takeUp({
    nodeId: SELF,
    log: SILENT_LOG,
    catalog,
    mesh: {
      start: (snapshot) => apply(snapshot, EMPTY_SNAPSHOT, allOf(snapshot)),
      apply,
      openNodeResolver: () => {},
      settled: async () => {
        await settling?.();
        await tail;
      },
    },
    dns: { address: '127.0.0.11', port: 53 },
    monitor: new HealthMonitor({
      clock,
      random: { uint32: () => 0 } as never,
      log: SILENT_LOG,
      probe: () => Promise.reject(new Error('nothing is probed')),
      report: async () => {},
    }),
    containers: { specOf: () => undefined, adopted: () => {}, attach: async () => null, detach: async () => {} },
    overlay: {
      adopt: async (snapshot, specs) => {
        await adopting?.();
        const adoption = await driver.adopt(snapshot, specs);
        await adopted?.();
        return adoption;
      },
      verify: () => driver.verify(),
    },
    tasks: { recover: async () => {} },
    attached: { resume: async () => {}, recover: async () => {}, removed: () => {} },
    leavers: {
      clock,
      isHere: () => false,
      openConnections: () => 0,
      applied: async () => {},
      stop: () => {},
    },
  });
  await tail;
  return { kernel, driver, heard };
}

async function catalogOf(t: Test) {
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock });
  cluster.commit(BEFORE.map(encodeRecord));
  const store = new FakeLink(cluster);
  const catalog = await Catalog.open(store, { clock });
  t.teardown(() => {
    catalog.close();
    return store.close();
  });
  return { catalog, commit: (record: StoredRecord) => cluster.commit([encodeRecord(record)]).revision };
}

/** What of another node is in this one's kernel. */
function knownOf(kernel: FakeKernel): readonly string[] {
  const nodes = kernel.own.rulesets.get('vipmesh_ab12cd_tunnels')?.sets?.find(({ name }) => name === 'nodes_ipv4');
  const network = kernel.namespaces.get('vipmesh-ab12cd-backxxxx');
  const tunnel = (network?.forwarding ?? []).flatMap((entry) =>
    entry.kind === 'tunnel' ? [`${entry.mac} at ${entry.vtep}`] : [],
  );
  return [`may send: ${nodes?.elements.join(' ')}`, ...tunnel.sort()];
}

const ALL_OF_OTHER = [
  'may send: 192.0.2.1 192.0.2.2',
  '02:42:0a:40:00:03 at 192.0.2.2',
  '02:42:0a:40:00:fe at 192.0.2.2',
];

t.test('a node joins before the agent starts', async (t) => {
  const { catalog, commit } = await catalogOf(t);
  for (const record of JOINING) await catalog.at(commit(record));
  const { kernel } = await start(catalog, {});
  t.same(knownOf(kernel), ALL_OF_OTHER);
});

for (const moment of ['adopting', 'adopted', 'settling'] as const) {
  t.test(`a node joins while the agent is ${moment}`, async (t) => {
    const { catalog, commit } = await catalogOf(t);
    const join = async () => {
      for (const record of JOINING) await catalog.at(commit(record));
    };
    const { kernel, driver, heard } = await start(catalog, { [moment]: join });
    t.same(knownOf(kernel), ALL_OF_OTHER, 'it is no stranger to the tunnels, and what is on it is found');
    t.equal(await driver.repair(), 0, 'and so it is planned');
    for (const [i, { from }] of heard.entries())
      t.equal(from, i === 0 ? EMPTY_SNAPSHOT : heard[i - 1]?.to, 'each change leads on from the last');
    t.equal(heard.at(-1)?.to, catalog.snapshot);
    await catalog.at(commit({ kind: 'presence', value: presence(OTHER, '192.0.2.7') }));
    await driver.repair();
    t.match(knownOf(kernel), [/192\.0\.2\.7/, / at 192\.0\.2\.7/, / at 192\.0\.2\.7/], 'and it is followed');
  });
}

t.test('containers are looked into once they are served; what is then lost is let go of, or made anew', async (t) => {
  const { catalog, commit } = await catalogOf(t);
  const tasks = (['process', 'attached', 'process'] as const).map((source, i): Task => {
    const attachments = [{ networkId: back.id, address: ip(`10.64.0.${20 + i}`), aliases: [] }];
    return { ...there, id: id<TaskId>(`${source}${i}`), nodeId: SELF, source, attachments };
  });
  for (const value of tasks) await catalog.at(commit({ kind: 'task', value }));
  const [first, second, gone] = tasks.map((task) => task.id) as [TaskId, TaskId, TaskId];
  const said: string[] = [];
  const say = (what: string, taskId: TaskId) => said.push(`${what} ${taskId.replace(/x+$/, '')}`);
  let lost: (ids: readonly TaskId[]) => void = () => {};
  const clock = new FakeClock();
  const done = new Promise<void>((resolve) => {
    void takeUp({
      nodeId: SELF,
      log: { ...SILENT_LOG, warn: () => said.filter((one) => one.startsWith('detach')).length === 2 && resolve() },
      catalog,
      mesh: { start: () => said.push('serve'), apply: () => {}, openNodeResolver: () => {}, settled: async () => {} },
      dns: { address: '127.0.0.11', port: 53 },
      monitor: { watch: () => {}, unwatch: () => {} } as never,
      containers: {
        specOf: () => undefined,
        adopted: () => said.push('adopted'),
        attach: async (task) => {
          say('attach', task.id);
          return null;
        },
        detach: async (taskId) => void say('detach', taskId),
      },
      overlay: {
        adopt: async () => {
          const containers = [first, second].map((taskId) => ({ taskId, netnsPath: '/x', netnsFd: 1 }));
          return { containers, removed: [] };
        },
        verify: () => {
          said.push('verify');
          return new Promise((wake) => {
            lost = wake;
          });
        },
      },
      tasks: { recover: async () => {} },
      attached: {
        resume: async (task) => void say('resume', task.id),
        recover: async () => void said.push('recovered'),
        removed: (taskId) => void say('let go', taskId),
      },
      leavers: { clock, isHere: () => false, openConnections: () => 0, applied: async () => {}, stop: () => {} },
    }).then(() => lost([first, second]));
  });
  await done;
  const served = ['adopted', 'serve', 'resume attached1', 'attach process0', 'attach process2', 'recovered', 'verify'];
  const after = ['detach process0', 'attach process0', 'detach attached1', 'let go attached1'];
  t.same(said, [...served, ...after], `${gone.slice(0, 8)} had no namespace any more, and waits for the others`);
});

t.test('a snapshot as changes from nothing has all that the kernel is told of', async (t) => {
  const { catalog, commit } = await catalogOf(t);
  for (const record of JOINING) await catalog.at(commit(record));
  const { snapshot } = catalog;
  const again = applyChanges(EMPTY_SNAPSHOT, snapshot.revision, allOf(snapshot));
  for (const kind of ['presences', 'bridges', 'networks', 'services', 'tasks'] as const)
    t.same(again[kind], snapshot[kind], kind);
});
