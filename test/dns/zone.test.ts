import fc from 'fast-check';
import t from 'tap';
import type { Change } from '../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { DnsCommand } from '../../src/dns/command.ts';
import { AnswerTable } from '../../src/dns/answer-table.ts';
import { Claims } from '../../src/dns/claims.ts';
import { NameIndex } from '../../src/dns/name-index.ts';
import { Zones } from '../../src/dns/zone.ts';
import type { NetworkId } from '../../src/model/network.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Service } from '../../src/model/service.ts';
import type { Task } from '../../src/model/task.ts';
import { ip, NODE, network, published, service, snapshot, task } from '../support/builders.ts';

const backend = network('backend', 'overlay', ['10.64.0.0/24']);
const frontend = network('frontend', 'overlay', ['10.64.1.0/24']);
const numbers: Readonly<Record<string, number>> = { 'net-backend': 0, 'net-frontend': 1 };
const numberOf = (id: NetworkId) => numbers[id] ?? 9;

/** The commands' effect as text: what every name and address means after them. */
class Mirror {
  readonly names = new Map<string, string>();

  take(commands: readonly DnsCommand[]): this {
    for (const command of commands) {
      if (command.kind === 'zone-add') this.names.set(`${command.network}`, command.shortName ?? command.name);
      if (command.kind === 'zone-remove') {
        for (const key of this.names.keys()) if (key.startsWith(`${command.network}`)) this.names.delete(key);
      }
      if (command.kind !== 'zone-update') continue;
      const { network, names, pointers } = command.update;
      for (const { name, addresses, exists } of names) {
        if (exists) this.names.set(`${network} ${name}`, addresses.join(' ') || 'nodata');
        else this.names.delete(`${network} ${name}`);
      }
      for (const { address, name } of pointers) {
        if (name === null) this.names.delete(`${network} ${address}`);
        else this.names.set(`${network} ${address}`, name);
      }
    }
    return this;
  }

