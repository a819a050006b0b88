// `vipmesh cleanup`: what killed agents left is removed, what is needed and what is somebody else's stays.
import './support/node.ts';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { listTables } from '../../src/agent/nftables-listing.ts';
import { check } from '../../src/native/errno.ts';
import { mount } from '../../src/native/libc.ts';
import type { MacAddress } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { type Agent, makeFolder, type Outcome, run, startAgent } from '../support/agent.ts';
import { inOwnNetns } from '../support/own-netns.ts';
import { httpGet } from './support/clients.ts';
import { configuration, startGuest } from './support/guests.ts';
import { untilServing } from './support/mesh.ts';
import { kernelState, mayBeNode, namespaces } from './support/node.ts';
import { kill, startServer, startServers, type Task, until } from './support/tasks.ts';

const SOCKETS = '/run/vipmesh';
const SOCKET = `${SOCKETS}/vipmesh.sock`;
const NODE = 0;
const STACK = `services:
  web: {networks: [front], ports: ["8080:8000"]}
  lone: {networks: [back], expose: ["8000"]}
networks:
  front: {driver: overlay}
  back: {driver: overlay, attachable: true}
`;
const LOOK_ALIKES = ['vipmesh-abcdef', 'vipmesh-abcdef-short', 'my-vipmesh-abcdef-12345678'];

function cleanup(...words: string[]): Promise<Outcome> {
  return run(['cleanup', ...words], { env: { VIPMESH_HOST: SOCKET } });
}

async function traces() {
  return { ...kernelState(), tables: [...(await listTables())].sort(), socket: existsSync(SOCKET) };
}

/** An own /run, for the socket is where an agent has it by default. */
function ownRun(): void {
  check(mount('tmpfs', '/run', 'tmpfs', 0, 'mode=0755'), 'mount', '/run');
  mkdirSync('/run/netns');
}

/** What begins as the agent's own things do, and was made by somebody else. */
async function makeLookAlikes(kernel: LinuxKernel): Promise<void> {
  for (const name of LOOK_ALIKES) (await kernel.ensureNamespace(name)).close();
  const mac = '4e:00:00:00:00:01' as MacAddress;
  await kernel.own.apply({ kind: 'add-bridge', name: 'vmeg-abcdef', mac });
  const peer = { namespace: LOOK_ALIKES[0] ?? '', name: 'eth0', mac: '4e:00:00:00:00:02' as MacAddress };
  await kernel.own.apply({ kind: 'add-veth', name: 'vmabcdef-2', peer });
  for (const name of ['vipmesh', 'vipmesh_abcdef_other'])
    await kernel.own.apply({ kind: 'set-ruleset', name, ruleset: { chains: [] } });
}

async function killed({ process }: Agent): Promise<void> {
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
}

async function endTask({ pid, run, ended }: Task): Promise<void> {
  run.kill('SIGKILL');
  kill(pid, 'SIGKILL');
  await ended;
  await until(
    'it has ended',
    () => existsSync(`/proc/${pid}/ns/net`),
    (there) => !there,
  );
}

function linesOf({ stdout }: Outcome): readonly string[] {
  return stdout.trim().split('\n').sort();
}

