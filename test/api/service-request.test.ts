// Docker's spec to ours and back: nothing that is understood changes on the way, and what is not understood is kept.
import fc from 'fast-check';
import t from 'tap';
import { serviceSpecRequest } from '../../src/api/requests.ts';
import { serviceSpecOf, withName } from '../../src/api/service-request.ts';
import { shapeServiceSpec } from '../../src/api/service-shape.ts';
import type { IpAddress, Subnet } from '../../src/model/address.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { HealthCheck, ServiceSpec } from '../../src/model/service.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { network, snapshot } from '../support/builders.ts';
import { STACK_LABEL } from '../../src/model/name.ts';

const MESH = snapshot({ networks: [network('back'), network('front')] });

function read(request: unknown, before?: ServiceSpec): ServiceSpec {
  return serviceSpecOf(serviceSpecRequest.parse(request), MESH, before);
}

function refused(request: object, before?: ServiceSpec): string {
  try {
    read(request, before);
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return 'taken';
}

/** As a client has it after it has decoded the answer and encoded it again. */
function json(value: unknown): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

const port = fc.integer({ min: 1, max: 65535 }) as fc.Arbitrary<PortNumber>;
const labels = fc.dictionary(fc.stringMatching(/^[a-z.]{1,5}$/), fc.string({ maxLength: 5 }), { maxKeys: 3 });
const ms = fc.integer({ min: 1, max: 100_000 });
const timing = fc.record({
  intervalMs: ms,
  timeoutMs: ms,
  retries: fc.integer({ min: 1, max: 9 }),
  startPeriodMs: fc.integer({ min: 0, max: 9000 }),
});
const probe: fc.Arbitrary<HealthCheck['probe']> = fc.oneof(
  fc.record({ kind: fc.constant('tcp' as const), port }, { requiredKeys: ['kind'] }),
  fc.record(
    {
      kind: fc.constant('http' as const),
      path: fc.constant('/up'),
      port,
      expectStatus: fc.integer({ min: 100, max: 599 }),
    },
    { requiredKeys: ['kind', 'path'] },
  ),
  fc.record({
    kind: fc.constant('exec' as const),
    command: fc.array(fc.string(), { minLength: 1, maxLength: 3 }),
    shell: fc.boolean(),
  }),
);
const health = fc.oneof(
  fc.constant('none' as const),
  fc.tuple(probe, timing).map(([probe, timing]): HealthCheck => ({ probe, ...timing })),
);
const publish = fc.record(
  {
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    targetPort: port,
    publishedPort: port,
    mode: fc.constantFrom('ingress' as const, 'host' as const),
    hostAddress: fc.constantFrom('10.0.0.1', 'fd00::1'),
    name: fc.constant('http'),
  },
  { requiredKeys: ['protocol', 'targetPort', 'mode'] },
);
const specs: fc.Arbitrary<ServiceSpec> = fc.record(
  {
    name: fc.constant('web'),
    labels,
    mode: fc.oneof(
      fc.constant({ kind: 'global' as const }),
      fc.record({ kind: fc.constant('replicated' as const), replicas: fc.nat(50) }),
    ),
    endpointMode: fc.constantFrom('vip' as const, 'dnsrr' as const),
    networks: fc.constantFrom(
      [],
      [{ network: 'back', aliases: [] }],
      [
        { network: 'front', aliases: ['www', 'api'] },
        { network: 'elsewhere', aliases: [] },
      ],
    ),
    publish: fc.array(publish, { maxLength: 3 }),
    expose: fc.array(
      fc.record(
        { protocol: fc.constantFrom('tcp' as const, 'udp' as const), port, name: fc.constant('http') },
        { requiredKeys: ['protocol', 'port'] },
      ),
      { maxLength: 3 },
    ),
    endpoints: fc.array(
      fc.record(
        {
          address: fc.constantFrom('10.1.0.1', 'fd00::2') as fc.Arbitrary<IpAddress>,
          targetPort: port,
          port,
          weight: fc.nat(256),
        },
        { requiredKeys: ['address'] },
      ),
      { maxLength: 3 },
    ),
    health,
    balance: fc.constantFrom(
      { method: 'source-hash' as const },
      { affinityMs: 1500 },
      { method: 'random' as const, affinityMs: 1, localFirst: true as const },
    ),
    limits: fc.constantFrom(
      { idleTimeoutMs: 1 },
      { connectTimeoutMs: 250, maxDurationMs: 86_400_000, halfClosedTimeoutMs: 30_000, keepAliveMs: 60_000 },
      { maxConnections: 1, maxConnectionsPerClient: 1_000_000_000 },
    ),
    proxyProtocol: fc.constantFrom('v1' as const, 'v2' as const),
    access: fc.constantFrom(
      { allow: ['10.0.0.0/8' as Subnet] },
      { deny: ['fd00::/8' as Subnet], acceptProxy: ['10.0.0.1/32' as Subnet, '::/0' as Subnet] },
    ),
    drainTimeoutMs: fc.nat(100_000),
    dnsTtlS: fc.nat(3600),
    docker: fc.constantFrom(
      { TaskTemplate: { ContainerSpec: { Image: 'nginx:1' }, ForceUpdate: 3 } },
      { UpdateConfig: { Order: 'start-first', Parallelism: 2 }, EndpointSpec: { Odd: [1, { x: 'y' }] } },
    ),
  },
  {
    requiredKeys: [
      'name',
      'labels',
      'mode',
      'endpointMode',
      'networks',
      'publish',
      'expose',
      'endpoints',
      'drainTimeoutMs',
    ],
  },
);

t.test('property: a spec that is shown and sent again is the same', (t) => {
  fc.assert(
    fc.property(specs, fc.boolean(), (spec, isUpdate) => {
      const shown = json(shapeServiceSpec(spec, MESH));
      t.strictSame(json(read(shown, isUpdate ? spec : undefined)), json(spec));
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test("property: what Docker's client drops stays", (t) => {
  fc.assert(
    fc.property(specs, (spec) => {
      const { Vipmesh: _, ...sent } = json(shapeServiceSpec(spec, MESH));
      for (const one of (sent.EndpointSpec as { Ports?: { HostIP?: string }[] }).Ports ?? [])
        one.HostIP = undefined as never;
      // Ports that differ in their address alone cannot be told apart without it.
      fc.pre(
        new Set(spec.publish.map(({ hostAddress: _, ...rest }) => JSON.stringify(rest))).size === spec.publish.length,
      );
      t.strictSame(json(read(sent, spec)), json(spec));
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test("what Docker's clients mean by leaving out", (t) => {
  const plain: ServiceSpec = {
    name: 'web',
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: [],
    publish: [],
    expose: [],
    endpoints: [],
    drainTimeoutMs: 10_000,
  };
  t.strictSame(read({ Name: 'web' }), plain);
  t.strictSame(
    read({
      Name: 'web',
      Labels: null,
      Mode: {},
      TaskTemplate: null,
      EndpointSpec: null,
      Networks: null,
      Vipmesh: null,
    }),
    plain,
  );
  t.strictSame(
    read({
      Name: 'web',
      Mode: { Replicated: {} },
      TaskTemplate: {
        ContainerSpec: { Healthcheck: { Test: [] } },
        Networks: null,
        Runtime: '',
        ForceUpdate: 0,
      },
      EndpointSpec: { Mode: '', Ports: null },
      UpdateConfig: null,
    }),
    plain,
  );
  t.match(read({ Name: 'web', EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 0 }] } }), {
    publish: [{ protocol: 'tcp', targetPort: 80, mode: 'ingress' }],
  });
  t.match(read({ Name: 'web', Networks: [{ Target: 'net-back', Aliases: null }] }), {
    networks: [{ network: 'back', aliases: [] }],
  });
  t.end();
});

t.test('the name within a stack is no alias, and is shown as one, as Docker does', (t) => {
  const request = (Aliases: string[], Name = 'shop_web', Labels: object = { [STACK_LABEL]: 'shop' }) => ({
    Name,
    Labels,
    Networks: [{ Target: 'net-back', Aliases }],
  });
  const aliases = (spec: ServiceSpec) => spec.networks[0]?.aliases;
  const shown = (spec: ServiceSpec) => shapeServiceSpec(spec, MESH).TaskTemplate.Networks[0]?.Aliases;
  const spec = read(request(['web', 'www']));
  t.same([aliases(spec), shown(spec)], [['www'], ['www', 'web']]);
  t.same(aliases(read(request(['web'], 'web', {}))), ['web'], 'of no stack');
  const written = { ...spec, networks: [{ network: 'back', aliases: ['web'] }] };
  t.same(shown(written), ['web']);
  t.same(aliases(read(request(['web']), written)), ['web'], 'somebody wrote it');
  t.end();
});

t.test('a name from the image', (t) => {
  const named = (Image: unknown, Name?: unknown) =>
    withName({ Name, TaskTemplate: { ContainerSpec: { Image } }, Labels: {} }, seededRandom(1));
  for (const [image, name] of [
    ['nginx', /^nginx-[a-z0-9]{4}$/],
    ['registry.example:5000/shop/Web_api:1.4@sha256:abc', /^Web-api-[a-z0-9]{4}$/],
    ['___', /^service-[a-z0-9]{4}$/],
    ['x'.repeat(300), /^x{40}-[a-z0-9]{4}$/],
  ] as const)
    t.match(named(image, ''), { Name: name, TaskTemplate: { ContainerSpec: { Image: image } }, Labels: {} });
  for (const body of [undefined, 'text', { TaskTemplate: {} }, { Name: 'web' }])
    t.equal(withName(body, seededRandom(1)), body);
  t.match(named('nginx', 'web'), { Name: 'web' });
  t.match(named(''), { Name: undefined });
  t.end();
});

t.test('the check', (t) => {
  const command = { Test: ['CMD-SHELL', 'true'], Interval: 2e9 };
  const containing = (Healthcheck: unknown) => ({ Name: 'web', TaskTemplate: { ContainerSpec: { Healthcheck } } });
  const tcp = read({ Name: 'web', Vipmesh: { Health: { TCP: { Port: 80 } } } });
  t.strictSame(tcp.health, {
    probe: { kind: 'tcp', port: 80 },
    intervalMs: 1000,
    timeoutMs: 1000,
    retries: 2,
    startPeriodMs: 0,
  });
  t.strictSame(read(containing(command)).health, {
    probe: { kind: 'exec', command: ['true'], shell: true },
    intervalMs: 2000,
    timeoutMs: 30_000,
    retries: 3,
    startPeriodMs: 0,
  });
  t.match(read({ Name: 'web' }, tcp).health, { probe: { kind: 'tcp' } }, 'stays when nobody speaks of it');
  t.equal(read({ Name: 'web', Vipmesh: { Health: null } }, tcp).health, undefined, 'null removes it');
  t.match(read(containing(command), tcp).health, { probe: { kind: 'exec' } }, "Docker's check takes its place");
  t.equal(read(containing({ Test: ['NONE'] }), tcp).health, 'none');
  t.equal(
    read({ Name: 'web' }, read(containing(command))).health,
    undefined,
    "Docker's check goes when it is left out",
  );
  for (const Healthcheck of [
    { Test: [], Interval: 5e9 },
    { ...command, StartInterval: 1e9 },
  ]) {
    const { TaskTemplate } = shapeServiceSpec(read(containing(Healthcheck)), MESH);
    t.same(TaskTemplate.ContainerSpec.Healthcheck, Healthcheck, 'what is not used here is kept');
  }
  t.match(refused({ ...containing(command), Vipmesh: { Health: { TCP: {} } } }), /both given; a service has one check/);
  t.match(refused({ Name: 'web', Vipmesh: { Health: {} } }), /give either TCP or HTTP/);
  t.match(refused(containing({ Test: ['TCP', '80'] })), /written in Vipmesh.Health/);
  t.end();
});

t.test('the address of a published port', (t) => {
  const ports = (...Ports: object[]) => ({ Name: 'web', EndpointSpec: { Ports } });
  const bound = read(ports({ TargetPort: 80, PublishedPort: 8080, HostIP: '127.0.0.1' }));
  t.equal(bound.publish[0]?.hostAddress, '127.0.0.1');
  const kept = read(ports({ TargetPort: 80, PublishedPort: 8080 }, { TargetPort: 81 }), bound);
  t.same(
    kept.publish.map((one) => one.hostAddress),
    ['127.0.0.1', undefined],
  );
  t.notOk('hostAddress' in (read(ports({ TargetPort: 80, PublishedPort: 8080, HostIP: '' }), bound).publish[0] ?? {}));
  t.match(refused(ports({ TargetPort: 80, HostIP: 'localhost' })), /^BAD_REQUEST: .*"localhost" is no address/);
  t.end();
});

t.test('what is not supported is said', (t) => {
  for (const [request, message] of [
    [{ Mode: { ReplicatedJob: {} } }, /^NOT_SUPPORTED: .*mode ReplicatedJob/],
    [{ Mode: { Replicated: {}, Global: {} } }, /^BAD_REQUEST: .*not both/],
    [{ TaskTemplate: { Runtime: 'plugin' } }, /^NOT_SUPPORTED: .*"plugin"/],
    [{ TaskTemplate: { PluginSpec: { Name: 'x' } } }, /^NOT_SUPPORTED: .*PluginSpec/],
    [{ EndpointSpec: { Ports: [{ TargetPort: 80, Protocol: 'sctp' }] } }, /^NOT_SUPPORTED: .*sctp/],
    [{ EndpointSpec: { Ports: [{ PublishedPort: 80 }] } }, /^BAD_REQUEST: .*no TargetPort/],
    [{ Vipmesh: { Endpoints: [{ Address: 'db' }] } }, /^BAD_REQUEST: .*"db" is no IP address/],
    [{ Huge: 'x'.repeat(300_000) }, /^BAD_REQUEST: .*larger than 256 KiB/],
    [{ Deep: JSON.parse(`${'['.repeat(40)}${']'.repeat(40)}`) }, /^BAD_REQUEST: .*nested more than 32 deep/],
  ] as const)
    t.match(refused({ Name: 'web', ...request }), message);
  t.end();
});
