// What `vipmesh doctor` says about facts. Each line of a table is what the user reads, the advice behind a bar.
import t from 'tap';
import type { AgentStatus, ClusterStatus } from '../../src/api/status-schema.ts';
import { type AddressFacts, checkAddresses, type MeshNetwork } from '../../src/cli/doctor/addresses.ts';
import { type Finding, formatFindings } from '../../src/cli/doctor/finding.ts';
import { checkKernel, checkPrivileges } from '../../src/cli/doctor/kernel.ts';
import { checkClock, checkDescriptors, type LimitFacts } from '../../src/cli/doctor/limits.ts';
import { readOldIptables } from '../../src/cli/doctor/look.ts';
import { stateOf } from '../../src/cli/doctor/look-at-ports.ts';
import { checkAgent, checkNodes, checkStore } from '../../src/cli/doctor/mesh.ts';
import { checkEgress, checkLeftovers } from '../../src/cli/doctor/outside.ts';
import { checkPorts, type PortFact } from '../../src/cli/doctor/ports.ts';
import { checkContainerResolvers, checkUpstreams } from '../../src/cli/doctor/resolvers.ts';
import { isInTheWay, waitingSockets } from '../../src/cli/doctor/socket-table.ts';
import { checkUnderlay } from '../../src/cli/doctor/underlay.ts';
import { ip, subnet } from '../support/builders.ts';

/** `bad: what | advice` */
function lines(findings: readonly Finding[]): readonly string[] {
  return findings.map((one) => (one.level === 'ok' ? `ok: ${one.what}` : `${one.level}: ${one.what} | ${one.advice}`));
}

t.test('kernel', async (t) => {
  const fine = [
    { facility: 'bridges', use: 'x' },
    { facility: 'VXLAN', use: 'x' },
  ];
  const facts = { release: '6.1.0-18-amd64', isRoots: true, trials: fine };
  const level = (release: string, isRoots: boolean) => checkKernel({ ...facts, release, isRoots })[0]?.level;
  t.same(lines(checkKernel(facts)), [
    'ok: Linux 6.1.0-18-amd64: overlay networks need 5.9',
    'ok: bridges, VXLAN can be made',
  ]);
  for (const [release, expected] of [
    ['5.9.0', 'ok'],
    ['5.10.0-28-amd64', 'ok'],
    ['10.1', 'ok'],
    ['5.8.18', 'bad'],
    ['4.19.0', 'bad'],
    ['unknown', 'bad'],
  ] as const) {
    t.equal(level(release, true), expected, release);
    t.equal(level(release, false), expected === 'bad' ? 'warn' : 'ok', `${release}, an ordinary user`);
  }
  t.same(
    lines(
      checkKernel({
        ...facts,
        trials: [...fine, { facility: 'veth pairs', use: 'a container hangs on one', error: 'ENOTSUP' }],
      }),
    ).slice(1),
    [
      'bad: veth pairs cannot be made, and a container hangs on one: ENOTSUP | load the kernel module veth: modprobe veth',
    ],
  );
  t.match(
    lines(checkKernel({ ...facts, trials: undefined }))[1],
    /^warn: what the kernel lets the agent make was not tried/,
  );
  t.match(lines(checkKernel({ ...facts, isRoots: false, trials: undefined }))[1], /^ok: .*local networks only/);
});

t.test('capabilities', async (t) => {
  const all = 0x1ffffffffffn;
  const without = (...bits: readonly number[]) => bits.reduce((left, bit) => left & ~(1n << BigInt(bit)), all);
  const root = { pid: undefined, uid: 0, capabilities: all, firstFreePort: 1024, dnsPort: 53 };
  t.same(lines(checkPrivileges(root)), ['ok: an agent started from here has the capabilities that it needs']);
  const missing = (capabilities: bigint, more = {}) => lines(checkPrivileges({ ...root, capabilities, ...more }))[0];
  t.match(
    missing(without(12), { pid: 7 }),
    /^bad: the agent \(pid 7\) is root's and lacks CAP_NET_ADMIN \(links, routes, nftables\) \|/,
  );
  t.match(missing(without(21)), /lacks CAP_SYS_ADMIN \(network namespaces\) \|/);
  t.match(missing(without(21, 39)), /lacks CAP_SYS_ADMIN \(network namespaces\), CAP_BPF \(sk_lookup\) \|/);
  t.match(missing(without(39)), /^ok/, 'CAP_SYS_ADMIN stands for CAP_BPF');
  t.match(missing(without(10)), /lacks CAP_NET_BIND_SERVICE/);
  t.match(missing(without(10), { dnsPort: 5353 }), /^ok/, 'no low port is needed');
  t.match(missing(without(10), { firstFreePort: 53 }), /^ok/, 'the port is free for all');
  const user = { ...root, uid: 1000, capabilities: 0n, dnsPort: 1053 };
  t.same(lines(checkPrivileges(user)), [
    "ok: an agent started from here is an ordinary user's (uid 1000): local networks",
  ]);
  t.match(lines(checkPrivileges({ ...user, dnsPort: 53 }))[1], /^bad: port 53 of the resolver is below 1024.*--dns/);
  t.match(lines(checkPrivileges({ ...root, capabilities: undefined }))[0], /^warn: .* \| run this with sudo/);
});

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