t.test('cleanup', async (t) => {
  if (!(await mayBeNode(t)) || !inOwnNetns) return;
  ownRun();
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  await makeLookAlikes(kernel);
  const before = await traces();
  t.match(await cleanup(), { code: 0, stdout: 'Nothing is there to be removed.\n', stderr: '' });
  t.same(await traces(), before, 'look-alikes stay');

  const folder = { ...(await makeFolder()), socket: SOCKET };
  const agent = await startAgent({ folder, stacks: { shop: STACK } });
  const [one, two] = await startServers(agent, 'web', 2);
  const lone = await startServer(agent, 'lone');
  if (one === undefined || two === undefined) throw new Error('no containers');
  const guest = await startGuest('guest');
  t.match(await agent.cli('attach', '--pid', String(guest.pid), '--service', 'lone'), { code: 0 });
  await untilServing(agent, 'shop_front', 'web', [one, two]);
  const whole = await traces();

  await t.test('refused while the agent runs', async (t) => {
    const refused = await cleanup('--force');
    t.match(refused, { code: 1, stdout: '' });
    t.equal(
      refused.stderr,
      `vipmesh: an agent is running on ${SOCKET} (pid ${agent.process.pid}); stop it first: kill ${agent.process.pid}\n`,
    );
    const dry = await cleanup('--dry-run');
    t.match(dry, { code: 0, stderr: /without --dry-run: an agent is running/ });
    t.match(dry.stdout, `would keep what the agent with pid ${agent.process.pid} has made`);
    t.same(await traces(), whole);
    const elsewhere = await run(['cleanup'], { env: { VIPMESH_HOST: '/run/none.sock' } });
    t.match(elsewhere, { code: 0, stdout: /^kept what the agent/ }, 'an agent at another socket keeps its own, too');
    t.same(await traces(), whole);
    agent.process.kill('SIGSTOP');
    t.match(await run(['cleanup'], { env: { VIPMESH_HOST: '/run/none.sock' } }), {
      code: 1,
      stderr: new RegExp(`the agent with pid ${agent.process.pid} does not answer`),
    });
    agent.process.kill('SIGCONT');
    t.same(await traces(), whole);
  });

  await killed(agent);
  await endTask(lone);

  await t.test('what is alive keeps what it needs, and is named', async (t) => {
    const dry = await cleanup('--dry-run');
    t.same(await traces(), whole, 'a dry run changes nothing');
    const real = await cleanup();
    t.equal(real.code, 0, real.stderr);
    t.same(
      linesOf(real),
      linesOf(dry).map((line) => line.replace('would keep', 'kept').replace('would remove', 'removed')),
    );
    const removed = linesOf(real).filter((line) => line.startsWith('removed'));
    t.match(
      removed.join('\n'),
      /^removed container vipmesh-\w{6}-t-\w{8}\nremoved socket \/run\/vipmesh\/vipmesh.sock$/,
    );
    for (const { pid } of [one, two]) t.match(real.stdout, new RegExp(`kept container .*\\(pid ${pid}\\) runs in it`));
    t.match(real.stdout, new RegExp(`kept an attached container: \\S+ \\(pid ${guest.pid}\\) runs in it`));
    t.equal((real.stdout.match(/^kept network /gm) ?? []).length, 2);
    t.same(namespaces().length, LOOK_ALIKES.length + 4, 'two containers, two networks');
    t.match(await httpGet(one.netns, two.address, 8000), `${two.name} met`, 'they still talk to each other');
    t.notOk(existsSync(SOCKETS));
  });

  await t.test('what has ended is removed', async (t) => {
    await endTask(one);
    await endTask(two);
    await guest.end();
    t.match(await cleanup(), { code: 0, stderr: '' });
    t.same(await traces(), before);
    t.match(await cleanup(), { code: 0, stdout: 'Nothing is there to be removed.\n' }, 'again');
  });

  await t.test('--force takes what is alive off its networks', (t) => forced(t, before));
});

async function forced(t: Test, before: Awaited<ReturnType<typeof traces>>): Promise<void> {
  const agent = await startAgent({ folder: { ...(await makeFolder()), socket: SOCKET }, stacks: { shop: STACK } });
  const task = await startServer(agent, 'web');
  const guest = await startGuest('guest');
  t.match(await agent.cli('attach', '--pid', String(guest.pid), '--service', 'lone'), { code: 0 });
  await killed(agent);
  const other = createServer().listen(`${SOCKETS}/other.sock`);
  await once(other, 'listening');
  const { code, stdout, stderr } = await cleanup('--force');
  t.same({ code, stderr }, { code: 0, stderr: '' });
  t.notMatch(stdout, 'kept');
  t.ok(existsSync(`${SOCKETS}/other.sock`), 'a socket on which somebody listens stays');
  await new Promise((resolve) => other.close(resolve));
  rmdirSync(SOCKETS);
  t.same(await traces(), before);
  t.ok(existsSync(`/proc/${task.pid}`), 'what runs goes on');
  t.same(await configuration(`/proc/${guest.pid}/ns/net`), ['lo up 127.0.0.1/8 ::1/128'], 'and so does the guest');
  t.equal(await httpGet(NODE, '127.0.0.1', 8080), 'ECONNREFUSED');
}
