// `vipmesh attach` and `detach`: containers that something else started take part like those of `vipmesh run`, keep what they
// had, and are left as they were.
import './support/node.ts';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { type Agent, startAgent } from '../support/agent.ts';
import { ip } from '../support/builders.ts';
import { tryTcp } from '../support/netns.ts';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import { close } from '../../src/native/libc.ts';
import type { MacAddress } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { connectFrom, httpGet, lines, lookup, summary } from './support/clients.ts';
import { configuration, type Guest, startGuest } from './support/guests.ts';
import { endpoints, resolve, untilServing, vipOf } from './support/mesh.ts';
import { descriptors, kernelState, mayBeNode, namespaces } from './support/node.ts';
import { startServer, until } from './support/tasks.ts';

const NODE = 0;
const FRONT = 'shop_front';
const STACK = `services:
  web: {networks: [front], ports: ["8080:8000", "7000:7000"], x-vipmesh: {drain: 60s}}
  app: {networks: [front, back], expose: ["8000"]}
  checked: {networks: [back], expose: ["8000"], healthcheck: {test: [CMD, "true"]}}
  near: {networks: [home], ports: ["8090:8000"]}
networks:
  front: {driver: overlay, attachable: true, ipam: {config: [{subnet: 10.99.0.0/24}]}}
  back: {driver: overlay, attachable: true, internal: true, ipam: {config: [{subnet: 10.98.0.0/24}]}}
  home: {driver: local}
`;
/** What a namespace that was made with `unshare --net` has; attaching sets its loopback up, and leaves it so. */
const BARE = ['lo up 127.0.0.1/8 ::1/128'];

