import t from 'tap';
import { checkOf, formatTarget } from '../../src/health/plan.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { Network, NetworkId } from '../../src/model/network.ts';
import type { PortNumber, TargetPort } from '../../src/model/port.ts';
import {
  type HealthCheck,
  PROBE_DEFAULTS,
  type Service,
  type ServiceId,
  type ServiceSpec,
} from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';

const networks = new Map<string, Network>(
  (['local', 'overlay'] as const).map((driver) => [
    driver,
    {
      id: driver as NetworkId,
      spec: {
        name: driver,
        driver,
        subnets: [],
        ipv6: false,
        internal: false,
        attachable: true,
        labels: {},
        options: {},
      },
      subnets: [],
      createdAt: 0,
      updatedAt: 0,
    },
  ]),
);
const network = (id: NetworkId) => networks.get(id);

function service(spec: Partial<ServiceSpec>): Service {
  return {
    id: 'service' as ServiceId,
    spec: {
      name: 'web',
      labels: {},
      mode: { kind: 'replicated', replicas: 1 },
      endpointMode: 'vip',
      networks: [],
      publish: [],
      expose: [],
      endpoints: [],
      drainTimeoutMs: 0,
      ...spec,
    },
    networks: [],
    vips: [],
    ports: [],
    createdAt: 0,
    updatedAt: 0,
  };
}

function task(from: Partial<Task>, on = 'local'): Task {
  return {
    id: 'task' as TaskId,
    serviceId: 'service' as ServiceId,
    slot: 1,
    name: 'web.1',
    nodeId: 'node' as Task['nodeId'],
    source: 'process',
    state: 'running',
    health: 'none',
    attachments: on === '' ? [] : [{ networkId: on as NetworkId, address: '127.64.0.5' as IpAddress, aliases: [] }],
    portMap: [],
    createdAt: 0,
    updatedAt: 0,
    ...from,
  };
}

const port = (number: number, protocol: 'tcp' | 'udp' = 'tcp'): TargetPort => ({
  protocol,
  port: number as PortNumber,
});
const tcp: HealthCheck = { probe: { kind: 'tcp' }, ...PROBE_DEFAULTS };
const exec: HealthCheck = { ...tcp, probe: { kind: 'exec', command: ['true'], shell: false } };

t.test('who is probed, and where', async (t) => {
  const plain = task({});
  const fixed = task({ source: 'static' });
  const guest = task({ source: 'attached' });
  const rows: readonly (readonly [what: string, Partial<ServiceSpec>, Task, expected: string])[] = [
    ['a task without a check', { expose: [port(80)] }, plain, 'none'],
    ['a static endpoint without a check', { expose: [port(80)] }, fixed, 'tcp 127.64.0.5:80'],
    ['switched off', { expose: [port(80)], health: 'none' }, fixed, 'none'],
    [
      'the first declared TCP port',
      { expose: [port(53, 'udp'), port(80), port(81)], health: tcp },
      plain,
      'tcp 127.64.0.5:80',
    ],
    [
      'the port that the check names',
      { expose: [port(80)], health: { ...tcp, probe: { kind: 'tcp', port: 9 } } },
      plain,
      'tcp 127.64.0.5:9',
    ],
    [
      'as it is really served',
      { expose: [port(80)], health: tcp },
      task({ portMap: [{ targetPort: 80, port: 8001 }] }),
      'tcp 127.64.0.5:8001',
    ],
    ["the task's own port", { health: tcp }, task({ ownPort: 5432 }), 'tcp 127.64.0.5:5432'],
    ['UDP only, by default', { expose: [port(53, 'udp')] }, fixed, 'none'],
    ['UDP only, asked for', { expose: [port(53, 'udp')], health: tcp }, plain, 'tcp nowhere'],
    ['on no network', { expose: [port(80)], health: tcp }, task({}, ''), 'tcp nowhere'],
    ['a command in a task', { health: exec }, plain, 'exec inside the task'],
    ['never in an attached container', { expose: [port(80)], health: exec }, guest, 'tcp 127.64.0.5:80'],
    ['which has no TCP port', { expose: [port(53, 'udp')], health: exec }, guest, 'none'],
    ['an attached container without a check', { expose: [port(80)] }, guest, 'none'],
    ['never for a static endpoint', { expose: [port(80)], health: exec }, fixed, 'tcp 127.64.0.5:80'],
    [
      'http',
      { expose: [port(80)], health: { ...tcp, probe: { kind: 'http', path: '/' } } },
      plain,
      'http 127.64.0.5:80',
    ],
  ];
  for (const [what, spec, one, expected] of rows) {
    const plan = checkOf(service(spec), one, network);
    t.equal(plan === undefined ? 'none' : `${plan.check.probe.kind} ${formatTarget(plan.target)}`, expected, what);
  }
});

t.test('on an overlay, tasks are probed from inside, static endpoints from the node', async (t) => {
  const web = service({ expose: [port(80)], health: tcp });
  t.match(checkOf(web, task({}, 'overlay'), network)?.target, { networkId: 'overlay' });
  t.match(checkOf(web, task({ source: 'attached' }, 'overlay'), network)?.target, { networkId: 'overlay' });
  t.notMatch(checkOf(web, task({ source: 'static' }, 'overlay'), network)?.target, { networkId: 'overlay' });
});

t.test('a check introduces itself on the ports that clients are introduced on', async (t) => {
  const http = (port?: number): HealthCheck => ({
    probe: { kind: 'http', path: '/up', ...(port === undefined ? {} : { port }) },
    ...PROBE_DEFAULTS,
  });
  const plan = (health: HealthCheck, proxyProtocol?: 'v2') =>
    checkOf(service({ health, expose: [port(80)], ...(proxyProtocol && { proxyProtocol }) }), task({}), network)
      ?.target;
  t.match(plan(http(), 'v2'), { kind: 'address', port: 80, proxyProtocol: 'v2' });
  t.match(plan(http(80), 'v2'), { proxyProtocol: 'v2' });
  for (const target of [plan(http(9000), 'v2'), plan(http())]) t.notOk(target && 'proxyProtocol' in target);
});

t.test('what cannot be probed says why', async (t) => {
  const plan = checkOf(service({ health: tcp }), task({}), network);
  t.match(plan?.target, { kind: 'missing', reason: /service web declares no TCP port/ });
});
