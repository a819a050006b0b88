// What the catalog makes of a lease that ends: its node has gone, or the store was away and everybody's lease has ended.
import t from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { NodeId, Presence } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { encodeRecord } from '../../src/store/record.ts';
import type { LeaseId } from '../../src/store/store.ts';
import * as build from '../support/builders.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';
import { FakeCluster, FakeLink } from '../support/fake-store.ts';

const SELF = 'a'.repeat(25) as NodeId;
const OTHER = 'b'.repeat(25) as NodeId;
const LEASE_MS = 10_000_000;

function presence(id: NodeId): Presence {
  const address = build.ip(id === SELF ? '192.0.2.1' : '192.0.2.2');
  const probePort = 7946 as PortNumber;
  return { id, instance: '0'.repeat(16), address, dataAddress: address, probePort, version: '0', startedAt: 0 };
}

const service = { ...build.service('web'), id: 'web' as ServiceId };

function taskOn(nodeId: NodeId, name: string): Task {
  return build.task(service, 1, {}, { id: name.repeat(25).slice(0, 25) as TaskId, name, nodeId });
}

async function makeWorld(options: { readonly alone?: boolean } = {}) {
  const clock = new FakeClock();
  const store = new FakeCluster({ clock });
  const put = (lease: LeaseId, nodeId: NodeId, ...names: string[]) =>
    store.commit(
      [
        encodeRecord({ kind: 'presence', value: presence(nodeId) }),
        ...names.map((name) => encodeRecord({ kind: 'task', value: taskOn(nodeId, name) })),
      ].map((write) => ({ ...write, lease })),
    );
  const [own, others] = [store.grantLease(LEASE_MS), store.grantLease(LEASE_MS)];
  store.commit([encodeRecord({ kind: 'service', value: service })]);
  put(own, SELF, 'c');
  put(others, OTHER, 'd', 'e');
  const catalog = await Catalog.open(new FakeLink(store), { clock });
  let lost = 0;
  if (options.alone !== true) catalog.keepOwn(SELF, () => lost++);
  const heard: string[] = [];
  catalog.subscribe((_snapshot, _previous, changes) => {
    for (const { kind, before, after } of changes) {
      const sign = before === undefined ? '+' : after === undefined ? '-' : '=';
      heard.push(`${sign}${kind} ${(after ?? before)?.id[0]}`);
    }
  });
  const end = async (lease: LeaseId) => {
    store.endLease(lease);
    await settle();
  };
  const seen = () => [...catalog.snapshot.presences.keys(), ...catalog.snapshot.tasks.keys()].map((id) => id[0]).sort();
  return { clock, store, put, own, others, catalog, heard, end, seen, lost: () => lost };
}

t.test('a node that answers keeps what it has until it has put it on record again', async (t) => {
  const { clock, store, put, others, heard, end, seen, catalog } = await makeWorld();
  await end(others);
  t.same(heard, [], 'nobody hears of it');
  t.same(seen().join(''), 'abcde');
  t.equal(catalog.revisionOf('task', taskOn(OTHER, 'd').id), 0, 'as what is not on record');
  await clock.advance(29_000);
  put(store.grantLease(LEASE_MS), OTHER, 'd');
  await settle();
  t.same(heard.splice(0), ['=presence b', '=task d']);
  await clock.advance(999);
  put(store.grantLease(LEASE_MS), OTHER, 'd');
  await clock.advance(999);
  t.same(seen().join(''), 'abcde', 'there may be more to come');
  heard.length = 0;
  await clock.advance(1);
  t.same(heard, ['-task e'], 'what has not come is gone');
  t.same(seen().join(''), 'abcd');
});

t.test('a node that is suspected has gone with its lease', async (t) => {
  const { others, heard, end, seen, catalog } = await makeWorld();
  catalog.suspect(OTHER, true);
  heard.length = 0;
  await end(others);
  t.same(heard, ['-presence b', '-task d', '-task e']);
  t.same(seen().join(''), 'ac');
});

t.test('one that is suspected afterwards goes then', async (t) => {
  const { clock, others, heard, end, seen, catalog } = await makeWorld();
  await end(others);
  catalog.suspect(OTHER, true);
  await clock.advance(0);
  t.same(heard, ['+suspicion b', '-presence b', '-task d', '-task e']);
  t.same(seen().join(''), 'ac');
});

t.test('one that answers and puts nothing on record goes after 30 s', async (t) => {
  const { clock, others, heard, end, seen } = await makeWorld();
  await end(others);
  await clock.advance(29_999);
  t.same(heard, []);
  await clock.advance(1);
  t.same(seen().join(''), 'ac');
});

t.test('this node’s own stays, and is told of', async (t) => {
  const { clock, own, heard, end, seen, lost } = await makeWorld();
  await end(own);
  t.equal(lost(), 1);
  await clock.advance(60_000);
  t.same(seen().join(''), 'abcde');
  t.same(heard, []);
});

t.test('who has said nothing of a node of its own sees what the store says', async (t) => {
  const { others, end, seen } = await makeWorld({ alone: true });
  await end(others);
  t.same(seen().join(''), 'ac');
});

t.test('closed meanwhile', async (t) => {
  const { clock, others, end, catalog } = await makeWorld();
  await end(others);
  catalog.close();
  await clock.advance(60_000);
  t.equal(catalog.snapshot.presences.size, 2);
});