t.test('descriptors', async (t) => {
  const facts = {
    pid: 7,
    descriptors: { soft: 20_000, hard: 20_000 },
    open: 90,
    most: 1 << 20,
    machine: { open: 900, most: 100_000 },
  };
  const table: readonly (readonly [Partial<LimitFacts>, RegExp])[] = [
    [{}, /^ok: the agent \(pid 7\) may have 20000 descriptors, which is about 9900 connections at once$/],
    [
      { descriptors: { soft: 4096, hard: 4096 } },
      /^warn: .* 1948 connections .* 1048576 at most \(fs.nr_open\): LimitNOFILE=/,
    ],
    [{ descriptors: { soft: 1024, hard: 1024 } }, /^bad: .* 412 connections/],
    [{ descriptors: { soft: 128, hard: 128 } }, /^bad: .* 0 connections/],
    [{ pid: undefined, descriptors: { soft: 1024, hard: 20_000 } }, /^ok: an agent started from here may have 20000/],
    [{ most: 8192, descriptors: { soft: 1e9, hard: 1e9 } }, /^warn: .* may have 8192 descriptors/],
  ];
  for (const [more, expected] of table) {
    const [first, second] = lines(checkDescriptors({ ...facts, ...more }));
    t.match(first, expected);
    t.equal(second, undefined);
  }
  t.match(lines(checkDescriptors({ ...facts, open: 19_000 }))[1], /^bad: 19000 of the agent's 20000 descriptors/);
  t.match(lines(checkDescriptors({ ...facts, machine: { open: 90, most: 100 } }))[1], /^bad: 90 of the machine's 100/);
  t.match(lines(checkDescriptors({ ...facts, descriptors: undefined }))[0], /^warn: .*cannot be seen/);
});

t.test('clock', async (t) => {
  const clock = (isSynchronised: boolean, maxErrorMs: number, isCluster = true) =>
    lines(checkClock({ state: { isSynchronised, maxErrorMs }, isCluster }))[0];
  t.equal(clock(true, 1.2), 'ok: the clock is synchronised, to 2 ms at worst');
  t.match(clock(true, 5000), /^warn: .* 5000 ms at worst \| run something/);
  t.match(clock(false, 16_000), /^warn: nothing keeps the clock right/);
  t.match(clock(false, 16_000, false), /^ok: .* a node that is alone does not mind$/);
  t.match(
    lines(checkClock({ state: undefined, isCluster: true }))[0],
    /^ok: clock: not checked, the kernel does not say/,
  );
});

t.test('underlay', async (t) => {
  const underlay = { address: ip('192.0.2.2'), link: 'eth0', mtu: 1500 };
  const facts = { underlay, isCluster: true, tunnels: [], paths: [] };
  t.same(lines(checkUnderlay(facts)), [
    'ok: eth0 (192.0.2.2) takes packets of 1500 bytes, so overlay networks between nodes have an MTU of 1450',
  ]);
  t.match(
    lines(checkUnderlay({ ...facts, underlay: { ...underlay, address: ip('2001:db8::2') } }))[0],
    /an MTU of 1430$/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: { ...underlay, mtu: 1300 } }))[0],
    /^warn: .*too little for IPv6.*raise the MTU of eth0 to 1330/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: undefined, told: ip('192.0.2.9') }))[0],
    /192\.0\.2\.9, at which other nodes are told to reach this one, is not on this machine/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: undefined }))[0],
    /^bad: this machine has no address .*--advertise/,
  );
  t.match(lines(checkUnderlay({ ...facts, underlay: undefined, isCluster: false }))[0], /^ok/);
  t.match(
    lines(
      checkUnderlay({
        ...facts,
        tunnels: [
          { namespace: 'n1', mtu: 1450 },
          { namespace: 'n2', mtu: 1500 },
        ],
      }),
    )[1],
    /^warn: n2 \(1500\): an MTU larger than the 1450/,
  );
  const path = (more: { readonly mtu?: number; readonly error?: string }) =>
    lines(checkUnderlay({ ...facts, paths: [{ node: 'n2', address: ip('192.0.2.3'), mtu: 1500, ...more }] }))[1];
  t.equal(path({}), 'ok: no error comes back from packets of 1500 bytes to the tunnel port of 1 node: n2');
  t.match(path({ error: 'ECONNREFUSED' }), /^ok/, 'it has no tunnel yet');
  t.match(
    path({ mtu: 1400 }),
    /^warn: packets to n2 \(192.0.2.3\) may have 1400 bytes, and this node's link takes 1500.*driver.mtu=1350$/,
  );
  t.match(path({ mtu: 1400, error: 'EMSGSIZE' }), /^warn: .* may have 1400/);
  t.match(path({ error: 'EHOSTUNREACH' }), /^bad: .*do not arrive: EHOSTUNREACH .*ip route get 192.0.2.3/);
  t.match(path({ error: 'EPERM' }), /^bad: .*are not let out: EPERM .*4789\/udp/);
  t.match(path({ error: 'EINVAL' }), /^warn: .*cannot be sent: EINVAL/);
});

