// Flags of `service create` and `service update` → the spec that is sent.
import t from 'tap';
import type { DockerServiceSpec } from '../../src/api/schema.ts';
import { applyHealthFlags } from '../../src/cli/health-flags.ts';
import { limitsText } from '../../src/cli/limit-flags.ts';
import { type CreateFlags, createdSpec, type UpdateFlags, updatedSpec } from '../../src/cli/service-spec.ts';

const SECOND = 1_000_000_000;

t.test('create: everything', (t) => {
  const flags: CreateFlags = {
    network: ['backend', 'name=front,alias=www'],
    publish: ['8080:80', '8080:80', '53:53/udp'],
    expose: ['9000', '9000/tcp'],
    label: ['tier=front'],
    endpoint: [
      '10.0.0.5',
      '10.0.0.5:5432',
      '80=10.0.0.6:8080',
      '[fd00::1]:81',
      'fd00::2',
      '10.0.0.7:80,weight=0',
      'fd00::3,weight=4',
    ],
    endpointMode: 'dnsrr',
    replicas: '3',
    healthHttp: ':8080/up 204',
    healthInterval: '5s',
    healthRetries: '4',
    drainTimeout: '1m30s',
    updateOrder: 'start-first',
  };
  t.same(createdSpec(['web'], flags), {
    Name: 'web',
    Labels: { tier: 'front' },
    TaskTemplate: {
      ContainerSpec: {},
      Networks: [{ Target: 'backend' }, { Target: 'front', Aliases: ['www'] }],
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: 3 } },
    UpdateConfig: { Order: 'start-first' },
    EndpointSpec: {
      Mode: 'dnsrr',
      Ports: [
        { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
        { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'ingress' },
      ],
    },
    Vipmesh: {
      Health: { HTTP: { Path: '/up', Port: 8080, Status: 204 }, Interval: 5 * SECOND, Retries: 4 },
      Expose: [{ Protocol: 'tcp', Port: 9000 }],
      Endpoints: [
        { Address: '10.0.0.5' },
        { Address: '10.0.0.5', Port: 5432 },
        { Address: '10.0.0.6', TargetPort: 80, Port: 8080 },
        { Address: 'fd00::1', Port: 81 },
        { Address: 'fd00::2' },
        { Address: '10.0.0.7', Port: 80, Weight: 0 },
        { Address: 'fd00::3', Weight: 4 },
      ],
      DrainTimeout: 90 * SECOND,
    },
  });
  t.match(createdSpec([], { name: 'web', mode: 'global' }), { Name: 'web', Mode: { Global: {} } });
  t.match(createdSpec(['web'], {}), { Mode: { Replicated: { Replicas: 1 } }, EndpointSpec: { Mode: 'vip' } });
  t.end();
});

t.test('create: what cannot be meant', (t) => {
  for (const [words, flags, why] of [
    [[], {}, /needs a name/],
    [['nginx:latest'], {}, /"nginx:latest" looks like an image.*vipmesh runs no images.*vipmesh run --service/],
    [['registry.local/nginx'], {}, /looks like an image/],
    [['nginx'], { name: 'web' }, /by --name web, so "nginx" has no meaning/],
    [['web', 'sleep', '1'], {}, /then "sleep" has no meaning/],
    [['web'], { mode: 'global', replicas: '2' }, /--replicas is for --mode replicated/],
    [['web'], { replicas: '-1' }, /--replicas should be a whole number from 0, not "-1"/],
    [['web'], { replicas: '1.5' }, /--replicas should be/],
    [['web'], { drainTimeout: '10' }, /--drain-timeout should be a duration/],
    [['web'], { endpoint: ['db.example.com:5432'] }, /--endpoint "db\.example\.com:5432" should be ADDRESS/],
    [['web'], { endpoint: ['10.0.0.5:0'] }, /--endpoint "10\.0\.0\.5:0"/],
    [['web'], { endpoint: ['10.0.0.5:1,weight=257'] }, /weight=N \(0 to 256\)/],
    [['web'], { healthInterval: '5s' }, /nothing to check yet/],
  ] as const) {
    t.throws(() => createdSpec(words, flags), { code: 'USAGE', message: why });
  }
  t.end();
});

