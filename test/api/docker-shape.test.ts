// Our JSON against what a real Docker Engine 20.10 (API 1.41) printed: the fields that exist here have its names, types and
// nesting. The samples are that engine's answers, cut down to one object each.
import t, { type Test } from 'tap';
import {
  shapeInfo,
  shapeNetwork,
  shapeNetworkDetail,
  shapeNode,
  shapeTask,
  shapeVersion,
} from '../../src/api/docker-shape.ts';
import { shapeService } from '../../src/api/service-shape.ts';
import { dockerNetwork, dockerNode, dockerService, dockerTask, serviceDetail } from '../../src/api/schema.ts';
import { dockerInfo, dockerVersion } from '../../src/api/system-schema.ts';
import { shapeServiceDetail } from '../../src/api/vipmesh-shape.ts';
import { NODE } from '../support/builders.ts';
import { fakeApi } from '../support/fake-api.ts';
import { DOCKER } from '../support/docker-recorded.ts';

/** Maps whose keys are the user's or this network's own. */
const MAPS = ['Labels', 'Options', 'Containers', 'Services', 'Info', 'Details'];

/** Paths of all values, `[]` for items of lists and `*` for keys of maps: `Spec.EndpointSpec.Ports[].Protocol string`. */
function shapeOf(value: unknown, path: string, isMap = false): string[] {
  if (isMap) return [`${path} map`, ...Object.values(value ?? {}).flatMap((item) => shapeOf(item, `${path}.*`))];
  if (Array.isArray(value)) return value.flatMap((item) => shapeOf(item, `${path}[]`));
  if (typeof value !== 'object' || value === null) return [`${path} ${value === null ? 'null' : typeof value}`];
  return Object.entries(value).flatMap(([key, item]) => shapeOf(item, `${path}.${key}`, MAPS.includes(key)));
}

/** Fields that Docker does not have, by design; a task's name stands in its annotations, which were empty there. */
const OURS = /\.Vipmesh\.|\.HostIP |^\.PreviousSpec|^task\.Name /;
/** Known from Docker's documentation; the recorded /info was cut down, and API 1.41 had no EnableIPv4. */
const UNRECORDED =
  /^info\.(OSType|OperatingSystem|Architecture|NCPU|MemTotal|Labels|Plugins\.Network\[\]|DockerRootDir|Warnings\[\]|MemoryLimit|SwapLimit|KernelMemory|OomKillDisable|CpuCfsQuota|CpuCfsPeriod|CPUShares|CPUSet|IPv4Forwarding|BridgeNfIptables|BridgeNfIp6tables) |^network\.EnableIPv4 /;

function compare(t: Test, kind: keyof typeof DOCKER, ours: unknown) {
  const known = new Set(shapeOf(DOCKER[kind], kind));
  for (const one of new Set(shapeOf(ours, kind))) {
    if (!OURS.test(one) && !UNRECORDED.test(one)) t.ok(known.has(one), `Docker has ${one}`);
  }
}

const { context, snapshot } = fakeApi();
const source = { snapshot, revisionOf: context.revisionOf };
const objects = {
  web: snapshot.services.get('svc-web' as never),
  db: snapshot.services.get('svc-shop_db' as never),
  task: snapshot.tasks.get('task-web-1' as never),
  draining: snapshot.tasks.get('task-web-2' as never),
  network: snapshot.networks.get('net-backend' as never),
  node: snapshot.nodes.get(NODE),
};
const { web, db, task, draining, network, node } = objects;
if (!web || !db || !task || !draining || !network || !node) throw new Error('the fake shop is incomplete');

t.test('services', (t) => {
  const shaped = shapeService(web, source, true);
  compare(t, 'service', shaped);
  t.same(dockerService.parse(shaped), shaped, 'passes its own schema');
  t.match(shaped, {
    ID: 'svc-web',
    Version: { Index: 7 },
    CreatedAt: '2026-11-20T22:45:03.000Z',
    Spec: {
      Name: 'web',
      Labels: { tier: 'front' },
      TaskTemplate: {
        ContainerSpec: {},
        Networks: [{ Target: 'net-default', Aliases: ['www'] }],
      },
      Mode: { Replicated: { Replicas: 3 } },
      EndpointSpec: {
        Mode: 'vip',
        Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
      },
      Vipmesh: { Health: { HTTP: { Path: '/up' }, Interval: 1e9, Timeout: 5e8, Retries: 2 } },
    },
    Endpoint: { Spec: { Mode: 'vip' }, VirtualIPs: [{ NetworkID: 'net-default', Addr: '127.64.0.2/16' }] },
    ServiceStatus: { RunningTasks: 2, DesiredTasks: 3, CompletedTasks: 0 },
  });
  const dnsrr = shapeService(db, source);
  t.same(dnsrr.Endpoint, { Spec: {} }, 'a dnsrr service has no VIPs, as in Docker');
  t.same(dnsrr.Spec.Mode, { Global: {} });
  t.notOk('ServiceStatus' in dnsrr, 'only when it is asked for');
  t.end();
});