t.test('addresses', async (t) => {
  const route = (destination: string, link = 'eth0') => ({ destination: subnet(destination), link });
  const network = (name: string, range: string, more: Partial<MeshNetwork> = {}): MeshNetwork => ({
    name,
    driver: 'overlay',
    internal: false,
    subnets: [subnet(range)],
    ...more,
  });
  const facts: AddressFacts = {
    networks: [network('front', '10.64.0.0/24'), network('home', '127.64.0.0/16', { driver: 'local' })],
    isRoots: true,
    addresses: [{ link: 'eth0', address: ip('192.0.2.2'), prefixLength: 24 }],
    routes: [route('0.0.0.0/0'), route('192.0.2.0/24'), route('::/0')],
    egressSubnet: undefined,
    egressPoolIsTaken: false,
  };
  const say = (more: Partial<AddressFacts>) => lines(checkAddresses({ ...facts, ...more }));
  t.same(say({}), ['ok: addresses of all 2 networks: the node has no route of its own for them']);
  t.same(say({ routes: [route('10.0.0.0/8', 'tun0')] }), [
    'warn: network front has 10.64.0.0/24, and the node reaches 10.0.0.0/8 over tun0: containers of front cannot reach that | if they should, make the network anew with another --subnet',
  ]);
  t.match(
    say({ routes: [route('10.0.0.0/8')], networks: [network('back', '10.64.0.0/24', { internal: true })] })[0],
    /^ok/,
  );
  t.match(
    say({ routes: [route('127.64.3.0/24')] })[0],
    /^bad: 127.64.3.0\/24, of the addresses of local networks .* is routed over eth0/,
  );
  t.match(say({ routes: [route('127.0.0.0/8', 'lo')] })[0], /^ok/);
  t.match(
    say({ addresses: [{ link: 'eth1', address: ip('127.70.0.1'), prefixLength: 8 }] })[0],
    /^bad: eth1 has 127.70.0.1/,
  );
  t.match(
    say({ egressSubnet: subnet('192.0.2.0/25') })[0],
    /^bad: the egress subnet 192.0.2.0\/25 is routed over eth0/,
  );
  t.match(say({ egressPoolIsTaken: true })[0], /^bad: each part of 100.127.0.0\/16.*--egress-subnet/);
  t.match(say({ egressPoolIsTaken: true, isRoots: false })[0], /^ok/);
  t.match(say({ networks: [] })[0], /^ok: addresses for networks/);
});

t.test('resolv.conf', async (t) => {
  const facts = {
    own: ['127.0.0.11:53'],
    upstreams: [{ address: '192.0.2.53:53', error: undefined as string | undefined }],
    resolved: [] as string[],
    resolvConf: 'nameserver 192.0.2.53\n' as string | undefined,
  };
  const say = (more: Partial<typeof facts>) => lines(checkUpstreams({ ...facts, ...more }));
  const dead = { address: '192.0.2.54:53', error: 'ETIMEOUT' };
  t.same(say({}), ['ok: upstreams that answer: 192.0.2.53:53']);
  t.match(say({ upstreams: [dead] }), [/^bad: no upstream answers.*192.0.2.54:53 \(ETIMEOUT\)/]);
  t.match(say({ upstreams: [dead, ...facts.upstreams] }), [
    /^ok: .* 192.0.2.53:53$/,
    /^warn: upstreams that do not answer: 192.0.2.54:53/,
  ]);
  t.match(say({ upstreams: [] }), [/^warn: \/etc\/resolv.conf names no server but the agent: names from outside/]);
  t.match(say({ upstreams: [], resolvConf: undefined }), [/^warn: \/etc\/resolv.conf cannot be read/]);
  t.match(say({ upstreams: [{ address: '127.0.0.11:53', error: undefined }] }), [
    /^bad: the agent forwards to 127.0.0.11:53, which is itself/,
  ]);
  const resolved = [{ address: '127.0.0.53:53', error: undefined }];
  t.match(say({ upstreams: resolved, resolved: ['127.0.0.11'] }), [/^bad: .*systemd-resolved.*asks the agent again/]);
  t.match(say({ upstreams: resolved, resolved: ['192.0.2.53'] }), [/^ok/]);

  const right = { task: 'web.1', resolvConf: '# mine\nsearch x\nnameserver 127.0.0.11\nnameserver 192.0.2.53\n' };
  const wrong = { task: 'app.1', resolvConf: 'nameserver 192.0.2.53\nnameserver 127.0.0.11\n' };
  t.same(lines(checkContainerResolvers([right, right])), ['ok: 2 containers ask 127.0.0.11 first']);
  t.same(lines(checkContainerResolvers([right, wrong, { task: 'gone', resolvConf: undefined }])), [
    'bad: app.1 does not ask 127.0.0.11 first, and so not find names of the mesh | start it with 127.0.0.11 as its DNS server: docker run --dns 127.0.0.11',
    'ok: 1 container asks 127.0.0.11 first',
  ]);
  t.match(lines(checkContainerResolvers(undefined)), [/^warn: .* \| run this with sudo/]);
});

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

