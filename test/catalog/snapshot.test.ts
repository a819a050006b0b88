// Every index of a snapshot equals what a naive recomputation gives, after any changes.
import fc from 'fast-check';
import type { Map as Trie } from 'immutable';
import t from 'tap';
import type { Change } from '../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot, tasksOf } from '../../src/catalog/snapshot.ts';
import type { Network, NetworkId } from '../../src/model/network.ts';
import type { Bridge, Node, NodeId, Presence, Suspicion } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Service, ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import * as build from '../support/builders.ts';

/** The naive model: what there is, by id. */
interface Model {
  readonly network: Map<string, Network>;
  readonly service: Map<string, Service>;
  readonly task: Map<string, Task>;
  readonly node: Map<string, Node>;
  readonly presence: Map<string, Presence>;
  readonly bridge: Map<string, Bridge>;
  readonly suspicion: Map<string, Suspicion>;
  /** The last presence of each node that has not been removed. */
  readonly seen: Map<string, Presence>;
}

interface Step {
  readonly kind: Change['kind'];
  readonly id: number;
  readonly remove: boolean;
  readonly name: number;
  readonly groups: readonly number[];
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('network', 'service', 'task', 'node', 'presence', 'bridge', 'suspicion'),
  id: fc.nat(5),
  remove: fc.boolean(),
  name: fc.nat(3),
  groups: fc.uniqueArray(fc.nat(3), { maxLength: 3 }),
});

t.test('indexes after random changes', (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 5 }), { maxLength: 20 }), (commits) => {
      const model = emptyModel();
      let snapshot = EMPTY_SNAPSHOT;
      commits.forEach((steps, n) => {
        const before = plain(snapshot);
        const next = applyChanges(
          snapshot,
          n + 1,
          steps.flatMap((one) => change(model, one)),
        );
        if (JSON.stringify(plain(snapshot)) !== JSON.stringify(before)) throw new Error('the earlier snapshot changed');
        snapshot = next;
      });
      t.same(plain(snapshot), expected(model, commits.length));
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('many changes in one commit', (t) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 120, maxLength: 300 }), fc.array(step, { maxLength: 20 }), (many, few) => {
      const model = emptyModel();
      const small = applyChanges(
        EMPTY_SNAPSHOT,
        1,
        few.flatMap((one) => change(model, one)),
      );
      const before = JSON.stringify(plain(small));
      const large = applyChanges(
        small,
        2,
        many.flatMap((one) => change(model, one)),
      );
      t.same(plain(large), expected(model, 2));
      t.equal(JSON.stringify(plain(small)), before, 'the earlier snapshot stays as it was');
      t.notOk(large.tasks.wasAltered(), 'nobody can change the new one in place');
    }),
    { numRuns: 50 },
  );
  t.end();
});

t.test('a name changes hands within one commit', (t) => {
  const old = { ...build.service('web'), id: 'b' as ServiceId };
  const young = { ...build.service('web'), id: 'a' as ServiceId };
  const other = { ...build.service('web2'), id: 'c' as ServiceId };
  const before = build.snapshot({ services: [old] });
  const created: Change = { kind: 'service', after: young };
  const removed: Change = { kind: 'service', before: old };
  const renamed: Change = { kind: 'service', before: old, after: { ...other, id: old.id } };
  for (const changes of [
    [created, removed],
    [removed, created],
    [created, renamed],
    [renamed, created],
  ]) {
    t.equal(applyChanges(before, 2, changes).serviceByName.get('web'), young.id);
  }
  t.end();
});

t.test('tasksOf', (t) => {
  const web = build.service('web');
  const tasks = [3, 1, 2].map((slot) => build.task(web, slot, {}));
  const snapshot = build.snapshot({ services: [web], tasks });
  t.same(
    tasksOf(snapshot, web.id).map((task) => task.slot),
    [1, 2, 3],
  );
  t.same(tasksOf(snapshot, 'none' as ServiceId), []);
  t.end();
});

function emptyModel(): Model {
  return {
    network: new Map(),
    service: new Map(),
    task: new Map(),
    node: new Map(),
    presence: new Map(),
    bridge: new Map(),
    suspicion: new Map(),
    seen: new Map(),
  };
}

/** Names are unique among those that exist, as control sees to it: a taken one gets the id behind it. */
function change(model: Model, { kind, id, remove, name, groups }: Step): readonly Change[] {
  const objects = model[kind] as Map<string, unknown>;
  const key = `${kind === 'presence' ? 'node' : kind}${id}`;
  const before = objects.get(key);
  if (remove && before === undefined) return [];
  if (remove) objects.delete(key);
  else objects.set(key, objectFor(kind, key, freeName(model, kind, key, `name${name}`), groups));
  const after = objects.get(key);
  if (kind === 'presence' && after !== undefined) model.seen.set(key, after as Presence);
  if (kind === 'node' && remove) model.seen.delete(key);
  return [{ kind, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) } as Change];
}