t.test('--health flags', (t) => {
  const command = { Test: ['CMD-SHELL', 'up'], Interval: 60 * SECOND, Retries: 5 };
  const probe = { TCP: {}, Interval: 2 * SECOND };
  for (const [flags, before, after] of [
    [{}, {}, {}],
    [{}, { command }, { command }],
    [{ healthCmd: 'pg_isready' }, {}, { command: { Test: ['CMD-SHELL', 'pg_isready'] } }],
    [{ healthCmd: 'new' }, { command }, { command: { ...command, Test: ['CMD-SHELL', 'new'] } }],
    [{ healthTcp: true }, {}, { probe: { TCP: {} } }],
    [{ healthTcp: '5432' }, { command }, { probe: { TCP: { Port: 5432 } } }],
    [{ healthHttp: '/up' }, { probe }, { probe: { HTTP: { Path: '/up' }, Interval: 2 * SECOND } }],
    [{ healthCmd: 'up' }, { probe }, { command: { Test: ['CMD-SHELL', 'up'] } }],
    [{ healthTimeout: '500ms' }, { probe }, { probe: { ...probe, Timeout: SECOND / 2 } }],
    [{ healthStartPeriod: '1m' }, { command }, { command: { ...command, StartPeriod: 60 * SECOND } }],
    [{ healthcheck: false }, { command }, { command: { Test: ['NONE'] } }],
    [{ healthcheck: true, healthTcp: true }, { command: { Test: ['NONE'] } }, { probe: { TCP: {} } }],
    [{ healthCmd: '' }, { command }, {}],
    [{ healthCmd: '' }, { probe }, {}],
  ] as const) {
    const [have, want] = [before, after].map((health) => JSON.parse(JSON.stringify(health)));
    t.same(applyHealthFlags(flags, have), want, JSON.stringify(flags));
  }
  for (const [flags, why] of [
    [{ healthcheck: false, healthTcp: true }, /--no-healthcheck contradicts/],
    [{ healthcheck: false, healthRetries: '1' }, /--no-healthcheck contradicts/],
    [{ healthCmd: 'a', healthHttp: '/' }, /not several/],
    [{ healthTcp: 'web' }, /--health-tcp "web" is no port.*put the flag last/],
    [{ healthHttp: 'up' }, /--health-http should be/],
    [{ healthHttp: ':0/up' }, /--health-http should be/],
    [{ healthHttp: '/up 999' }, /--health-http should be/],
    [{ healthTcp: true, healthInterval: '1' }, /--health-interval should be a duration/],
    [{ healthTcp: true, healthRetries: 'x' }, /--health-retries should be a whole number/],
  ] as const) {
    t.throws(() => applyHealthFlags(flags, {}), { code: 'USAGE', message: why });
  }
  t.end();
});

const SPEC: DockerServiceSpec = {
  Name: 'web',
  Labels: { tier: 'front', old: '1' },
  TaskTemplate: {
    ContainerSpec: { Image: 'kept', Healthcheck: { Test: ['CMD-SHELL', 'up'] } },
    Networks: [{ Target: 'net1', Aliases: ['www'] }],
    ForceUpdate: 3,
    Runtime: 'container',
    Placement: { Constraints: ['kept'] },
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: { Parallelism: 2, Order: 'stop-first' },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
  },
  Vipmesh: {
    Expose: [{ Protocol: 'tcp', Port: 9000, Name: 'admin' }],
    Endpoints: [],
    DrainTimeout: 10 * SECOND,
    OnUnhealthy: 'keep',
    Balance: { Method: 'round-robin', Affinity: 0, LocalFirst: false },
  },
};

const ids: Readonly<Record<string, string>> = { front: 'net1', back: 'net2' };

function update(flags: UpdateFlags) {
  return updatedSpec({ Spec: SPEC }, flags, (name) => ids[name] ?? name);
}

t.test('update: only what was said changes', (t) => {
  t.same(update({}).spec, { ...SPEC, Vipmesh: { ...SPEC.Vipmesh, Health: null } }, 'nothing said');
  const { spec, notes } = update({
    publishRm: ['80'],
    publishAdd: ['8081:80'],
    networkAdd: ['name=back,alias=api'],
    exposeAdd: ['9000', '9001/udp'],
    labelAdd: ['tier=back'],
    labelRm: ['old'],
    replicas: '5',
    endpointMode: 'dnsrr',
    updateOrder: 'start-first',
    healthTcp: true,
    drainTimeout: '0',
    onUnhealthy: 'close',
  });
  t.same(notes, []);
  t.same(spec, {
    ...SPEC,
    Labels: { tier: 'back' },
    TaskTemplate: {
      ...SPEC.TaskTemplate,
      ContainerSpec: { Image: 'kept' },
      Networks: [
        { Target: 'net1', Aliases: ['www'] },
        { Target: 'net2', Aliases: ['api'] },
      ],
    },
    Mode: { Replicated: { Replicas: 5 } },
    UpdateConfig: { Parallelism: 2, Order: 'start-first' },
    EndpointSpec: {
      Mode: 'dnsrr',
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8081, PublishMode: 'ingress' }],
    },
    Vipmesh: {
      Health: { TCP: {} },
      Expose: [
        { Protocol: 'tcp', Port: 9000, Name: 'admin' },
        { Protocol: 'udp', Port: 9001 },
      ],
      Endpoints: [],
      DrainTimeout: 0,
      OnUnhealthy: 'close',
      Balance: { Method: 'round-robin', Affinity: 0, LocalFirst: false },
    },
  });
  t.end();
});

