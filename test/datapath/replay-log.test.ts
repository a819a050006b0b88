import t from 'tap';
import type { Command } from '../../src/datapath/command.ts';
import { ReplayLog } from '../../src/datapath/replay-log.ts';

function replay(...commands: readonly Command[]): readonly Command[] {
  const log = new ReplayLog();
  for (const command of commands) log.note(command);
  return log.commands();
}

const backend = (id: number, slots: readonly number[]): Command => ({
  kind: 'backend-set',
  backend: {
    id,
    roundRobinSlot: id,
    endpoints: slots.map((slot) => ({ slot, address: '127.0.0.1', portMap: [], netns: 0, weight: 1 })),
  },
});
const frontend = (id: number, fd: number): Command => ({
  kind: 'frontend-add',
  frontend: { id, protocol: 'tcp', fd, target: { kind: 'port', backend: 1, targetPort: 80 } },
});
const names = (network: number, ...list: readonly (readonly [string, boolean])[]): Command => ({
  kind: 'zone-update',
  update: {
    network,
    names: list.map(([name, exists]) => ({ name, exists, addresses: exists ? ['10.0.0.1'] : [] })),
    pointers: list.map(([name, exists]) => ({
      address: name.length === 1 ? '10.0.0.1' : '10.0.0.2',
      name: exists ? name : null,
    })),
  },
});

t.test('the last word on each thing is kept', async (t) => {
  t.same(replay(backend(1, [1]), backend(2, [2]), backend(1, [3])), [backend(1, [3]), backend(2, [2])]);
  t.same(replay(backend(1, [1]), { kind: 'backend-remove', id: 1 }), []);
  t.same(replay(frontend(1, 10), { kind: 'frontend-remove', id: 1 }, frontend(1, 11)), [frontend(1, 11)]);
  const vip = (backend: number | null): Command => ({ kind: 'vip-set', network: 1, address: '10.0.0.9', backend });
  t.same(replay(vip(1), vip(2)), [vip(2)]);
  t.same(replay(vip(1), vip(null)), []);
});

t.test('logs go on in a new worker', async (t) => {
  const queue = new SharedArrayBuffer(16);
  const dns = (share: number): Command => ({ kind: 'dns-query-log', share, queue });
  t.same(replay({ kind: 'connection-log', share: 1, queue }, dns(1), dns(0.5)), [
    { kind: 'connection-log', share: 1, queue },
    dns(0.5),
  ]);
});

t.test('moments are not repeated', async (t) => {
  t.same(replay({ kind: 'barrier', token: 1 }, { kind: 'endpoint-close', slots: [1] }, { kind: 'stop' }), []);
});

t.test('zone updates become one, after the zone and before the sockets', async (t) => {
  const zone: Command = { kind: 'zone-add', network: 1, name: 'front', subnets: [] };
  const socket: Command = { kind: 'dns-socket-add', fd: 7, protocol: 'udp', scope: 0, client: 0 };
  const scope: Command = { kind: 'scope-set', scope: { id: 0, networks: [1], forward: true } };
  t.same(replay(socket, zone, names(1, ['a', true], ['bb', true]), scope, names(1, ['a', false])), [
    zone,
    scope,
    names(1, ['bb', true]),
    socket,
  ]);
  t.same(replay(zone, names(1, ['a', true]), { kind: 'zone-remove', network: 1 }), []);
});

t.test('a command that a worker failed on is forgotten, unless something took its place', async (t) => {
  const log = new ReplayLog();
  log.note(backend(1, [1]));
  log.forget(structuredClone(backend(1, [1])));
  t.same(log.commands(), []);
  log.note(backend(1, [2]));
  log.forget(backend(1, [1]));
  t.same(log.commands(), [backend(1, [2])]);
});
