// Agents end and come back, by SIGTERM and by SIGKILL, while containers run: what was there goes on, what is gone is removed, and
// nothing is left behind.
import './support/node.ts';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { tableName } from '../../src/overlay/names.ts';
import { type Agent, complaints, startAgent } from '../support/agent.ts';
import { tryTcp } from '../support/netns.ts';
import { connectFrom, httpGet, lines, lookup, summary, watched } from './support/clients.ts';
import { startLoad } from './support/load.ts';
import { endpoints, untilServing, vipOf } from './support/mesh.ts';
import { descriptors, kernelState, mayBeNode, namespaces } from './support/node.ts';
import { kill, spawnRun, startServer, startServers, type Task, until } from './support/tasks.ts';

const NODE = 0;
const FRONT = 'shop_front';
const STACK = `services:
  web: {networks: [front], ports: ["8080:8000", "7000:7000"]}
  shell: {networks: [front, back]}
networks:
  front: {driver: overlay}
  back: {driver: overlay}
`;

/** Nothing here needs the end of it. */
const ARGS = ['--drain', '60s'];

/** What a restart must not change: who has which address on which network. */
async function addressPlan(agent: Agent): Promise<readonly string[]> {
  const tasks = (await endpoints(agent)).map(({ Task, Network, Address }) => `${Task} ${Network} ${Address}`);
  const vips = ['web', 'shell'].map(async (name) => `${name} ${await vipOf(agent, FRONT, name)}`);
  return [...tasks, ...(await Promise.all(vips))].sort();
}

function takenUp(agent: Agent, tasks: readonly Task[]): Promise<unknown> {
  return Promise.all(
    tasks.map(({ name }) => agent.logged((line) => line.message === 'task is taken up again' && line.task === name)),
  );
}

/** The value that has stayed the same for a while: connections of the API close a moment after their answers. */
async function steady<Value>(read: () => Value): Promise<Value> {
  let last = JSON.stringify(read());
  let same = 0;
  return until('it is steady', read, (value) => {
    const now = JSON.stringify(value);
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= 40;
  });
}

async function killed(process: Agent['process']): Promise<void> {
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
}