t.test('tasks', (t) => {
  const shaped = shapeTask(task, source);
  compare(t, 'task', shaped);
  t.same(dockerTask.parse(shaped), shaped);
  t.match(shaped, {
    Slot: 1,
    ServiceID: 'svc-web',
    NodeID: 'node1',
    Status: { State: 'running', Message: 'started', ContainerStatus: { PID: 99 } },
    DesiredState: 'running',
    NetworksAttachments: [{ Network: { ID: 'net-default', Spec: { Name: 'default' } }, Addresses: ['127.64.0.10/16'] }],
  });
  t.match(shapeTask({ ...draining, state: 'draining', health: 'none' }, source), {
    Status: { State: 'running', Message: 'draining' },
    DesiredState: 'shutdown',
  });
  t.match(shapeTask({ ...task, health: 'unhealthy' }, source), { Status: { State: 'running', Err: 'unhealthy' } });
  t.match(shapeTask({ ...task, health: 'starting' }, source), { Status: { State: 'starting' } });
  t.end();
});

t.test('networks', (t) => {
  const shaped = shapeNetworkDetail(network, source, context.facts);
  compare(t, 'network', shapeNetwork(network));
  compare(t, 'network', shaped);
  t.same(dockerNetwork.parse(shaped), shaped);
  t.match(shaped, {
    Name: 'backend',
    Id: 'net-backend',
    Scope: 'swarm',
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.64.0.0/24', Gateway: '10.64.0.1' }] },
    Internal: true,
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' },
    Services: { shop_db: { VIP: '<nil>', Tasks: [{ EndpointIP: '127.0.0.1', Info: { 'Host Name': 'alpha' } }] } },
  });
  t.end();
});

t.test('nodes, version, info', (t) => {
  compare(t, 'node', shapeNode(node, source, context.facts));
  compare(t, 'version', shapeVersion(context.facts));
  compare(t, 'info', shapeInfo(context.facts, snapshot, ['one']));
  t.same(dockerNode.parse(shapeNode(node, source, context.facts)).Description.Platform, {
    Architecture: 'x86_64',
    OS: 'linux',
  });
  t.ok(dockerVersion.parse(shapeVersion(context.facts)));
  t.ok(dockerInfo.parse(shapeInfo(context.facts, snapshot, [])));
  t.end();
});

t.test('why endpoints get no connections', (t) => {
  const detail = shapeServiceDetail(web, context);
  t.same(serviceDetail.parse(detail), detail);
  t.match(detail.Vipmesh, {
    Path: 'proxied',
    VIPs: [{ Network: 'default', Address: '127.64.0.2', Names: ['web', 'www'] }],
    Endpoints: [
      {
        Slot: 1,
        Eligible: true,
        Ports: [
          { TargetPort: 80, Port: 80 },
          { TargetPort: 81, Port: 81 },
        ],
      },
      { Slot: 2, Eligible: false, Reason: 'unhealthy' },
    ],
    Frontends: [
      { Address: '*', Port: 8080, State: 'listening' },
      { Port: 8081, State: 'blocked', Reason: 'another program has the port' },
      { Address: '127.64.0.2', Port: 80, Network: 'default', State: 'refusing' },
    ],
    Warnings: [],
  });
  t.notOk('Reason' in (detail.Vipmesh.Endpoints[0] ?? {}));
  t.match(shapeServiceDetail(db, context).Vipmesh, {
    Endpoints: [
      { Ports: [{ TargetPort: 5432, Port: 5433 }], Reason: 'a loopback address: eligible on its own node only' },
    ],
    Warnings: ['a warning of the node'],
  });
  t.end();
});

t.test('every reason', (t) => {
  const failing = {
    openConnections: 2,
    totalConnections: 9,
    connectFailures: 4,
    ejected: false,
    lastProbeFailure: 'connection refused',
  };
  const cases = [
    [{ state: 'starting' }, {}, /not been started/],
    [{ state: 'draining' }, {}, /draining/],
    [{ health: 'starting' }, failing, 'no healthy check yet: connection refused'],
    [{ health: 'unhealthy' }, failing, 'unhealthy: connection refused'],
    [{}, { ...failing, ejected: true }, /ejected/],
    [{ weight: 0 }, {}, /weight is 0/],
  ] as const;
  for (const [change, facts, reason] of cases) {
    const fake = fakeApi();
    const changed = { ...task, ...change };
    fake.snapshot = {
      ...snapshot,
      tasksByService: snapshot.tasksByService.set(
        web.id,
        snapshot.tasksByService.get(web.id)?.clear().set(task.id, changed) as never,
      ),
    };
    fake.endpointFacts = { [task.id]: { ...failing, ejected: false, ...facts } };
    t.match(shapeServiceDetail(web, fake.context).Vipmesh, {
      Endpoints: [{ Eligible: false, Reason: reason, OpenConnections: 2, TotalConnections: 9, ConnectFailures: 4 }],
      Warnings: ['no eligible endpoint: its ports are refused'],
    });
  }
  t.end();
});
