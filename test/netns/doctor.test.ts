// `vipmesh doctor` on a real node: well, broken in several places, with an agent and without, as root and as an ordinary user.
import './support/node.ts';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { checkPaths } from '../../src/agent/path-check.ts';
import type { MacAddress, Namespace } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { makeFolder, type Outcome, run, startAgent } from '../support/agent.ts';
import { ip } from '../support/builders.ts';
import { startMockUpstream } from '../support/mock-upstream.ts';
import { findProgram, needsPrograms } from '../support/requirements.ts';
import { untilServing } from './support/mesh.ts';
import { kernelState, mayBeNode } from './support/node.ts';
import { startServer } from './support/tasks.ts';

const NOBODY = 65534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const NO_AGENT = '/run/none/vipmesh.sock';
const STACK = `services:
  web: {networks: [front], ports: ["8080:8000"]}
networks:
  front: {driver: overlay}
`;

interface Report extends Outcome {
  readonly findings: readonly {
    readonly Level: string;
    readonly Check: string;
    readonly What: string;
    readonly Advice: string;
  }[];
  /** `level: what` of all that is not well. */
  readonly problems: readonly string[];
}

type Options = Parameters<typeof run>[1];

async function doctor(env: Readonly<Record<string, string>>, through: readonly string[] = []): Promise<Report> {
  const options: Options = { env: { VIPMESH_HOST: NO_AGENT, ...env }, through };
  const outcome = await run(['doctor', '--format', 'json'], options);
  const findings = outcome.stdout === '' ? [] : (JSON.parse(outcome.stdout) as Report['findings']);
  const problems = findings.flatMap(({ Level, What }) => (Level === 'ok' ? [] : [`${Level}: ${What}`]));
  return { ...outcome, findings, problems };
}

/** The findings of one check, as `level: what`. */
function of(report: Report, check: string): readonly string[] {
  return report.findings.flatMap(({ Level, Check, What }) => (Check === check ? [`${Level}: ${What}`] : []));
}

/** An upstream that answers that it does not know. */
async function startUpstream(): Promise<string> {
  const { address, port } = await startMockUpstream(({ message }) => {
    const answer = Buffer.from(message);
    answer.writeUInt16BE(0x8183, 2);
    return [answer];
  });
  return `${address}:${port}`;
}

async function addLink(kernel: LinuxKernel, name: string, address: string): Promise<Namespace> {
  const outside = await kernel.ensureNamespace(`behind-${name}`);
  const mac = '02:00:00:00:00:09' as MacAddress;
  await kernel.own.apply({ kind: 'add-veth', name, peer: { namespace: `behind-${name}`, name: 'eth0', mac } });
  await setUp(kernel.own, name, address);
  return outside;
}

async function setUp(namespace: Namespace, link: string, address: string): Promise<void> {
  await namespace.apply({
    kind: 'add-address',
    link,
    address: { address: ip(address), prefixLength: 24, deprecated: false },
  });
  await namespace.apply({ kind: 'set-link', name: link, up: true });
}

