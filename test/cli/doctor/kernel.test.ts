// What `vipmesh doctor` says of the kernel, and of what an agent may do.
import t from 'tap';
import { checkKernel, checkPrivileges } from '../../../src/cli/doctor/kernel.ts';
import { lines } from './lines.ts';

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
