// Commands side by side, a store that refuses, and random commands against what must always hold.
import fc from 'fast-check';
import t from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { Snapshot } from '../../src/catalog/snapshot.ts';
import { Control } from '../../src/control/control.ts';
import { planStatic, taskOfPlan } from '../../src/control/static-tasks.ts';
import { subnetContains } from '../../src/model/address.ts';
import { StoreError } from '../../src/store/errors.ts';
import type { Store } from '../../src/store/store.ts';
import { ip, subnet } from '../support/builders.ts';
import { networkSpec, openWorld, refusal, serviceSpec, type World } from './world.ts';

t.test('commands at the same time, of two agents', async (t) => {
  const w = await openWorld(t);
  const other = await w.second('node2', 'two');
  await w.control.createNetwork(networkSpec('n'));
  const agents = [w.control, other];
  await Promise.all(
    Array.from({ length: 40 }, (_, n) =>
      agents[n % 2]?.createService(serviceSpec(`s${n}`, { networks: ['n'], publish: ['80'] })),
    ),
  );
  const { services } = w.catalog.snapshot;
  t.equal(services.size, 40);
  t.equal(new Set([...services.values()].map(({ vips }) => vips[0]?.address)).size, 40, 'no address twice');
  t.equal(new Set([...services.values()].map(({ ports }) => ports[0]?.publishedPort)).size, 40, 'no port twice');
  const twins = await Promise.allSettled(
    agents.map((agent) => agent.createService(serviceSpec('twin', { networks: ['n'] }))),
  );
  t.same(twins.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'of two that create the same, one does');
});

t.test('health and state do not wait for commands, and are not lost to them', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('n'));
  const endpoints = [{ address: ip('10.0.0.1') }, { address: ip('10.0.0.2') }];
  const spec = (port: string) => serviceSpec('web', { networks: ['n'], expose: [port], endpoints });
  await w.control.createService(spec('80'));
  const ids = [...w.catalog.snapshot.tasks.keys()];
  const commands = Array.from({ length: 20 }, (_, n) => w.control.updateService('web', spec(String(81 + n))));
  const reports = ids.flatMap((id) =>
    (['healthy', 'unhealthy', 'healthy'] as const).map((health) => w.control.setTaskHealth(id, health)),
  );
  await Promise.all([...commands, ...reports]);
  t.same(
    [...w.catalog.snapshot.tasks.values()].map(({ health }) => health),
    ['healthy', 'healthy'],
  );
  t.match([...w.catalog.snapshot.services.values()][0]?.spec.expose, [{ port: 100 }]);
});

t.test('a store that refuses', async (t) => {
  const w = await openWorld(t);
  const full: Store = {
    get: (key) => w.store.get(key),
    list: (prefix) => w.store.list(prefix),
    watch: (after, handlers) => w.store.watch(after, handlers),
    commit: () => Promise.reject(new StoreError('full', 'state: the file system is full')),
    grantLease: (ttl) => w.store.grantLease(ttl),
    keepAlive: (lease) => w.store.keepAlive(lease),
    revokeLease: (lease) => w.store.revokeLease(lease),
    close: () => w.store.close(),
  };
  const nodeName = 'one';
  const nodeId = [...w.catalog.snapshot.nodes.keys()][0] ?? ('' as never);
  const options = { privileged: true, allowPlaintextOverlays: false, portProblem: () => undefined };
  const control = await Control.open({ ...options, store: full, catalog: w.catalog, nodeName, nodeId });
  t.equal(
    await refusal(control.createNetwork(networkSpec('n'))),
    'unavailable: nothing was changed: state: the file system is full',
  );
  t.equal(w.catalog.snapshot.networks.size, 0);
});

t.test('a node remembers who it is', async (t) => {
  const w = await openWorld(t);
  const options = {
    store: w.store,
    catalog: w.catalog,
    privileged: false,
    allowPlaintextOverlays: false,
    portProblem: () => undefined,
  };
  const first = await Control.open({ ...options, nodeName: 'alone' });
  const second = await Control.open({ ...options, nodeName: 'renamed' });
  t.equal(second.nodeId, first.nodeId);
  t.match(w.catalog.snapshot.nodes.get(first.nodeId), { name: 'renamed', availability: 'active' });
  await second.updateNode({ availability: 'drain', labels: { zone: 'a' } });
  await Control.open({ ...options, nodeName: 'renamed' });
  t.match(
    w.catalog.snapshot.nodes.get(first.nodeId),
    { availability: 'drain', labels: { zone: 'a' } },
    'what was set stays',
  );
  t.match(await refusal(Control.open({ ...options, nodeName: 'a b' })), /^invalid: the node name "a b" may hold only/);
});

