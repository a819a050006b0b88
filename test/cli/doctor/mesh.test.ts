// What `vipmesh doctor` says of the agent, its store and the other nodes.
import t from 'tap';
import type { AgentStatus, ClusterStatus } from '../../../src/api/status-schema.ts';
import { checkAgent, checkNodes, checkStore } from '../../../src/cli/doctor/mesh.ts';
import { lines } from './lines.ts';

const STATUS = {
  Version: '1',
  PID: 7,
  State: 'ready',
  Workers: [{ ID: 0, State: 'running', Connections: 0, Flows: 0 }],
  Stacks: [],
  Frontends: [],
  Warnings: [],
} as unknown as AgentStatus;

t.test('agent', async (t) => {
  const say = (more: object) => lines(checkAgent({ kind: 'running', status: { ...STATUS, ...more } }));
  t.same(say({}), ['ok: the agent 1 (pid 7) is ready']);
  t.match(say({ State: 'draining' }), [/^warn: .* is draining \| it is about to end/]);
  t.match(say({ Workers: [{ State: 'restarting' }, { State: 'running' }] })[1], /^bad: 1 of 2 workers/);
  t.match(
    say({ Stacks: [{ Name: 'shop', File: '/a.yaml', State: 'rejected', Error: 'line 1: no' }] })[1],
    /^bad: stack shop is not applied: line 1: no \| correct \/a.yaml/,
  );
  const blocked = {
    Kind: 'published',
    Service: 'web',
    Protocol: 'tcp',
    Port: 80,
    State: 'blocked',
    Reason: 'nginx has it',
  };
  t.match(say({ Frontends: [blocked, { ...blocked, State: 'listening' }] }), [
    /./,
    /^bad: port 80\/tcp of service web is blocked: nginx has it/,
  ]);
  t.match(say({ Warnings: ['plaintext'] })[1], /^warn: plaintext \|/);
  t.match(lines(checkAgent({ kind: 'none', why: 'no agent' })), [/^warn: no agent \|/]);
  t.match(lines(checkAgent({ kind: 'forbidden', why: 'permission denied' })), [/^warn: permission denied \|/]);
  t.match(lines(checkAgent({ kind: 'mute', why: 'it hangs' })), [/^bad: it hangs \|/]);
});

const CLUSTER = {
  Store: { Endpoints: ['h1:2379'], Prefix: '/m', Connected: true, Since: '2026-01-01T00:00:00Z', ServingCopy: false },
  Nodes: [],
} satisfies ClusterStatus;
const NOW = Date.parse('2026-01-01T00:05:00Z');

t.test('store', async (t) => {
  const disk = { isThere: true, isWritable: true, freeBytes: 5e9 };
  const facts = { cluster: undefined, folder: '/state', disk, servers: [], now: NOW };
  t.same(lines(checkStore(facts)), ['ok: the state directory /state is there, on a disk with 4768 MB left']);
  t.match(lines(checkStore({ ...facts, disk: { ...disk, freeBytes: 1e6 } })), [/^warn: the disk .* has 0 MB left/]);
  t.match(lines(checkStore({ ...facts, disk: { ...disk, isWritable: false } })), [
    /^bad: .* cannot be written to by this user/,
  ]);
  t.match(lines(checkStore({ ...facts, disk: { ...disk, isThere: false, isWritable: false } })), [/cannot be made/]);
  const etcd = (more: object) =>
    lines(checkStore({ ...facts, disk: undefined, cluster: { ...CLUSTER, Store: { ...CLUSTER.Store, ...more } } }));
  t.same(etcd({}), ['ok: etcd (h1:2379) has been connected for 5 minutes']);
  t.match(etcd({ Connected: false, Error: 'refused' }), [
    /^bad: etcd \(h1:2379\) has not answered for 5 minutes; the last known state is served, and changes are refused: refused/,
  ]);
  t.match(etcd({ Connected: false, ServingCopy: true }), [/this node's own copy is served/]);
  const servers = [
    { address: 'h1:2379', error: undefined },
    { address: 'h2:2379', error: 'ECONNREFUSED' },
  ];
  t.match(lines(checkStore({ ...facts, disk: undefined, servers })), [
    /^ok: etcd is reached: h1:2379/,
    /^warn: some of etcd .*h2:2379 \(ECONNREFUSED\)/,
  ]);
  t.match(lines(checkStore({ ...facts, disk: undefined, servers: servers.slice(1) })), [
    /^bad: etcd is not to be reached/,
  ]);
});

t.test('nodes', async (t) => {
  const node = (Name: string, more: object = {}) =>
    ({
      ID: Name,
      Name,
      Self: false,
      State: 'ready',
      Availability: 'active',
      Address: '192.0.2.3',
      RoundTrip: 0.4,
      Behind: 0,
      ...more,
    }) as const;
  const say = (...nodes: readonly object[]) =>
    lines(checkNodes({ ...CLUSTER, Nodes: [node('self', { Self: true }), ...nodes] as ClusterStatus['Nodes'] }));
  t.same(lines(checkNodes(undefined)), []);
  t.same(say(), ['ok: there is no other node yet']);
  t.same(say(node('a'), node('b', { RoundTrip: 2 })), ['ok: 2 other nodes answer within 2.0 ms']);
  t.match(say(node('a', { State: 'unknown' })), [/^bad: node a \(192.0.2.3\) does not answer this one \| .*7946\/udp/]);
  t.match(say(node('a', { State: 'down' }), node('b')), [/^ok: 1 other node answers/, /^warn: node a is down/]);
  t.match(say(node('a', { RoundTrip: 250 }))[1], /^warn: node a answers after 250 ms/);
  t.match(say(node('a', { Behind: 11 }))[1], /^warn: node a is 11 commits behind this one/);
});