async function attach(agent: Agent, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await agent.cli('attach', ...words);
  if (code !== 0) throw new Error(`vipmesh attach ${words.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** A namespace with a name, an eth0 and a default route over it, as a container's runtime makes them. */
async function fittedNamespace(kernel: LinuxKernel, name: string): Promise<string> {
  const namespace = await kernel.ensureNamespace(name);
  const mac = '02:00:00:00:00:07' as MacAddress;
  await kernel.own.apply({ kind: 'add-veth', name: `to-${name}`, peer: { namespace: name, name: 'eth0', mac } });
  await kernel.own.apply({ kind: 'set-link', name: `to-${name}`, up: true });
  const address = { address: ip('192.0.2.7'), prefixLength: 24, deprecated: false };
  await namespace.apply({ kind: 'add-address', link: 'eth0', address });
  await namespace.apply({ kind: 'set-link', name: 'eth0', up: true });
  const route = { kind: 'unicast', destination: ip('0.0.0.0'), prefixLength: 0, via: ip('192.0.2.1') } as const;
  await namespace.apply({ kind: 'add-route', link: 'eth0', route });
  namespace.close();
  return `/run/netns/${name}`;
}

async function sourcesOf(agent: Agent): Promise<readonly string[]> {
  return (await endpoints(agent)).map(
    ({ Task, Source, Network, Address }) => `${Task} ${Source} ${Network} ${Address}`,
  );
}

t.test('containers that something else started', async (t) => {
  if (!(await mayBeNode(t))) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const blue = await fittedNamespace(kernel, 'blue');
  const fitted = [...BARE, 'eth0 up 192.0.2.7/24', 'default over eth0'];
  t.same(await configuration(blue), fitted);
  let agent = await startAgent({ stacks: { shop: STACK } });
  const guest = await startGuest('guest');
  const path = `/proc/${guest.pid}/ns/net`;
  const client = await startServer(agent, 'app');
  const vip = await vipOf(agent, FRONT, 'web');
  const [before, held] = [kernelState(), openCount(agent)];
  const answer = (from: number, address: string, port: number) => httpGet(from, address, port);
  const gone = (task: string) =>
    until(
      `${task} is gone`,
      () => endpoints(agent),
      (all) => all.every(({ Task }) => Task !== task),
    );

  await t.test('by a process of it: names, VIP, published port, both ways', async (t) => {
    const words = [
      '--pid',
      String(guest.pid),
      '--service',
      'web',
      '--name',
      'g1',
      '--alias',
      'gee',
      '--hostname',
      'h1',
    ];
    const { code, stdout, stderr } = await agent.cli('attach', ...words);
    t.match({ code, stdout, stderr }, { code: 0, stdout: /^[a-z0-9]{25}\n$/, stderr: /^warning: .*resolv\.conf/ });
    const [address = ''] = await until(
      'it serves',
      () => resolve(agent, FRONT, 'tasks.web'),
      (all) => all.length === 1,
    );
    t.match(await configuration(path), [
      BARE[0],
      `vm0 up ${address}/24`,
      /^egress up 100\.127\./,
      'default over egress',
    ]);
    t.match(await sourcesOf(agent), [/ process /, / process /, `g1 attached ${FRONT} ${address}`]);
    t.equal(summary(await lookup(guest.netns, 'web')), `NOERROR aa ra | ${vip}`);
    t.equal(
      summary(await lookup(guest.netns, 'app', { tcp: true })),
      `NOERROR aa ra | ${await vipOf(agent, FRONT, 'app')}`,
    );
    for (const name of ['g1', 'gee', 'h1']) {
      t.equal(summary(await lookup(client.netns, name)), `NOERROR aa ra | ${address}`, name);
    }
    t.match(await answer(client.netns, vip, 8000), /^guest met .*10\.99\.0\.1$/, 'through the VIP');
    t.match(await answer(NODE, '127.0.0.1', 8080), 'guest met ', 'through the published port');
    t.match(await answer(guest.netns, await vipOf(agent, FRONT, 'app'), 8000), `${client.name} met`, 'as a client');
    t.match(await answer(guest.netns, vip, 8000), 'guest met', 'itself, through the VIP');
  });

  await t.test('one more, by the path of its namespace: it keeps its eth0 and its default route', async (t) => {
    const second = await startGuest('second', blue);
    await attach(
      agent,
      '--netns',
      blue,
      '--service',
      'app',
      '--network',
      'back',
      '--network',
      'front',
      '--name',
      'g2',
      '--ip',
      '10.99.0.50',
    );
    const [, back] =
      (await sourcesOf(agent)).find((line) => line.startsWith('g2 attached shop_back'))?.split('shop_back ') ?? [];
    const links = [...fitted.slice(0, 2), `vm0 up ${back}/24`, 'vm1 up 10.99.0.50/24', 'default over eth0'];
    t.same(await configuration(blue), links);
    t.match(
      await answer(client.netns, '10.99.0.50', 8000),
      /^second met .*10\.99\.0\.\d+$/,
      'at the address that was asked for',
    );
    t.match(await answer(second.netns, vip, 8000), 'guest met');
    await second.end();
    t.equal((await agent.cli('detach', '--netns', blue)).code, 0);
    t.same(await configuration(blue), fitted, 'and is left as it was');
  });

  await t.test('what cannot be is one clear line, and changes nothing', async (t) => {
    const state = [await sourcesOf(agent), kernelState(), await configuration(blue), await configuration(path)];
    const blocked = await startGuest('blocked');
    const resolver = bindUdp('127.0.0.11', 40_000, { netns: blocked.netns });
    const anywhere = await startGuest('anywhere');
    const port53 = bindUdp('0.0.0.0', 53, { netns: anywhere.netns });
    t.teardown(() => [resolver, port53].map(close));
    const pid = (one: { readonly pid: number }) => ['--pid', String(one.pid)];
    const network = namespaces().find((name) => name.startsWith('vipmesh-') && !name.includes('-t-')) ?? '';
    const table: readonly (readonly [readonly string[], number, RegExp])[] = [
      [[...pid(guest)], 2, /--service is missing: a container joins networks as a task of a service/],
      [['--service', 'web'], 2, /name the container by --pid PID or by --netns PATH, one of the two/],
      [[...pid(guest), '--netns', blue, '--service', 'web'], 2, /one of the two/],
      [[...pid(guest), '--service', 'wbe'], 1, /no service is called "wbe"/],
      [[...pid(guest), '--service', 'web'], 1, /is attached already, as task [a-z0-9]{12}; detach that first/],
      [[...pid(client), '--service', 'web'], 1, /is that of task [a-z0-9]{12}, which vipmesh run runs/],
      [['--pid', String(process.pid), '--service', 'web'], 1, /is the node's own; .*vipmesh endpoint add/],
      [['--pid', '4194304', '--service', 'web'], 1, /no process 4194304 runs on this node/],
      [['--netns', '/no/such', '--service', 'web'], 1, /there is no network namespace at \/no\/such/],
      [['--netns', '/etc/hosts', '--service', 'web'], 1, /network namespace \/etc\/hosts: it is something else/],
      [['--netns', `/run/netns/${network}`, '--service', 'web'], 1, /is that of network shop_/],
      [
        ['--netns', blue, '--service', 'near'],
        1,
        /network shop_home is local: .*vipmesh endpoint add shop_near ADDRESS:PORT/,
      ],
      [['--netns', blue, '--service', 'web', '--network', 'back'], 1, /shop_web is not on network shop_back/],
      [
        ['--netns', blue, '--service', 'web', '--ip', '10.97.0.5'],
        1,
        /10\.97\.0\.5 is in no subnet of the task's networks/,
      ],
      [['--netns', blue, '--service', 'web', '--ip', client.address], 1, /belongs to another service or task/],
      [['--netns', blue, '--service', 'web', '--ip', '10.99.0.1'], 1, /is kept back for the network itself/],
      [[...pid(blocked), '--service', 'web'], 1, /has a resolver of its own at 127\.0\.0\.11/],
      [[...pid(anywhere), '--service', 'web'], 1, /has a resolver of its own at 127\.0\.0\.11 or at port 53/],
    ];
    await Promise.all(
      table.map(async ([words, code, message]) => {
        const outcome = await agent.cli('attach', ...words);
        t.match(outcome, { code, stdout: '', stderr: message }, words.join(' '));
        t.equal(outcome.stderr.trim().split('\n').length, 1, outcome.stderr.trim());
      }),
    );
    for (const one of [blocked, anywhere])
      t.same(await configuration(`/proc/${one.pid}/ns/net`), BARE, 'nothing is left in it');
    t.match(await agent.cli('detach', client.name), {
      code: 1,
      stderr: /is no attached container; end its command instead/,
    });
    t.match(await agent.cli('detach', '--netns', blue), {
      code: 1,
      stderr: /nothing is attached in the network namespace/,
    });
    t.same([await sourcesOf(agent), kernelState(), await configuration(blue), await configuration(path)], state);
  });

  await t.test('a network whose subnet the container routes elsewhere', async (t) => {
    await agent.cli('network', 'create', '--driver', 'overlay', '--attachable', '--subnet', '192.0.2.128/25', 'clash');
    await agent.cli('service', 'create', '--network', 'clash', '--name', 'clashing');
    const message = /routes \(a part of\) 192\.0\.2\.128\/25, the subnet of network clash, over its eth0 already/;
    t.match(await agent.cli('attach', '--netns', blue, '--service', 'clashing'), { code: 1, stderr: message });
    t.same(await configuration(blue), fitted);
    await agent.cli('service', 'rm', 'clashing');
    await agent.cli('network', 'rm', 'clash');
  });

  await t.test('a check that is a command is made by tcp, and that is said', async (t) => {
    const outcome = await agent.cli('attach', '--netns', blue, '--service', 'checked', '--name', 'g3');
    t.match(outcome, { code: 0, stderr: /^warning: the check of service shop_checked is a command/ });
    const health = async () => (await endpoints(agent)).find(({ Task }) => Task === 'g3');
    t.match(await health(), { Eligible: false });
    const server = await startGuest('third', blue);
    t.match(await until('it is healthy', health, (one) => one?.Eligible === true), { Reason: /checked by tcp/ });
    await server.end();
    await until('it is not', health, (one) => one?.Eligible === false);
    t.equal((await agent.cli('detach', 'g3')).code, 0);
  });

  await t.test('detach waits for open connections, and leaves the container as it was', async (t) => {
    const open = lines(connectFrom(NODE, '127.0.0.1', 7000));
    t.equal(await open.line(), 'guest');
    const detached = agent.cli('detach', '--pid', String(guest.pid));
    await untilServing(agent, FRONT, 'web', []);
    t.equal(tryTcp(NODE, '127.0.0.1', 7000), 'ECONNREFUSED', 'no new connection');
    t.equal(await open.ask('and me?'), 'guest and me?', 'the open one goes on');
    t.ok((await configuration(path)).some((line) => line.startsWith('vm0 ')));
    open.socket.end();
    t.match(await detached, { code: 0, stderr: '' });
    t.same(await configuration(path), BARE);
    t.same(kernelState(), before, 'nothing is left on the node');
    await until(
      'the agent has nothing open for it',
      () => openCount(agent),
      (now) => now <= held,
    );
    t.equal(guest.process.exitCode, null, 'it goes on itself');
    t.same(
      (await sourcesOf(agent)).filter((line) => line.includes(' attached ')),
      [],
    );
  });

  await t.test('kill -9 of the agent: what is there is adopted, what has gone is removed', async (t) => {
    const green = await fittedNamespace(kernel, 'green');
    const red = await fittedNamespace(kernel, 'red');
    const last = await startGuest('last');
    await attach(agent, '--pid', String(guest.pid), '--service', 'web', '--name', 'g4');
    await attach(agent, '--netns', blue, '--service', 'web', '--name', 'g5');
    await attach(agent, '--pid', String(last.pid), '--service', 'web', '--name', 'g6');
    await attach(agent, '--netns', green, '--service', 'web', '--name', 'g7');
    await attach(agent, '--netns', red, '--service', 'web', '--name', 'g8');
    const kept = (await sourcesOf(agent)).filter((line) => /^g[45] /.test(line));
    const states = [await configuration(path), await configuration(blue)];
    await killed(agent);
    await last.end();
    kernel.deleteNamespace('green');
    kernel.deleteNamespace('red');
    (await kernel.ensureNamespace('red')).close();
    agent = await startAgent({ stacks: { shop: STACK }, folder: agent.folder });
    t.same(
      (await sourcesOf(agent)).filter((line) => line.includes(' attached ')),
      kept,
    );
    t.same([await configuration(path), await configuration(blue)], states, 'with the same links and addresses');
    t.same(
      await configuration('/run/netns/red'),
      ['lo up 127.0.0.1/8 ::1/128'],
      'another namespace at the same path is not it',
    );
    await isServed(t, guest);
  });

  await t.test('a task ends with its process, or with the name of its namespace', async (t) => {
    await guest.end();
    await gone('g4');
    kernel.deleteNamespace('blue');
    await gone('g5');
    t.notOk(
      agent.log.some(({ level }) => level === 'error'),
      'without an error',
    );
  });

  await t.test('and with its service', async (t) => {
    const other = await startGuest('other');
    await agent.cli('service', 'create', '--network', FRONT, '--name', 'short');
    await attach(agent, '--pid', String(other.pid), '--service', 'short');
    t.equal((await agent.cli('service', 'rm', 'short')).code, 0);
    await until(
      'its links are gone',
      () => configuration(`/proc/${other.pid}/ns/net`),
      (now) => now.join() === BARE.join(),
    );
  });
  t.equal(await agent.stop(), 0);

  async function isServed(t: Test, one: Guest): Promise<void> {
    t.equal(summary(await lookup(one.netns, 'web')), `NOERROR aa ra | ${vip}`, 'its resolver answers');
    await until(
      'it is reached through the VIP',
      () => httpGet(client.netns, vip, 8000),
      (said) => said.startsWith('guest met'),
    );
  }
});

function openCount({ process }: Agent): number {
  return descriptors(process.pid ?? 0).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function killed({ process }: Agent): Promise<void> {
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
}