t.test('doctor', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'nft', 'setpriv', 'prlimit')) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const env = { VIPMESH_UPSTREAM: await startUpstream() };

  await t.test('a node that is well', async (t) => {
    const before = kernelState();
    const report = await doctor(env);
    t.equal(report.code, 0, report.stderr);
    t.same(report.problems, [
      `warn: no agent at ${NO_AGENT}; start it with \`vipmesh agent\` as root, or say where it is with --host or VIPMESH_HOST`,
    ]);
    t.ok(
      of(report, 'kernel').includes(
        'ok: network namespaces, bridges, veth pairs, VXLAN, nftables, sk_lookup can be made',
      ),
    );
    t.match(of(report, 'ports'), [
      /^ok: 127.0.0.11:53\/udp \(resolver\), 127.0.0.11:53\/tcp .*7946\/udp .*4789\/udp \(VXLAN\): free$/,
    ]);
    t.same(kernelState(), before, 'nothing is left of what was tried');
    const text = await run(['doctor'], { env: { VIPMESH_HOST: NO_AGENT, ...env } });
    t.equal(text.code, 0);
    t.match(text.stdout, /^warn {2}no agent at .*\n {6}what follows is about .*\nok {4}Linux /);
  });

  await t.test('an ordinary user', async (t) => {
    const folder = await makeFolder();
    const report = await doctor({ ...env, XDG_STATE_HOME: '/tmp', HOME: folder.path }, AS_NOBODY);
    t.same({ code: report.code, bad: report.problems.filter((line) => line.startsWith('bad')) }, { code: 0, bad: [] });
    t.match(of(report, 'capabilities'), [/^ok: .* is an ordinary user's \(uid 65534\): local networks/]);
    t.match(of(report, 'ports'), [/^ok: 127.0.0.11:1053\/udp/]);
  });

  await t.test('what is broken is found, and why', (t) => broken(t, kernel, env));
  await t.test('settings that are wrong', async (t) => {
    const report = await doctor({ ...env, VIPMESH_WORKERS: 'many' });
    t.equal(report.code, 1);
    t.match(of(report, 'settings'), [/^bad: VIPMESH_WORKERS: should be a number/]);
    const loop = await doctor({ VIPMESH_UPSTREAM: '127.0.0.11:53' });
    t.match(of(loop, 'settings'), [/^bad: VIPMESH_UPSTREAM: 127\.0\.0\.11:53 is this resolver itself/]);
    const silent = await doctor({ VIPMESH_UPSTREAM: '127.0.0.1:9' });
    t.match(of(silent, 'resolv.conf'), [/^bad: no upstream answers.*127.0.0.1:9 \(ECONNREFUSED\)/]);
    const store = await doctor({ ...env, VIPMESH_STORE: 'etcd://127.0.0.1:9/mesh' });
    t.match(of(store, 'store')[1], /^bad: etcd is not to be reached: 127.0.0.1:9 \(ECONNREFUSED\)/);
  });
  await t.test('the way to other nodes', (t) => paths(t, kernel));
  await t.test('with an agent', (t) => withAgent(t, env));
});

async function broken(t: Test, kernel: LinuxKernel, env: Readonly<Record<string, string>>): Promise<void> {
  const thief = createSocket('udp4').bind(53, '127.0.0.11');
  await once(thief, 'listening');
  const behind = await addLink(kernel, 'corp', '127.65.0.1');
  const nft = (...words: string[]) => execFileSync(findProgram('nft') ?? '', words);
  nft('add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }');
  (await kernel.ensureNamespace('vipmesh-abcdef-12345678')).close();
  const before = kernelState();
  const report = await doctor(env, ['prlimit', '--nofile=256:256']);
  t.equal(report.code, 1);
  t.same(
    report.problems.slice(1).map((line) => line.replace(/\d+ MB/, 'N MB')),
    [
      `bad: 127.0.0.11:53/udp (resolver) is taken by node (pid ${process.pid})`,
      'bad: an agent started from here may have 256 descriptors, which is about 28 connections at once',
      'bad: corp has 127.65.0.1, of the addresses of local networks (127.64.0.0/10)',
      "warn: chain FORWARD of table ip filter drops what it does not accept (Docker's and firewalls' do): containers may not reach the outside",
      'warn: agents that have ended left 1 thing: network vipmesh-abcdef-12345678',
    ],
  );
  for (const { Level, What, Advice } of report.findings) t.equal(Advice === '', Level === 'ok', `advice: ${What}`);
  t.same(kernelState(), before, 'it changes nothing');

  nft('add rule ip filter FORWARD iifname "vmeg-*" accept');
  t.match(of(await doctor(env), 'egress'), [/^ok/], 'a rule for the bridges of agents will do');
  nft('delete table ip filter');
  thief.close();
  kernel.deleteNamespace('vipmesh-abcdef-12345678');
  behind.close();
  kernel.deleteNamespace('behind-corp');
  await kernel.own.apply({ kind: 'remove-link', name: 'corp' });
  t.equal((await doctor(env)).code, 0, 'all is well again');
}