t.test('agents end and come back', async (t) => {
  if (!(await mayBeNode(t))) return;
  let agent = await startAgent({ stacks: { shop: STACK }, args: ARGS });
  const { folder } = agent;
  const next = () => startAgent({ stacks: { shop: STACK }, folder, args: ARGS });
  const shell = await startServer(agent, 'shell');
  let web = await startServers(agent, 'web', 2);
  await untilServing(agent, FRONT, 'web', web);
  const vip = await vipOf(agent, FRONT, 'web');
  const plan = await addressPlan(agent);
  const names = namespaces();
  const isServing = async (t: Test, message: string) => {
    t.match(await httpGet(NODE, '127.0.0.1', 8080), / met /, `${message}: the published port`);
    t.match(await httpGet(shell.netns, vip, 8000), / met /, 'the VIP');
    t.equal(summary(await lookup(shell.netns, 'web')), `NOERROR aa ra | ${vip}`, 'the name');
  };
  await isServing(t, 'at first');

  await t.test('H8 H10: SIGTERM refuses new connections and waits for open ones', async (t) => {
    t.same(
      [await watched(folder.adminPort, '/readyz'), await watched(folder.adminPort, '/healthz')],
      ['200 ready', '200 ok'],
    );
    const [published, byVip] = [
      lines(connectFrom(NODE, '127.0.0.1', 7000)),
      lines(connectFrom(shell.netns, vip, 7000)),
    ];
    await Promise.all([published.line(), byVip.line()]);
    const ended = agent.stop('SIGTERM');
    await until(
      'it refuses',
      () => tryTcp(NODE, '127.0.0.1', 8080),
      (met) => met === 'ECONNREFUSED',
    );
    await until(
      'the VIP refuses',
      () => tryTcp(shell.netns, vip, 8000),
      (met) => met === 'ECONNREFUSED',
    );
    t.same(
      [await watched(folder.adminPort, '/readyz'), await watched(folder.adminPort, '/healthz')],
      ['503 draining', '200 ok'],
    );
    t.match(await published.ask('still there'), /still there/);
    published.socket.end();
    t.equal(await published.ended, 'end');
    t.match(await byVip.ask('I too'), /I too/);
    byVip.socket.end();
    t.equal(await ended, 0, 'it ends when the last connection has');
    t.same(complaints(agent), [], 'long before the end of the drain time');
    t.same(namespaces(), names, 'what belongs to containers stays');
  });

  await t.test('the next agent takes everything up', async (t) => {
    agent = await next();
    await isServing(t, 'at once');
    t.same(await addressPlan(agent), plan);
    t.same(namespaces(), names);
    await takenUp(agent, [shell, ...web]);
  });

  await t.test('M12: kill -9 under load', async (t) => {
    const [target] = web;
    const load = startLoad(100, () => httpGet(shell.netns, target?.address ?? '', 8000));
    await load.begun(20);
    await killed(agent.process);
    t.equal(tryTcp(shell.netns, vip, 8000), 'ECONNREFUSED', 'without an agent a VIP refuses at once');
    await load.begun(20);
    agent = await next();
    await isServing(t, 'at once');
    await takenUp(agent, [shell, ...web]);
    await load.begun(20);
    const attempts = await load.stop();
    t.same(
      attempts.filter(({ outcome }) => !outcome.startsWith(target?.name ?? '')),
      [],
      'containers saw nothing of it',
    );
    t.same(await addressPlan(agent), plan);
    t.same(namespaces(), names, 'no namespace twice');
    const added = await startServer(agent, 'web');
    t.notOk(
      plan.some((line) => line.endsWith(` ${added.address}`)),
      'a new task gets an address of its own',
    );
    added.run.kill('SIGTERM');
    t.equal(await added.ended, 0);
    await until('its namespace is gone', namespaces, (left) => left.join() === names.join());
  });

  await t.test('kill -9 of the agent and of vipmesh run: what lives stays, what is dead goes', async (t) => {
    const [living, dead] = web;
    if (living === undefined || dead === undefined) throw new Error('no tasks');
    await Promise.all([agent.process, living.run, dead.run].map(killed));
    kill(dead.pid, 'SIGKILL');
    agent = await next();
    web = [living];
    await untilServing(agent, FRONT, 'web', web);
    await isServing(t, 'by the one that lives');
    t.equal(namespaces().length, names.length - 1);
    await takenUp(agent, [shell]);
    kill(living.pid, 'SIGKILL');
    await until('its end is seen', namespaces, (left) => left.length === names.length - 2);
    t.equal(tryTcp(NODE, '127.0.0.1', 8080), 'ECONNREFUSED');
  });

  await t.test('kill -9 of everything: nothing of the containers is left', async (t) => {
    await Promise.all([agent.process, shell.run].map(killed));
    kill(shell.pid, 'SIGKILL');
    agent = await next();
    t.equal(namespaces().length, 2, 'a namespace for each network');
    t.match(kernelState().links.join(' '), /^lo: vmeg-\w{6}:$/, 'no port is on the bridge that leads outside');
    t.same(await endpoints(agent), []);
  });

  await t.test('thirty containers come and go, and leave nothing behind', async (t) => {
    const endings: readonly ((task: ReturnType<typeof spawnRun>, pid: number) => void)[] = [
      ({ run }) => run.kill('SIGTERM'),
      (_task, pid) => kill(pid, 'SIGKILL'),
      ({ run }, pid) => {
        run.kill('SIGKILL');
        kill(pid, 'SIGKILL');
      },
    ];
    const come = async (i: number) => {
      const service = i % 2 === 0 ? 'web' : 'shell';
      const task = spawnRun(agent, ['--service', service, '--', 'sh', '-c', 'echo pid $$; exec sleep 1000']);
      const pid = Number((await task.says(/^pid /)).slice(4));
      endings[Math.floor(Math.random() * endings.length)]?.(task, pid);
      await task.ended;
    };
    const inRows = async (rows: number, each: number) => {
      await Promise.all(
        Array.from({ length: rows }, async (_, row) => {
          for (let i = 0; i < each; i++) await come(row * each + i);
        }),
      );
      await until(
        'all are gone',
        () => endpoints(agent),
        (left) => left.length === 0,
      );
      await until('their namespaces are gone', namespaces, (left) => left.length === 2);
    };
    const pid = agent.process.pid ?? 0;
    await inRows(2, 1);
    const before = { kernel: kernelState(), descriptors: await steady(() => descriptors(pid)) };
    await inRows(3, 10);
    t.same(await steady(() => descriptors(pid)), before.descriptors);
    t.same(kernelState(), before.kernel);
    t.notOk(
      agent.log.some(({ level }) => level === 'error'),
      'and no error was logged',
    );
  });

  await t.test('an agent that ends when there is no container takes everything with it', async (t) => {
    const kernel = new LinuxKernel();
    t.teardown(() => kernel.close());
    const instance = /vmeg-(\w+)/.exec(kernelState().links.join())?.[1] ?? '';
    t.ok(await kernel.own.hasRuleset(tableName(instance)));
    t.equal(await agent.stop(), 0);
    t.notOk(await kernel.own.hasRuleset(tableName(instance)), 'its nftables table');
    t.same(namespaces(), []);
    t.same(kernelState().links, ['lo:']);
  });
});