t.test('egress and leftovers', async (t) => {
  const facts = {
    isRoots: true,
    isUp: true,
    forwarding: true,
    isForwardingWritable: true,
    dropping: [],
    tracked: { count: 5, most: 100 },
  };
  const chain = { family: 'ip', table: 'filter', chain: 'FORWARD', knowsEgress: false };
  const say = (more: object) => lines(checkEgress({ ...facts, ...more }));
  t.same(say({}), ['ok: nothing keeps containers from the outside']);
  t.same(say({ isRoots: false, forwarding: false }), []);
  t.match(say({ forwarding: false }), [/^bad: net.ipv4.ip_forward is off/]);
  t.match(say({ forwarding: false, isUp: false }), [/^ok/], 'the agent switches it on');
  t.match(say({ forwarding: false, isUp: false, isForwardingWritable: false }), [/^bad: .* cannot be switched on/]);
  t.match(say({ dropping: [chain] }), [
    /^warn: chain FORWARD of table ip filter drops .* \| .*iptables -I FORWARD -i vmeg-\+/,
  ]);
  t.match(say({ dropping: [{ ...chain, family: 'inet', table: 'fw' }] }), [
    /^warn: .* \| accept there what comes in by vmeg-\*/,
  ]);
  t.match(say({ dropping: [{ ...chain, knowsEgress: true }] }), [/^ok/]);
  t.match(say({ tracked: { count: 90, most: 100 } }), [/^bad: the kernel tracks 90 connections, of 100/]);
  t.match(say({ dropping: undefined, tracked: undefined }), [/^ok: .* as far as can be seen without root/]);
  t.match(readOldIptables('-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n'), [{ knowsEgress: false }]);
  t.match(readOldIptables('-P FORWARD DROP\n-A FORWARD -i vmeg-+ -j ACCEPT\n'), [{ knowsEgress: true }]);
  t.same(readOldIptables('-P FORWARD ACCEPT\n'), []);

  const remnant = { kind: 'table', name: 'vipmesh_abcdef' };
  const survey = { remove: [remnant], inhabited: [], silent: [] };
  const left = (more: object, isAgentRunning = false) =>
    lines(checkLeftovers({ survey: { ...survey, ...more }, isAgentRunning }));
  t.same(left({}), [
    'warn: agents that have ended left 1 thing: table vipmesh_abcdef | vipmesh cleanup, or the start of the agent that they belong to',
  ]);
  t.match(left({}, true), [/\| stop the agent, then vipmesh cleanup$/]);
  t.match(left({ remove: Array.from({ length: 5 }, () => remnant) }), [/left 5 things: .* and 2 more \|/]);
  t.same(left({ remove: [] }), ['ok: agents that have ended left nothing behind']);
  t.match(left({ remove: [], inhabited: ['c1'] }), [
    /^ok: 1 container of an agent that has ended still runs: c1/,
    /^ok/,
  ]);
  t.match(left({ silent: [7] }), [/^warn: the agent with pid 7 does not answer/]);
  t.same(lines(checkLeftovers({ survey: undefined, isAgentRunning: false })), []);
});

t.test('how it is written', async (t) => {
  t.equal(
    formatFindings([
      { level: 'ok', check: 'a', what: 'fine' },
      { level: 'bad', check: 'b', what: 'line one\nline two', advice: 'mend it' },
    ]),
    'ok    fine\nbad   line one; line two\n      mend it\n',
  );
});
