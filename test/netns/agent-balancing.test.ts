// Containers behind published ports and VIPs, with real processes: who is asked, what a crash costs, who is refused.
import './support/node.ts';
import { isIP } from 'node:net';
import t from 'tap';
import { answers, startAgent } from '../support/agent.ts';
import { ping, tryTcp, tryUdp } from '../support/netns.ts';
import { connectFrom, datagrams, httpGet, type LineConnection, lines, lookup } from './support/clients.ts';
import { startLoad } from './support/load.ts';
import { untilServing, vipOf } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { kill, startServer, startServers, until } from './support/tasks.ts';

const NODE = 0;
const FRONT = 'shop_front';
const STACK = `services:
  web:
    networks: [front]
    ports: ["8080:8000", "7000:7000/tcp", "7000:7000/udp"]
    x-vipmesh: {drain: 200ms}
  fragile:
    networks: [front]
    ports: ["8081:8000"]
    x-vipmesh: {health: {http: /health, interval: 100ms, timeout: 20s, retries: 1}}
  empty: {networks: [front]}
  shell: {networks: [front, dual]}
  both: {networks: [dual]}
networks:
  front: {driver: overlay}
  dual: {driver: overlay, enable_ipv6: true}
`;

const web = () => httpGet(NODE, '127.0.0.1', 8080);
const nameIn = (answer: string | Buffer | undefined) => String(answer ?? '').split(' ')[0] ?? '';
const talk = (): LineConnection => lines(connectFrom(NODE, '127.0.0.1', 7000));