const small = fc.nat(3);
const command = fc.oneof(
  fc.record({
    do: fc.constant('service' as const),
    name: small,
    networks: fc.uniqueArray(fc.nat(2), { minLength: 1, maxLength: 2 }),
    ports: fc.uniqueArray(fc.nat(5), { maxLength: 2 }),
    dnsrr: fc.boolean(),
    endpoints: fc.uniqueArray(small, { maxLength: 3 }),
  }),
  fc.record({ do: fc.constant('unservice' as const), name: fc.nat(9) }),
  fc.record({ do: fc.constant('network' as const), name: small }),
  fc.record({ do: fc.constant('unnetwork' as const), name: fc.nat(9) }),
  fc.record({ do: fc.constant('task' as const), name: small }),
  fc.record({ do: fc.constant('untask' as const), index: fc.nat(20) }),
  fc.record({ do: fc.constant('endpoint' as const), name: small, address: small }),
  fc.record({ do: fc.constant('health' as const), index: fc.nat(20), healthy: fc.boolean() }),
  fc.record({ do: fc.constant('rollback' as const), name: small }),
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

t.test('random commands', async (t) => {
  const w = await openWorld(t);
  let refused = 0;
  let done = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60, size: 'max' }), async (commands) => {
      for (const name of [0, 1, 2]) await perform(w, { do: 'network', name });
      for (const one of commands) {
        const before = await w.revision();
        const result = await refusal(perform(w, one));
        if (result === 'done') done++;
        else {
          refused++;
          if (!/^(conflict|not-found|in-use|exhausted|invalid): ./.test(result)) throw new Error(result);
          if ((await w.revision()) !== before) throw new Error(`refused, but written: ${result}`);
        }
        const problem = violation(w.catalog.snapshot);
        if (problem !== undefined) throw new Error(`after ${JSON.stringify(one)}: ${problem}`);
      }
      const anew = await Catalog.open(w.store);
      t.ok(sameObjects(anew.snapshot, w.catalog.snapshot), 'what is in the store is what the catalog shows');
      anew.close();
      await removeEverything(w);
    }),
    { numRuns: 30 },
  );
  t.ok(done > 300 && refused > 100, `${done} done, ${refused} refused`);
});

function perform(w: World, one: Command): Promise<unknown> {
  const { control, catalog } = w;
  const tasks = [...catalog.snapshot.tasks.keys()].sort();
  switch (one.do) {
    case 'network':
      return control.createNetwork(networkSpec(`n${one.name}`, { subnets: [subnet(`10.9.${one.name}.0/28`)] }));
    case 'unnetwork':
      return control.removeNetwork(`n${one.name}`);
    case 'service': {
      const spec = serviceSpec(`s${one.name}`, {
        networks: one.networks.map((n) => `n${n}`),
        publish: one.ports.map((port, n) => (port < 3 ? `${8000 + port}:${80 + n}` : `${80 + n}`)),
        endpoints: one.endpoints.map((n) => ({ address: ip(`10.1.1.${n + 1}`) })),
        endpointMode: one.dnsrr ? 'dnsrr' : 'vip',
      });
      return catalog.snapshot.serviceByName.has(spec.name)
        ? control.updateService(spec.name, spec)
        : control.createService(spec);
    }
    case 'unservice':
      return control.removeService(`s${one.name}`);
    case 'task':
      return control.addTask({ service: `s${one.name}` });
    case 'untask':
      return control.removeTask(tasks[one.index % Math.max(1, tasks.length)] ?? ('none' as never));
    case 'endpoint':
      return control.addEndpoint(`s${one.name}`, `10.1.2.${one.address + 1}`);
    case 'health':
      return control.setTaskHealth(
        tasks[one.index % Math.max(1, tasks.length)] ?? ('none' as never),
        one.healthy ? 'healthy' : 'unhealthy',
      );
    case 'rollback':
      return control.rollbackService(`s${one.name}`);
  }
}

/** What must hold after every command. */
function violation(snapshot: Snapshot): string | undefined {
  const ports = new Set<string>();
  const addresses = new Set<string>();
  const claim = (set: Set<string>, what: string) => (set.has(what) ? what : void set.add(what));
  for (const service of snapshot.services.values()) {
    const name = service.spec.name;
    for (const port of service.ports)
      if (claim(ports, `${port.publishedPort}/${port.protocol}`)) return `${name}: port ${port.publishedPort} twice`;
    const subnets = service.networks.flatMap(({ networkId }) => snapshot.networks.get(networkId)?.subnets ?? []);
    if (service.vips.length !== (service.spec.endpointMode === 'vip' ? subnets.length : 0))
      return `${name}: ${service.vips.length} VIPs`;
    for (const { networkId, address } of service.vips) {
      const network = snapshot.networks.get(networkId);
      if (network === undefined) return `${name}: its network is gone`;
      if (!network.subnets.some((one) => subnetContains(one, address)))
        return `${name}: ${address} is outside ${network.subnets}`;
      if (claim(addresses, `${networkId} ${address}`)) return `${name}: ${address} twice`;
    }
    const tasks = [...(snapshot.tasksByService.get(service.id)?.values() ?? [])];
    const statics = tasks.filter((task) => task.source === 'static');
    const plans = planStatic(service);
    if (statics.length !== plans.length || plans.some((plan) => taskOfPlan(statics, plan) === undefined))
      return `${name}: static tasks`;
    if (new Set(tasks.map((task) => task.slot)).size !== tasks.length) return `${name}: a slot twice`;
    for (const task of tasks.filter(({ source }) => source === 'process')) {
      for (const { networkId, address } of task.attachments) {
        if (!service.networks.some((one) => one.networkId === networkId))
          return `${task.name}: on a network that its service left`;
        if (claim(addresses, `${networkId} ${address}`)) return `${task.name}: ${address} twice`;
      }
    }
  }
  const orphan = [...snapshot.tasks.values()].find((task) => !snapshot.services.has(task.serviceId));
  return orphan && `${orphan.name}: its service is gone`;
}

function sameObjects(a: Snapshot, b: Snapshot): boolean {
  const text = (snapshot: Snapshot) =>
    [snapshot.networks, snapshot.services, snapshot.tasks, snapshot.nodes].map((map) =>
      [...map.values()]
        .map((one) => JSON.stringify(one))
        .sort()
        .join('\n'),
    );
  return text(a).join('\n\n') === text(b).join('\n\n');
}

async function removeEverything({ control, catalog }: World): Promise<void> {
  for (const service of catalog.snapshot.services.values()) await control.removeService(service.id);
  for (const network of catalog.snapshot.networks.values()) await control.removeNetwork(network.id);
}
