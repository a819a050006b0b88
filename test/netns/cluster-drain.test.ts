// H6 and more: nodes, tasks and services that leave while connections from other nodes are open to them.
import { mayHaveLab, type Node, startLab } from './support/lab.ts';
import t from 'tap';
import { tryTcp } from '../support/netns.ts';
import { connectFrom, type LineConnection, lines, lookup } from './support/clients.ts';
import { does, HTTP_PORT, openTo, publishWeb, tasksOf, untilEligible, untilResolved, WEB } from './support/lab-mesh.ts';
import { failures, startNodeLoad } from './support/node-client.ts';
import { startServer, type Task, until } from './support/tasks.ts';

const OWN_HTTP = 8081;
const OWN_LINES = 7071;

/** A connection from a node's published port, or a container's VIP, to one of these tasks. */
async function openOwn(netns: number, address: string, port: number, task: Task): Promise<LineConnection> {
  for (;;) {
    const connection = lines(connectFrom(netns, address, port));
    if ((await connection.line()) === task.name) return connection;
    connection.socket.destroy();
  }
}

t.test('who leaves is let go', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  const publish = ['-p', `${OWN_HTTP}:8000`, '-p', `${OWN_LINES}:7000`, '--drain-timeout', '60s'];
  await does(one, 'service', 'create', '--name', 'own', ...publish);
  await does(one, 'service', 'create', '--name', 'shell');
  const [first, second, shell] = await Promise.all([
    startServer(two.runner, 'own'),
    startServer(three.runner, 'own'),
    startServer(one.runner, 'shell'),
  ]);
  const tasksInDns = (wanted: readonly Task[]) => untilResolved(shell.netns, 'tasks.own', wanted);
  await tasksInDns([first, second]);
  for (const node of mesh.nodes) await untilMet(node, [first, second]);
  const vip = String((await lookup(shell.netns, 'own')).answers?.flatMap((one) => ('data' in one ? one.data : []))[0]);
  const openToAll = async (task: Task) => [
    await openOwn(one.netns, one.address, OWN_LINES, task),
    await openOwn(three.netns, three.address, OWN_LINES, task),
    await openOwn(shell.netns, vip, 7000, task),
  ];
  const goOn = async (connections: readonly LineConnection[], name: string, message: string) => {
    for (const connection of connections) t.equal(await connection.ask(message), `${name} ${message}`);
  };

  await t.test('H6: a node is drained from another', async (t) => {
    const open = await openToAll(first);
    const openWeb = [await openTo(one, two), await openTo(two, two), await openTo(three, two)];
    const targets = [HTTP_PORT, OWN_HTTP];
    const loads = mesh.nodes.map((node) =>
      startNodeLoad(node, {
        perSecond: 30,
        targets: targets.map((port) => `${node.address}:${port}`),
        names: [`tasks.${WEB}`],
      }),
    );
    await Promise.all(loads.map((load) => load.begun(30)));
    await does(three, 'node', 'update', '--availability', 'drain', 'node2');
    await untilEligible(mesh.nodes, WEB, [three]);
    await tasksInDns([second]);
    const drained = Date.now();
    await Promise.all(loads.map((load) => load.begun(60)));
    await goOn(open, first.name, 'drained');
    await goOn(openWeb, 'node2', 'drained');
    const attempts = (await Promise.all(loads.map((load) => load.stop()))).flat();
    t.same(failures(attempts, ['node2', 'node3', first.name, second.name]), [], `0 of ${attempts.length} fail`);
    const late = attempts.filter(({ startedAt }) => startedAt > drained);
    t.same([...new Set(late.map(({ outcome }) => outcome))].sort(), ['node3', second.name, three.address].sort());
    t.equal(first.run.exitCode, null, 'its task runs on');
    await does(one, 'node', 'update', '--availability', 'active', 'node2');
    await untilEligible(mesh.nodes, WEB, [two, three]);
    await tasksInDns([first, second]);
    for (const { socket } of [...open, ...openWeb]) socket.destroy();
  });

  await t.test('a task that is told to end waits for what other nodes have open to it', async (t) => {
    const open = await openToAll(first);
    first.run.kill('SIGTERM');
    await tasksInDns([second]);
    for (const node of mesh.nodes) await untilMet(node, [second]);
    await goOn(open, first.name, 'leaving');
    t.equal(tryTcp(second.netns, first.address, 8000), 'connected', 'the command has heard nothing yet');
    for (const { socket } of open) socket.end();
    t.equal(await first.says(/^SIGTERM$/), 'SIGTERM', 'after the last connection');
    t.equal(await first.ended, 0);
    await until(
      'it is gone',
      () => tasksOf(one, 'own'),
      (list) => list.length === 1,
    );
  });

  await t.test('a service that is removed: its tasks are told when what is open to them has ended', async (t) => {
    const open = [await openOwn(three.netns, three.address, OWN_LINES, second)];
    await does(two, 'service', 'rm', 'own');
    for (const node of mesh.nodes)
      await until(
        `${node.name} refuses`,
        () => tryTcp(node.netns, node.address, OWN_HTTP),
        (met) => met === 'ECONNREFUSED',
      );
    await goOn(open, second.name, 'removed');
    t.equal(second.run.exitCode, null, 'the command has heard nothing yet');
    for (const { socket } of open) socket.end();
    t.equal(await second.says(/^SIGTERM$/), 'SIGTERM', 'after the last connection');
    t.equal(await second.ended, 0);
  });
  await mesh.down();
});

async function untilMet(node: Node, tasks: readonly Task[]): Promise<void> {
  const wanted = tasks.map(({ name }) => name).sort();
  await until(
    `${node.name} sends to ${wanted}`,
    async () => {
      const met = new Set<string | undefined>();
      for (let i = 0; i < 2 * tasks.length; i++) {
        const connection = lines(connectFrom(node.netns, node.address, OWN_LINES));
        met.add(await connection.line());
        connection.socket.destroy();
      }
      return [...met].sort();
    },
    (met) => met.join() === wanted.join(),
  );
}