/** This node, a router, and a node behind it whose link takes smaller packets. */
async function paths(t: Test, kernel: LinuxKernel): Promise<void> {
  const router = await addLink(kernel, 'way', '192.0.2.1');
  await setUp(router, 'eth0', '192.0.2.2');
  const far = await kernel.ensureNamespace('far');
  const mac = '02:00:00:00:00:0a' as MacAddress;
  await router.apply({ kind: 'add-veth', name: 'eth1', peer: { namespace: 'far', name: 'eth0', mac } });
  await router.apply({ kind: 'set-link', name: 'eth1', mtu: 1400 });
  await setUp(router, 'eth1', '198.51.100.1');
  await setUp(far, 'eth0', '198.51.100.2');
  await router.apply({ kind: 'set-sysctl', path: 'ipv4/ip_forward', value: '1' });
  const route = (destination: string, via: string) =>
    ({ kind: 'unicast', destination: ip(destination), prefixLength: 24, via: ip(via) }) as const;
  await kernel.own.apply({ kind: 'add-route', link: 'way', route: route('198.51.100.0', '192.0.2.2') });
  await far.apply({ kind: 'add-route', link: 'eth0', route: route('192.0.2.0', '198.51.100.1') });
  const targets = ['192.0.2.2', '198.51.100.2', '203.0.113.1'].map(ip);
  t.same(await checkPaths(targets, 4789, 1500), [
    { address: '192.0.2.2', mtu: 1500, error: 'ECONNREFUSED' },
    { address: '198.51.100.2', mtu: 1400, error: 'EMSGSIZE' },
    { address: '203.0.113.1', mtu: undefined, error: 'ENETUNREACH' },
  ]);
  const [small] = await checkPaths([ip('198.51.100.2')], 4789, 1400);
  t.same(small, { address: '198.51.100.2', mtu: 1400, error: 'ECONNREFUSED' }, 'that size gets there');
  for (const namespace of [router, far]) namespace.close();
  for (const name of ['behind-way', 'far']) kernel.deleteNamespace(name);
  await kernel.own.apply({ kind: 'remove-link', name: 'way' });
}

async function withAgent(t: Test, { VIPMESH_UPSTREAM }: Readonly<Record<'VIPMESH_UPSTREAM', string>>): Promise<void> {
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--upstream', VIPMESH_UPSTREAM, '--drain', '0s'] });
  const { dnsPort, adminPort, socket } = agent.folder;
  const task = await startServer(agent, 'web');
  await untilServing(agent, 'shop_front', 'web', [task]);
  const before = kernelState();
  const report = await doctor({ VIPMESH_HOST: socket });
  t.same({ code: report.code, problems: report.problems }, { code: 0, problems: [] });
  t.match(of(report, 'agent'), [new RegExp(`^ok: the agent \\S+ \\(pid ${agent.process.pid}\\) is ready$`)]);
  t.match(of(report, 'ports'), [
    `ok: 127.0.0.11:${dnsPort}/udp (resolver), 127.0.0.11:${dnsPort}/tcp (resolver), 127.0.0.1:${adminPort}/tcp (health and metrics), 4789/udp (VXLAN): free or held by the agent`,
  ]);
  t.same(of(report, 'resolv.conf').slice(1), ['ok: 1 container asks 127.0.0.11 first']);
  t.same(of(report, 'leftovers'), ['ok: agents that have ended left nothing behind']);
  t.same(kernelState(), before);

  const ordinary = await doctor({ VIPMESH_HOST: socket, HOME: '/' }, AS_NOBODY);
  t.match(of(ordinary, 'agent'), [/^warn: permission denied on /], 'somebody who may not ask it');
  t.same(of(ordinary, 'ports'), []);

  const holder = createSocket('udp4').bind(4789, '0.0.0.0');
  await once(holder, 'listening');
  const taken = await doctor({ VIPMESH_HOST: socket });
  t.match(
    of(taken, 'ports')[1],
    /^warn: port 4789\/udp \(VXLAN\) is taken by \S+ \(pid \d+\); only an agent in a cluster/,
  );
  holder.close();
  agent.process.kill('SIGSTOP');
  const mute = await doctor({ VIPMESH_HOST: socket });
  t.match(of(mute, 'agent'), [/^bad: the agent at \S+ does not answer/]);
  t.match(of(mute, 'leftovers'), [new RegExp(`^warn: the agent with pid ${agent.process.pid} does not answer`)]);
  agent.process.kill('SIGCONT');
  task.run.kill('SIGTERM');
  await task.ended;
  t.equal(await agent.stop(), 0);
}