t.test('containers behind published ports and VIPs', async (t) => {
  if (!(await mayBeNode(t))) return;
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--drain', '200ms'] });
  const [shell, tasks] = await Promise.all([
    startServer(agent, 'shell'),
    startServers(agent, 'web', 3).then((list) => new Map(list.map((task) => [task.name, task]))),
  ]);
  const namesNow = () => [...tasks.keys()].sort();
  await untilServing(agent, FRONT, 'web', [...tasks.values()]);
  const vip = await vipOf(agent, FRONT, 'web');

  const addresses = async (name: string, type: 'A' | 'AAAA') => answers(await lookup(shell.netns, name, { type }));

  await t.test('T5: each in turn', async (t) => {
    const answers: string[] = [];
    for (let i = 0; i < 30; i++) answers.push(nameIn(await web()));
    t.same(answers.slice(0, 3).toSorted(), namesNow());
    t.same(answers.slice(3), answers.slice(0, -3), 'always in the same order');
    t.equal(nameIn(await httpGet(NODE, '::1', 8080)), answers[0], 'over IPv6 too, in the same order');
    const byVip: string[] = [];
    for (let i = 0; i < 6; i++) byVip.push(nameIn(await httpGet(shell.netns, vip, 8000)));
    t.same(byVip.slice(0, 3).toSorted(), namesNow(), 'by VIP too');
    t.same(byVip.slice(3), byVip.slice(0, 3));
  });

  await t.test('M1: kill -9 of one under load breaks only what was open to it', async (t) => {
    const open = new Map<string, LineConnection>();
    while (open.size < 3) {
      const connection = talk();
      open.set(nameIn(await connection.line()), connection);
    }
    const load = startLoad(200, web);
    await load.begun(100);
    const [victim] = tasks.values();
    if (victim === undefined) throw new Error('no task');
    const killedAt = performance.now();
    kill(victim.pid, 'SIGKILL');
    const broken = await open.get(victim.name)?.ended;
    await until(
      'its listener is gone',
      () => tryTcp(shell.netns, victim.address, 8000),
      (met) => met !== 'connected',
    );
    const gone = performance.now();
    tasks.delete(victim.name);
    await load.begun(400);
    const attempts = await load.stop();
    t.match(broken, /^(ECONNRESET|end)$/, 'the connection that was open to it broke');
    const failed = attempts.filter(({ outcome }) => !outcome.includes(' met '));
    t.same(
      failed.filter(({ startedAt }) => startedAt > gone),
      [],
      `0 of ${attempts.length} new connections failed`,
    );
    const met = attempts.filter(({ startedAt, endedAt }) => startedAt < gone && endedAt > killedAt);
    t.ok(
      failed.length <= Math.ceil(met.length / 2) && failed.every((one) => met.includes(one)),
      `${failed.length} of ${met.length} that were open meanwhile broke`,
    );
    t.notOk(attempts.some(({ startedAt, outcome }) => startedAt > gone && nameIn(outcome) === victim.name));
    for (const name of namesNow()) t.equal(await open.get(name)?.ask('still there'), `${name} still there`);
    for (const { socket } of open.values()) socket.destroy();
    t.equal(await victim.ended, 137, 'vipmesh run says which signal ended it');
  });

  await t.test('T6: an endpoint that refuses, of which the agent was told nothing', async (t) => {
    const [victim] = tasks.values();
    if (victim === undefined) throw new Error('no task');
    victim.run.kill('SIGSTOP');
    kill(victim.pid, 'SIGKILL');
    await until(
      'it refuses',
      () => tryTcp(shell.netns, victim.address, 8000),
      (met) => met === 'ECONNREFUSED',
    );
    tasks.delete(victim.name);
    for (let i = 0; i < 30; i++) t.equal(nameIn(await web()), namesNow()[0]);
    victim.run.kill('SIGCONT');
    t.equal(await victim.ended, 137);
  });

  await t.test('U1 U5: datagrams of one client go to one endpoint, and all replies come back', async (t) => {
    const added = await startServer(agent, 'web');
    tasks.set(added.name, added);
    await untilServing(agent, FRONT, 'web', [...tasks.values()]);
    for (const [where, netns, address] of [
      ['published', NODE, '127.0.0.1'],
      ['VIP', shell.netns, vip],
    ] as const) {
      const [one, other] = [await datagrams(netns, address, 7000), await datagrams(netns, address, 7000)];
      const first = String((await one.ask('1'))[0]);
      const second = String((await other.ask('1'))[0]);
      t.same([nameIn(first), nameIn(second)].toSorted(), namesNow(), `${where}: two clients, two endpoints`);
      t.equal(String((await one.ask('1'))[0]), first, 'the same endpoint, from the same port');
      t.equal((await one.ask('20', 20)).length, 20, 'twenty replies to one request');
      t.equal(String((await other.ask('1'))[0]), second);
      one.close();
      other.close();
    }
  });

  await t.test('U7: a client whose endpoint goes is led to another at once', async (t) => {
    const client = await datagrams(shell.netns, vip, 7000);
    const first = tasks.get(nameIn((await client.ask('1'))[0]));
    if (first === undefined) throw new Error('answered by nobody');
    const [second] = [...tasks.values()].filter((task) => task !== first);
    first.run.kill('SIGTERM');
    tasks.delete(first.name);
    t.equal(await first.ended, 0, 'one is stopped');
    t.equal(nameIn((await client.ask('1'))[0]), second?.name);
    const third = await startServer(agent, 'web');
    tasks.set(third.name, third);
    await untilServing(agent, FRONT, 'web', [...tasks.values()]);
    kill(second?.pid ?? 0, 'SIGKILL');
    tasks.delete(second?.name ?? '');
    const replies = await until(
      'another answers',
      () => client.ask('1', 1, 100),
      (replies) => replies.length > 0,
    );
    t.equal(nameIn(replies[0]), third.name, 'one is killed');
    client.close();
    t.equal(await second?.ended, 137);
  });

  await t.test('a VIP takes any port, and refuses all when nobody is there', async (t) => {
    const [task] = tasks.values();
    const [shellVip, emptyVip] = [await vipOf(agent, FRONT, 'shell'), await vipOf(agent, FRONT, 'empty')];
    const client = task?.netns ?? NODE;
    t.equal(nameIn(await httpGet(client, shellVip, 8000)), shell.name, 'a port that the stack file does not name');
    t.equal(await lines(connectFrom(client, shellVip, 7000)).line(), shell.name, 'and another');
    t.equal(nameIn(await httpGet(shell.netns, shellVip, 8000)), shell.name, 'a task reaches its own service');
    t.match(await httpGet(client, shellVip, 81), /ECONNRESET|ECONNREFUSED/, 'T7: a port on which no endpoint listens');
    t.equal(tryTcp(client, emptyVip, 80), 'ECONNREFUSED');
    t.equal(tryUdp(client, emptyVip, 80), 'ECONNREFUSED');
    t.equal(ping(client, emptyVip), 'answered', 'the VIP is there all the same');
  });

  await t.test('a network with IPv6 has both kinds of address, for VIPs and for endpoints', async (t) => {
    const both = await startServer(agent, 'both');
    await until(
      'it is served',
      () => addresses('tasks.both', 'AAAA'),
      (found) => found.length === 1,
    );
    for (const [name, type, family] of [
      ['both', 'A', 4],
      ['both', 'AAAA', 6],
      ['tasks.both', 'A', 4],
      ['tasks.both', 'AAAA', 6],
    ] as const) {
      const [address = ''] = await addresses(name, type);
      t.equal(isIP(address), family, `${name} ${type}`);
      t.equal(nameIn(await httpGet(shell.netns, address, 8000)), both.name, address);
      const client = await datagrams(shell.netns, address, 7000);
      t.equal(nameIn((await client.ask('1'))[0]), both.name);
      client.close();
      t.equal(ping(shell.netns, address), 'answered');
    }
  });

  await t.test('H5: all unhealthy is refused, and comes back', async (t) => {
    const fragile = await startServers(agent, 'fragile', 2);
    const fragileVip = await vipOf(agent, FRONT, 'fragile');
    const ask = () => httpGet(NODE, '127.0.0.1', 8081);
    const metrics = () => httpGet(NODE, '127.0.0.1', agent.folder.adminPort, '/metrics');
    await untilServing(agent, FRONT, 'fragile', fragile);
    for (const { pid } of fragile) kill(pid, 'SIGUSR2');
    await until('the published port refuses', ask, (answer) => answer === 'ECONNREFUSED');
    t.equal(tryTcp(shell.netns, fragileVip, 8000), 'ECONNREFUSED', 'so does the VIP');
    t.ok((await metrics()).includes('vipmesh_service_eligible_tasks{service="shop_fragile"} 0'), 'a metric says so');
    kill(fragile[1]?.pid ?? 0, 'SIGUSR2');
    t.equal(nameIn(await until('it answers', ask, (answer) => answer.includes(' met '))), fragile[1]?.name);
    t.equal(nameIn(await httpGet(shell.netns, fragileVip, 8000)), fragile[1]?.name);
  });
  t.equal(await agent.stop(), 0);
});