t.test('limits', (t) => {
  const flags = { idleTimeout: '5m', maxConnections: '100', keepAlive: '1m30s' };
  t.same(createdSpec(['web'], flags).Vipmesh?.Limits, {
    IdleTimeout: 300 * SECOND,
    KeepAlive: 90 * SECOND,
    MaxConnections: 100,
  });
  t.equal(createdSpec(['web'], {}).Vipmesh?.Limits, undefined);
  const before = { ...SPEC, Vipmesh: { ...SPEC.Vipmesh, Limits: { IdleTimeout: 300 * SECOND, MaxConnections: 100 } } };
  const change = (wanted: UpdateFlags) => updatedSpec({ Spec: before }, wanted, (name) => name).spec.Vipmesh?.Limits;
  t.same(change({ maxConnections: '7' }), { IdleTimeout: 300 * SECOND, MaxConnections: 7 }, 'the others stay');
  t.same(change({ idleTimeout: 'off' }), { IdleTimeout: 0, MaxConnections: 100 });
  for (const [wrong, message] of [
    [{ maxConnections: '-1' }, /--max-connections should be a whole number from 1 to 1000000000, or "off", not "-1"/],
    [{ maxConnectionsPerClient: '2000000000' }, /--max-connections-per-client should be a whole number/],
    [{ idleTimeout: '10' }, /--idle-timeout should be a duration/],
    [{ maxDuration: '9000h' }, /--max-duration must be .*at most 24 days/],
    [{ keepAlive: '10ms' }, /--keep-alive must be from 1s to 9h, or "off", not "10ms"/],
  ] as const)
    t.throws(() => change(wrong), { code: 'USAGE', message });
  t.equal(
    limitsText({ IdleTimeout: 300 * SECOND, MaxConnections: 100 }),
    'idle timeout 5m, max connections 100',
    'as `inspect --pretty` shows them',
  );
  t.end();
});

t.test('--proxy-protocol', (t) => {
  t.equal(createdSpec(['web'], { proxyProtocol: 'v2' }).Vipmesh?.ProxyProtocol, 'v2');
  t.equal(update({ proxyProtocol: 'off' }).spec.Vipmesh?.ProxyProtocol, null);
  t.throws(() => update({ proxyProtocol: 'v3' }), {
    code: 'USAGE',
    message: /--proxy-protocol should be v1, v2 or off/,
  });
  t.end();
});

t.test('how connections are shared out', (t) => {
  t.notOk('Balance' in (createdSpec(['web'], {}).Vipmesh ?? {}), 'nothing said');
  t.same(createdSpec(['web'], { balance: 'random', affinity: '10m', localFirst: true }).Vipmesh?.Balance, {
    Method: 'random',
    Affinity: 600 * SECOND,
    LocalFirst: true,
  });
  const before = { Method: 'random', Affinity: SECOND, LocalFirst: true } as const;
  const changed = (flags: UpdateFlags) =>
    updatedSpec({ Spec: { ...SPEC, Vipmesh: { ...SPEC.Vipmesh, Balance: before } } }, flags, String).spec.Vipmesh
      ?.Balance;
  t.same(changed({ affinity: 'off' }), { ...before, Affinity: 0 });
  t.same(changed({ localFirst: false }), { ...before, LocalFirst: false });
  t.throws(() => changed({ balance: 'fair' }), {
    code: 'USAGE',
    message: /--balance should be round-robin, .*, not "fair"/,
  });
  t.throws(() => changed({ affinity: 'long' }), { code: 'USAGE', message: /--affinity/ });
  t.end();
});

t.test('--dns-ttl, and a new name for a port', (t) => {
  t.same(createdSpec(['web'], { dnsTtl: '30s' }).Vipmesh?.DNSTTL, 30 * SECOND);
  t.same(update({ dnsTtl: '0' }).spec.Vipmesh?.DNSTTL, 0);
  t.same(update({ dnsTtl: 'network' }).spec.Vipmesh?.DNSTTL, null);
  for (const text of ['', '1m', '1.5', '-1', '3601', 'x'])
    t.throws(
      () => update({ dnsTtl: text }),
      { code: 'USAGE', message: /--dns-ttl should be seconds from 0 to 3600/ },
      text,
    );
  t.same(update({ exposeAdd: ['target=9000,name=http'] }).spec.Vipmesh?.Expose, [
    { Protocol: 'tcp', Port: 9000, Name: 'http' },
  ]);
  t.end();
});

t.test('update: going', (t) => {
  const { spec, notes } = update({ publishRm: ['80', '443'], networkRm: ['front', 'back'], exposeRm: ['9000'] });
  t.notOk('Ports' in (spec.EndpointSpec ?? {}), 'no port is no list of ports, as in Docker');
  t.same(spec.TaskTemplate?.Networks, []);
  t.same(spec.Vipmesh?.Expose, []);
  t.same(notes, [
    '--publish-rm 443: no such target port is published',
    '--network-rm back: web is not on that network',
  ]);
  const moved = update({ networkRm: ['front'], networkAdd: ['name=front,alias=new'] });
  t.same(
    moved.spec.TaskTemplate?.Networks,
    [{ Target: 'net1', Aliases: ['new'] }],
    'gone and come back with other names',
  );
  t.throws(() => update({ networkAdd: ['front'] }), { code: 'FAILED', message: 'web is on network front already' });
  const global = { Spec: { ...SPEC, Mode: { Global: {} } } };
  t.throws(() => updatedSpec(global, { replicas: '2' }, String), { code: 'FAILED', message: /its mode is global/ });
  t.end();
});
