// What endpoints are worth to a node, by what became of the nodes that they are on.
import t from 'tap';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { Change } from '../../src/catalog/change.ts';
import { checkerOf, servicesOfChangedNodes, standingOf } from '../../src/catalog/standing.ts';
import type { Node, NodeId, Presence } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Task } from '../../src/model/task.ts';
import * as build from '../support/builders.ts';

const SELF = 'self' as NodeId;
const OTHER = 'other' as NodeId;
const ADDRESS = '192.0.2.2';

const web = build.service('web');
const onOther = { ...build.task(web, 1, { front: '10.64.0.9' }), nodeId: OTHER } satisfies Task;
const atOther = { ...build.task(web, 2, { front: ADDRESS }), nodeId: SELF, source: 'static' } satisfies Task;
const elsewhere = { ...build.task(web, 3, { front: '203.0.113.1' }), nodeId: OTHER, source: 'static' } satisfies Task;

function presence(id: NodeId): Presence {
  const address = build.ip(id === SELF ? '192.0.2.1' : ADDRESS);
  const probePort = 7946 as PortNumber;
  return { id, instance: '0'.repeat(16), address, dataAddress: address, probePort, version: '0', startedAt: 0 };
}

function node(id: NodeId, availability: Node['availability'] = 'active'): Node {
  return { id, name: id, availability, labels: {}, createdAt: 0, updatedAt: 0 };
}

const here: Change = { kind: 'presence', after: presence(SELF) };
const there: Change = { kind: 'presence', after: presence(OTHER) };
const down: Change = { kind: 'presence', before: presence(OTHER) };
const known: Change = { kind: 'node', after: node(OTHER) };
const suspected: Change = { kind: 'suspicion', after: { id: OTHER, since: 0 } };
const cleared: Change = { kind: 'suspicion', before: { id: OTHER, since: 0 } };
const tasks = [onOther, atOther, elsewhere].map((after): Change => ({ kind: 'task', after }));

function after(...changes: readonly Change[]): Snapshot {
  return changes.reduce((snapshot, change) => applyChanges(snapshot, 1, [change]), EMPTY_SNAPSHOT);
}

function standings(snapshot: Snapshot): string {
  return [onOther, atOther, elsewhere]
    .map((task) => standingOf(snapshot, task, task.attachments[0]?.address ?? build.ip('0.0.0.0'), SELF))
    .join(', ');
}

t.test('of a task on another node, of a static endpoint at its address, of one at no node’s', async (t) => {
  const cases: readonly (readonly [string, readonly Change[], string])[] = [
    ['a node that is alone', [], 'eligible, eligible, eligible'],
    ['both are there', [here, there], 'eligible, eligible, eligible'],
    ['the other is suspected', [here, there, suspected], 'last-resort, last-resort, eligible'],
    ['its lease has ended', [here, there, suspected, down, cleared], 'eligible, last-resort, eligible'],
    ['it is back', [here, there, suspected, down, cleared, there], 'eligible, eligible, eligible'],
    ['it is drained', [here, there, { kind: 'node', after: node(OTHER, 'drain') }], 'out, out, eligible'],
    [
      'it was removed',
      [here, known, there, down, { kind: 'node', before: node(OTHER) }],
      'eligible, eligible, eligible',
    ],
  ];
  for (const [what, changes, expected] of cases) t.equal(standings(after(...tasks, ...changes)), expected, what);
});

t.test('who checks what is at the address of a node that is down', async (t) => {
  t.equal(checkerOf(after(...tasks, here, there), atOther), OTHER);
  t.equal(checkerOf(after(...tasks, here, there, down), atOther), SELF, 'who added it');
});

t.test('whose standing may be another after a change', async (t) => {
  const before = after(...tasks, here, known, there);
  for (const change of [suspected, down, { kind: 'node', before: node(OTHER) }] as const)
    t.same([...servicesOfChangedNodes(applyChanges(before, 2, [change]), before, [change])], [web.id], change.kind);
  const gone = applyChanges(before, 2, [down]);
  const removal: Change = { kind: 'node', before: node(OTHER) };
  const onlyStatic = applyChanges(gone, 3, [{ kind: 'task', before: onOther }]);
  t.same([...servicesOfChangedNodes(applyChanges(onlyStatic, 4, [removal]), onlyStatic, [removal])], [web.id]);
});
