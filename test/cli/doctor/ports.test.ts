// What `vipmesh doctor` says of the ports that an agent needs, and how it finds out who has them.
import t from 'tap';
import { stateOf } from '../../../src/cli/doctor/look-at-ports.ts';
import { checkPorts, type PortFact } from '../../../src/cli/doctor/ports.ts';
import { isInTheWay, waitingSockets } from '../../../src/cli/doctor/socket-table.ts';
import { ip } from '../../support/builders.ts';
import { lines } from './lines.ts';

t.test('ports', async (t) => {
  const port = (state: PortFact['state'], more: Partial<PortFact> = {}): PortFact => ({
    use: 'resolver',
    protocol: 'udp',
    address: ip('127.0.0.11'),
    port: 53,
    flag: '--dns',
    isNeeded: true,
    state,
    ...more,
  });
  const one = (fact: PortFact, running = false) => lines(checkPorts([fact], running))[0];
  const vxlan = { use: 'VXLAN', address: ip('0.0.0.0'), port: 4789 } as const;
  t.equal(one(port({ kind: 'free' })), 'ok: 127.0.0.11:53/udp (resolver): free');
  t.equal(one(port({ kind: 'held-by-agent' }), true), 'ok: 127.0.0.11:53/udp (resolver): free or held by the agent');
  t.equal(
    one(port({ kind: 'taken', by: { pid: 9, name: 'dnsmasq' } })),
    'bad: 127.0.0.11:53/udp (resolver) is taken by dnsmasq (pid 9) | stop that program, or give the agent another place with --dns',
  );
  t.match(one(port({ kind: 'taken' })), /^bad: .* is taken by another user's program/);
  t.match(one(port({ kind: 'free' }), true), /^bad: .* is not open, although the agent runs/);
  t.match(one(port({ kind: 'forbidden' })), /^bad: .* may not be opened by this user \| start the agent as root, or/);
  t.match(one(port({ kind: 'impossible', error: 'EADDRNOTAVAIL' })), /^bad: .* cannot be opened: EADDRNOTAVAIL/);
  t.match(
    one(port({ kind: 'taken', by: { pid: 9, name: 'serf' } }, { isNeeded: false })),
    /^warn: .*only an agent in a cluster/,
  );
  t.match(one(port({ kind: 'held-by-kernel' }, vxlan)), /^warn: port 4789\/udp \(VXLAN\) is in use by VXLAN devices/);
  t.match(one(port({ kind: 'held-by-kernel' }, vxlan), true), /^ok/);
  t.match(one(port({ kind: 'free' }, vxlan), true), /^ok/, 'no network reaches other nodes yet');
  t.match(one(port({ kind: 'held-by-kernel' })), /^bad: .* is taken by the kernel/);
});

t.test('who has a port', async (t) => {
  const holders = new Map([
    ['100', { pid: 7, name: 'node' }],
    ['200', { pid: 8, name: 'dnsmasq' }],
  ]);
  const agent = { pid: 7, isOpen: true };
  const seen = { inodes: ['200'], holders, agent: undefined, error: undefined, isRoot: true };
  t.same(stateOf(seen), { kind: 'free' }, 'what is in the way need not be');
  t.same(stateOf({ ...seen, error: 'EADDRINUSE' }), { kind: 'taken', by: { pid: 8, name: 'dnsmasq' } });
  t.same(stateOf({ ...seen, error: 'EADDRINUSE', inodes: ['300'] }), { kind: 'held-by-kernel' });
  t.same(stateOf({ ...seen, error: 'EADDRINUSE', inodes: ['300'], isRoot: false }), { kind: 'taken' });
  t.same(stateOf({ ...seen, error: 'EADDRINUSE', inodes: [] }), { kind: 'taken' });
  t.same(stateOf({ ...seen, error: 'EACCES' }), { kind: 'forbidden' });
  t.same(stateOf({ ...seen, error: 'EADDRNOTAVAIL' }), { kind: 'impossible', error: 'EADDRNOTAVAIL' });
  t.same(stateOf({ ...seen, agent }), { kind: 'taken', by: { pid: 8, name: 'dnsmasq' } });
  t.same(stateOf({ ...seen, agent, inodes: ['200', '100'] }), { kind: 'held-by-agent' });
  t.same(stateOf({ ...seen, agent, inodes: [] }), { kind: 'free' });
  t.same(stateOf({ ...seen, agent, inodes: ['300'] }), { kind: 'held-by-kernel' });
  t.same(stateOf({ ...seen, agent: { pid: 7, isOpen: false }, inodes: ['300'], isRoot: false }), {
    kind: 'held-by-agent',
  });
});

t.test('the kernel says which sockets there are', async (t) => {
  const udp = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0B00007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  102: 0100007F:0035 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
`;
  const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1
   2: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 06 00000000:00000000 00:00000000 00000000     0        0 0 1
`;
  t.same(waitingSockets(udp, 'udp'), [{ address: '127.0.0.11', port: 53, inode: '4711' }]);
  t.same(waitingSockets(tcp6, 'tcp'), [
    { address: '::', port: 8080, inode: '4713' },
    { address: '127.0.0.1', port: 80, inode: '4714' },
  ]);
  t.same(waitingSockets('', 'tcp'), []);
  const socket = (address: string) => ({ address: ip(address), port: 53, inode: '1' });
  t.ok(isInTheWay(socket('0.0.0.0'), ip('127.0.0.11'), 53));
  t.ok(isInTheWay(socket('::'), ip('127.0.0.11'), 53));
  t.ok(isInTheWay(socket('127.0.0.53'), ip('0.0.0.0'), 53));
  t.notOk(isInTheWay(socket('127.0.0.53'), ip('127.0.0.11'), 53));
  t.notOk(isInTheWay(socket('0.0.0.0'), ip('127.0.0.11'), 54));
});