function freeName(model: Model, kind: Change['kind'], key: string, name: string): string {
  const others = [
    ...(model[kind] as Map<string, { readonly id: string; readonly spec?: { readonly name: string } }>).values(),
  ];
  return others.some((other) => other.id !== key && other.spec?.name === name) ? `${name}-${key}` : name;
}

function objectFor(kind: Change['kind'], id: string, name: string, groups: readonly number[]): unknown {
  switch (kind) {
    case 'network':
      return { ...build.network(name), id: id as NetworkId };
    case 'service':
      return {
        ...build.service(name),
        id: id as ServiceId,
        networks: groups.map((n) => ({ networkId: `network${n}` as NetworkId, aliases: [] })),
        ports: groups.map((n) => ({
          protocol: 'tcp',
          targetPort: 80 as PortNumber,
          publishedPort: (8000 + n) as PortNumber,
          mode: 'ingress',
        })),
      };
    case 'task':
      return {
        ...build.task(build.service('web'), 1, {}),
        id: id as TaskId,
        serviceId: `service${groups[0] ?? 0}` as ServiceId,
        ...(groups[1] === undefined ? {} : servedAt(`10.0.0.${groups[1]}`)),
      };
    case 'node':
      return { id: id as NodeId, name, availability: 'active', labels: {}, createdAt: 0, updatedAt: 0 } satisfies Node;
    case 'presence': {
      // No two nodes have an address in common, but one node's two may be the same.
      const number = Number(id.slice(-1));
      return {
        id: id as NodeId,
        instance: '0000000000000000',
        address: build.ip(`10.0.1.${number}`),
        dataAddress: build.ip(`10.0.${groups[0] === undefined ? 1 : 2}.${number}`),
        probePort: 7946 as PortNumber,
        version: name,
        startedAt: 0,
      } satisfies Presence;
    }
    case 'bridge':
      return {
        id: id as Bridge['id'],
        networkId: `network${groups[0] ?? 0}` as NetworkId,
        nodeId: 'node0' as NodeId,
        addresses: groups.map((n) => build.ip(`10.64.0.${n}`)),
      } satisfies Bridge;
    case 'suspicion':
      return { id: id as NodeId, since: groups.length } satisfies Suspicion;
  }
}

function expected(model: Model, revision: number): unknown {
  const services = [...model.service.values()];
  const tasks = [...model.task.values()];
  return {
    revision,
    networks: byId(model.network.values()),
    services: byId(services),
    tasks: byId(tasks),
    nodes: byId(model.node.values()),
    presences: byId(model.presence.values()),
    bridges: byId(model.bridge.values()),
    suspicions: byId(model.suspicion.values()),
    networkByName: Object.fromEntries([...model.network.values()].map((one) => [one.spec.name, one.id])),
    serviceByName: Object.fromEntries(services.map((one) => [one.spec.name, one.id])),
    serviceByFoldedName: Object.fromEntries(services.map((one) => [one.spec.name.toLowerCase(), one.id])),
    tasksByPlace: grouped(tasks, (task) => [
      task.source === 'static' ? (task.attachments[0]?.address ?? task.nodeId) : task.nodeId,
    ]),
    nodeByAddress: Object.fromEntries(
      [...model.seen.values()].flatMap((one) => [
        [one.address, one.id],
        [one.dataAddress, one.id],
      ]),
    ),
    bridgesByNetwork: grouped([...model.bridge.values()], (bridge) => [bridge.networkId]),
    tasksByService: grouped(tasks, (task) => [task.serviceId]),
    servicesByNetwork: grouped(services, (service) => service.networks.map(({ networkId }) => networkId)),
    servicesByPort: grouped(services, (service) => service.ports.map((port) => String(port.publishedPort))),
  };
}

function servedAt(address: string): Partial<Task> {
  return {
    source: 'static',
    attachments: [{ networkId: 'network0' as NetworkId, address: build.ip(address), aliases: [] }],
  };
}

function grouped<T extends { readonly id: string }>(items: readonly T[], groupsOf: (item: T) => readonly string[]) {
  const groups = [...new Set(items.flatMap(groupsOf))];
  return Object.fromEntries(
    groups.map((group) => [group, byId(items.filter((item) => groupsOf(item).includes(group)))]),
  );
}

function byId<T extends { readonly id: string }>(items: Iterable<T>): Record<string, T> {
  return Object.fromEntries([...items].map((item) => [item.id, item]));
}

function plain(snapshot: Snapshot): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(snapshot).map(([field, value]) => [
      field,
      typeof value === 'number' ? value : (value as Trie<string, unknown>).toJS(),
    ]),
  );
}