  text(): Record<string, string> {
    return Object.fromEntries([...this.names].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function zoneOf(snapshot: Snapshot): Record<string, string> {
  return new Mirror().take(new Zones(NODE, numberOf).apply(everything(snapshot), snapshot, EMPTY_SNAPSHOT)).text();
}

function everything({ networks, services, tasks }: Snapshot): Change[] {
  return [
    ...[...networks.values()].map((after): Change => ({ kind: 'network', after })),
    ...[...services.values()].map((after): Change => ({ kind: 'service', after })),
    ...[...tasks.values()].map((after): Change => ({ kind: 'task', after })),
  ];
}

t.test('names of a service and its tasks', (t) => {
  const web = service('web', { on: [{ network: backend, vip: '10.64.0.2', aliases: ['www'] }] });
  const tasks = [
    task(
      web,
      1,
      { backend: '10.64.0.10' },
      { hostname: 'Alpha', id: 'abcdefghijklmnopqrstuvwxy' as Task['id'], name: 'web.1.x' },
    ),
    task(web, 2, { backend: '10.64.0.11' }, { health: 'unhealthy', name: 'web.2.y' }),
    task(web, 3, { backend: '10.64.0.12' }, { health: 'healthy', name: 'web.3.z' }),
  ];
  t.strictSame(zoneOf(snapshot({ networks: [backend], services: [web], tasks })), {
    '0': 'backend',
    '0 10.64.0.10': 'web.1.x',
    '0 10.64.0.11': 'web.2.y',
    '0 10.64.0.12': 'web.3.z',
    '0 10.64.0.2': 'web',
    '0 abcdefghijkl': '10.64.0.10',
    '0 alpha': '10.64.0.10',
    '0 task-web-2': '10.64.0.11',
    '0 task-web-3': '10.64.0.12',
    '0 tasks.web': '10.64.0.10 10.64.0.12',
    '0 tasks.www': '10.64.0.10 10.64.0.12',
    '0 web': '10.64.0.2',
    '0 web.1.x': '10.64.0.10',
    '0 web.2.y': '10.64.0.11',
    '0 web.3.z': '10.64.0.12',
    '0 www': '10.64.0.2',
  });
  t.end();
});

t.test('D7: the ports of a service, where its VIP and where its endpoints have them', (t) => {
  const zones = new Zones(NODE, numberOf);
  const port = (number: number) => number as PortNumber;
  const web = service('web', {
    on: [{ network: backend, vip: '10.64.0.2', aliases: ['www'] }],
    ports: [published(8080, 80, { name: 'HTTP' }), published(81, 80), published(443, 8443)],
    expose: [
      { protocol: 'udp', port: port(53), name: 'dns' },
      { protocol: 'tcp', port: port(81) },
    ],
  });
  const rr = service('rr', { endpointMode: 'dnsrr', on: [{ network: backend }] });
  const tasks = [
    task(web, 1, { backend: '10.64.0.10' }, { name: 'Web.1', portMap: [{ targetPort: 80, port: 18_080 }] }),
    task(web, 2, { backend: '10.64.0.11' }, { name: 'web.2', health: 'unhealthy' }),
    task(rr, 1, { backend: '10.64.0.12' }, { name: 'rr.1', ownPort: 7001 }),
    task(rr, 2, { backend: '10.64.0.13' }, { name: 'rr.2', ownPort: 7002 }),
  ];
  const objects = snapshot({ networks: [backend], services: [web, rr], tasks });
  const commands = zones.apply(everything(objects), objects, EMPTY_SNAPSHOT);
  const told = commands.flatMap((command) => (command.kind === 'zone-update' ? command.update.names : []));
  t.equal(told.find(({ name }) => name === 'web.1')?.ports, undefined);
  t.match(told.find(({ name }) => name === 'tasks.web')?.ports, /http/);
  const text = (name: string) =>
    (zones.name(backend.id, name)?.ports ?? []).map(
      ({ protocol, labels, targets }) =>
        `${protocol} ${labels.join()} → ${targets.map((target) => `${target.name}:${target.port}`).join()}`,
    );
  // 81 is a target port of its own, so it does not stand for the port that is published there.
  const vip = ['tcp 80,http,8080 → web:80', 'tcp 8443,443 → web:8443', 'udp 53,dns → web:53', 'tcp 81 → web:81'];
  const endpoints = [
    'tcp 80,http,8080 → web.1:18080',
    'tcp 8443,443 → web.1:8443',
    'udp 53,dns → web.1:53',
    'tcp 81 → web.1:81',
  ];
  t.strictSame(text('web'), vip);
  t.strictSame(text('www'), vip);
  t.strictSame(text('tasks.www'), endpoints);
  t.strictSame(text('rr'), ['tcp 7001 → rr.1:7001,rr.2:7002']);
  t.strictSame(text('web.1'), []);
  const renamed = { ...web, spec: { ...web.spec, expose: [] } };
  const change: Change = { kind: 'service', before: web, after: renamed };
  const again = zones.apply([change], applyChanges(objects, 2, [change]), objects);
  t.strictSame(
    again.flatMap((one) => (one.kind === 'zone-update' ? one.update.names.map(({ name }) => name).sort() : [])),
    ['tasks.web', 'tasks.www', 'web', 'www'],
    'ports alone are a difference too',
  );
  t.end();
});

t.test('D26: TTLs of a network and of a service, for all names and addresses of it', (t) => {
  const slow = network('slow', 'overlay', ['10.64.2.0/24'], { options: { dns_ttl: '30s' } });
  const web = service('web', { dnsTtlS: 60, on: [{ network: slow, vip: '10.64.2.2' }] });
  const one = task(web, 1, { slow: '10.64.2.10' }, { name: 'web.1' });
  const zones = new Zones(NODE, numberOf);
  const objects = snapshot({ networks: [slow], services: [web], tasks: [one] });
  const ttls = (commands: readonly DnsCommand[]) =>
    commands.flatMap((command) => {
      if (command.kind === 'zone-add') return [`zone ${command.ttl}`];
      if (command.kind !== 'zone-update') return [command.kind];
      const { names, pointers } = command.update;
      return [
        ...names.map(({ name, ttl }) => `${name} ${ttl}`),
        ...pointers.map(({ address, ttl }) => `${address} ${ttl}`),
      ];
    });
  const told = ttls(zones.apply(everything(objects), objects, EMPTY_SNAPSHOT));
  t.strictSame(told.toSorted(), [
    '10.64.2.10 60',
    '10.64.2.2 60',
    'task-web-1 60',
    'tasks.web 60',
    'web 60',
    'web.1 60',
    'zone 30',
  ]);
  const { dnsTtlS: _, ...spec } = web.spec;
  const change: Change = { kind: 'service', before: web, after: { ...web, spec } };
  const after = applyChanges(objects, 2, [change]);
  const again = ttls(zones.apply([change], after, objects));
  t.strictSame(
    again.toSorted(),
    told
      .filter((text) => text !== 'zone 30')
      .map((text) => text.replace('60', 'undefined'))
      .sort(),
  );
  const faster = { ...slow, spec: { ...slow.spec, options: { dns_ttl: '1' } } };
  const renewed: Change = { kind: 'network', before: slow, after: faster };
  t.strictSame(ttls(zones.apply([renewed], applyChanges(after, 3, [renewed]), after)).slice(0, 2), [
    'zone-remove',
    'zone 1',
  ]);
  t.end();
});

t.test('D9, dnsrr, stacks, both families, static endpoints', (t) => {
  const labels = { 'com.docker.stack.namespace': 'shop' };
  const shopNetwork = network('shop_backend', 'overlay', ['10.64.0.0/24', 'fd00::/64'], { labels });
  const db = service('shop_db', {
    labels,
    endpointMode: 'dnsrr',
    on: [{ network: shopNetwork }],
  });
  const one = task(db, 1, { shop_backend: '10.64.0.9' }, { name: 'db1', state: 'draining' });
  const two = task(db, 2, { shop_backend: '127.0.0.1' }, { name: 'db2', source: 'static' });
  const three = task(db, 3, { shop_backend: '127.0.0.1' }, { name: 'db3', source: 'static' });
  const both = {
    ...one,
    state: 'running',
    attachments: one.attachments.map((at) => ({ ...at, moreAddresses: [ip('fd00::9')] })),
  } as const;
  const idle = service('idle', { on: [{ network: shopNetwork, vip: '10.64.0.5' }] });
  const objects = { networks: [shopNetwork], services: [db, idle] };
  t.strictSame(zoneOf(snapshot({ ...objects, tasks: [one, two, three] })), {
    '9': 'backend',
    '9 10.64.0.5': 'idle',
    '9 10.64.0.9': 'db1',
    '9 db': '127.0.0.1',
    '9 db1': '10.64.0.9',
    '9 db2': '127.0.0.1',
    '9 db3': '127.0.0.1',
    '9 idle': '10.64.0.5',
    '9 shop_db': '127.0.0.1',
    '9 task-shop_db': '10.64.0.9 127.0.0.1',
    '9 tasks.db': '127.0.0.1',
    '9 tasks.idle': 'nodata',
    '9 tasks.shop_db': '127.0.0.1',
  });
  const families = zoneOf(snapshot({ ...objects, tasks: [both] }));
  t.equal(families['9 tasks.db'], '10.64.0.9 fd00::9');
  t.equal(families['9 fd00::9'], 'db1');
  t.equal(zoneOf(snapshot(objects))['9 db'], 'nodata');
  t.end();
});

t.test('who gets a name that several claim', (t) => {
  const at = (name: string, createdAt: number, vip: string, ...aliases: string[]) =>
    service(name, { createdAt, on: [{ network: backend, vip, aliases }] });
  const old = at('old', 1, '10.64.0.2', 'db', 'shared', 'tasker.1');
  const young = at('young', 2, '10.64.0.3', 'shared');
  const db = at('db', 3, '10.64.0.4', 'young');
  const tasks = [
    task(young, 1, { backend: '10.64.0.10' }, { hostname: 'peer', name: 'young.1' }),
    task(young, 2, { backend: '10.64.0.11' }, { hostname: 'peer', name: 'young.2' }),
    task(db, 1, { backend: '10.64.0.12' }, { hostname: 'peer', name: 'tasker.1' }),
  ];
  const all = zoneOf(snapshot({ networks: [backend], services: [old, young, db], tasks }));
  t.match(all, {
    '0 db': '10.64.0.4',
    '0 shared': '10.64.0.2',
    '0 young': '10.64.0.3',
    '0 peer': '10.64.0.10 10.64.0.11',
    '0 tasker.1': '10.64.0.2',
    '0 tasks.db': '10.64.0.12',
    '0 tasks.shared': 'nodata',
  });
  const zones = new Zones(NODE, numberOf);
  const before = snapshot({ networks: [backend], services: [old, young, db], tasks });
  const mirror = new Mirror().take(zones.apply(everything(before), before, EMPTY_SNAPSHOT));
  const gone: Change[] = [{ kind: 'service', before: old }];
  mirror.take(zones.apply(gone, applyChanges(before, 2, gone), before));
  t.match(mirror.text(), { '0 shared': '10.64.0.3', '0 tasker.1': '10.64.0.12' }, 'the next in line takes over');
  t.strictSame(zones.name(backend.id, 'Shared')?.values, ['10.64.0.3']);
  t.strictSame(zones.name(backend.id, 'tasks.shared')?.values, ['10.64.0.10', '10.64.0.11']);
  t.equal(zones.name(backend.id, 'nope')?.values, undefined);
  t.equal(zones.name(frontend.id, 'shared')?.values, undefined);
  t.end();
});

t.test('a change says only what became different', (t) => {
  const web = service('web', { on: [{ network: backend, vip: '10.64.0.2' }] });
  const one = task(web, 1, { backend: '10.64.0.10' }, { name: 'web.1', state: 'starting' });
  const zones = new Zones(NODE, numberOf);
  const before = snapshot({ networks: [backend, frontend], services: [web, service('other')], tasks: [one] });
  zones.apply(everything(before), before, EMPTY_SNAPSHOT);
  const change: Change = { kind: 'task', before: one, after: { ...one, state: 'running' } };
  t.strictSame(zones.apply([change], applyChanges(before, 2, [change]), before), [
    {
      kind: 'zone-update',
      update: { network: 0, names: [{ name: 'tasks.web', addresses: ['10.64.0.10'], exists: true }], pointers: [] },
    },
  ]);
  const same: Change = { kind: 'service', before: web, after: { ...web, updatedAt: 5 } };
  t.strictSame(zones.apply([same], applyChanges(before, 3, [change, same]), before), []);
  t.end();
});

// Every commit's updates together make the same zones as the last snapshot alone.
t.test('change by change is the same as all at once', (t) => {
  const networks = [backend, frontend];
  const pick = fc.record({
    kind: fc.constantFrom('network', 'service', 'service', 'task', 'task', 'task'),
    which: fc.integer({ min: 0, max: 3 }),
    gone: fc.boolean(),
    on: fc.integer({ min: 1, max: 3 }),
    detail: fc.integer({ min: 0, max: 3 }),
  });
  type Pick = typeof pick extends fc.Arbitrary<infer Value> ? Value : never;
  const onNetworks = (on: number) => networks.filter((_, i) => (on & (1 << i)) !== 0);
  const someService = ({ which, on, detail }: Pick): Service =>
    service(`s${which}`, {
      createdAt: which % 2,
      endpointMode: detail === 3 ? 'dnsrr' : 'vip',
      on: onNetworks(on).map((network, i) => ({
        network,
        ...(detail === 3 ? {} : { vip: `10.64.${i}.${which + 1}` }),
        aliases: detail === 1 ? ['s0', 'alias'] : detail === 2 ? ['alias', 's1'] : [],
      })),
    });
  const someTask = ({ which, on, detail }: Pick): Task =>
    task(
      service(`s${which % 3}`),
      which + 1,
      Object.fromEntries(onNetworks(on).map(({ spec }, i) => [spec.name, `10.64.${i}.${100 + (which % 3)}`])),
      { hostname: detail === 1 ? 's0' : 'host', health: detail === 2 ? 'unhealthy' : 'none' },
    );
  fc.assert(
    fc.property(fc.array(fc.array(pick, { minLength: 1, maxLength: 4 }), { maxLength: 15 }), (commits) => {
      const zones = new Zones(NODE, numberOf);
      const mirror = new Mirror();
      let now = EMPTY_SNAPSHOT;
      for (const [revision, picks] of commits.entries()) {
        for (const pick of picks) {
          const change = changeOf(now, pick);
          if (change === undefined) continue;
          const then = now;
          now = applyChanges(then, revision, [change]);
          mirror.take(zones.apply([change], now, then));
        }
      }
      const whole = zoneOf(now);
      t.strictSame(mirror.text(), whole);
    }),
    { numRuns: 150 },
  );
  t.end();

  function changeOf(now: Snapshot, pick: Pick): Change | undefined {
    const { kind, which, gone } = pick;
    const make = (value: Change['after'], before: Change['after']): Change | undefined =>
      before === undefined && gone
        ? undefined
        : ({ kind, ...(before && { before }), ...(gone ? {} : { after: value }) } as Change);
    if (kind === 'network') {
      const value = networks[which % 2] ?? backend;
      return make(value, now.networks.get(value.id));
    }
    if (kind === 'service') {
      const value = someService(pick);
      return make(value, now.services.get(value.id));
    }
    const value = someTask(pick);
    return make(value, now.tasks.get(value.id));
  }
});

/** What telling the resolver about one change costs, in steps: claims replaced, names decided, looked up and added. */
function stepsFor(services: number): Record<string, number> {
  const networks = Array.from({ length: services / 10 }, (_, i) =>
    network(`n${i}`, 'overlay', [`10.${i >> 8}.${i & 255}.0/24`]),
  );
  const all = Array.from({ length: services }, (_, i) => {
    const on = networks[i % networks.length] ?? backend;
    return service(`s${i}`, {
      on: [{ network: on, vip: `${String(on.subnets[0]).slice(0, -4)}${2 + Math.floor(i / networks.length)}` }],
    });
  });
  const tasks = all
    .slice(0, 10)
    .map((one, i) => task(one, 1, { [`n${i % networks.length}`]: `10.200.0.${i}` }, { name: `t${i}` }));
  const objects = snapshot({ networks, services: all, tasks });
  const zones = new Zones(NODE, (id) => Number(String(id).replace('net-n', '')));
  const table = new AnswerTable();
  const tell = (commands: readonly DnsCommand[]) => {
    for (const command of commands) {
      if (command.kind === 'zone-add') table.addZone(command.network, command.name, command.shortName, command.subnets);
      if (command.kind !== 'zone-update') continue;
      for (const name of command.update.names) table.setName(command.update.network, name);
      for (const pointer of command.update.pointers) table.setPointer(command.update.network, pointer);
    }
  };
  tell(zones.apply(everything(objects), objects, EMPTY_SNAPSHOT));
  const [before] = tasks;
  if (before === undefined) throw new Error('no task');
  const change: Change = { kind: 'task', before, after: { ...before, state: 'draining' } };
  const after = applyChanges(objects, 2, [change]);
  const steps: Record<string, number> = {};
  const counted = [
    [Claims.prototype, 'replace'],
    [Claims.prototype, 'changed'],
    [NameIndex.prototype, 'find'],
    [NameIndex.prototype, 'add'],
  ] as const;
  const originals = counted.map(([owner, method]) => Reflect.get(owner, method) as (...words: unknown[]) => unknown);
  counted.forEach(([owner, method], i) => {
    Reflect.set(owner, method, function (this: unknown, ...words: unknown[]) {
      steps[method] = (steps[method] ?? 0) + 1;
      return Reflect.apply(originals[i] as () => unknown, this, words);
    });
  });
  try {
    tell(zones.apply([change], after, objects));
  } finally {
    for (const [i, [owner, method]] of counted.entries()) Reflect.set(owner, method, originals[i]);
  }
  return steps;
}

t.test('a change costs as much among 10 services as among 10,000 on 1,000 networks', async (t) => {
  const few = stepsFor(10);
  t.match(few, { replace: Number, changed: Number, find: Number });
  t.strictSame(stepsFor(10_000), few);
});
