// What a container is told when it asks for a name: its own networks, in its own namespace, over UDP and TCP; the rest is asked
// outside, or refused.
import './support/node.ts';
import { decode } from 'dns-packet';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { question } from '../support/dns-messages.ts';
import { addressReply, reply, SOA, startMockUpstream } from '../support/mock-upstream.ts';
import { datagrams, lookup, overTcp, overUdp, summary } from './support/clients.ts';
import { untilServing, vipOf } from './support/mesh.ts';
import { mayBeNode, packetCount } from './support/node.ts';
import { startServer, startServers, until } from './support/tasks.ts';

const FRONT = 'shop_front';
const STACK = `services:
  web:
    networks: {front: {aliases: [www]}, back: {}}
  pool: {networks: [front], deploy: {endpoint_mode: dnsrr}}
  shell: {networks: [front]}
  deep: {networks: [back]}
  vault: {networks: [secret]}
networks:
  front: {driver: overlay}
  back: {driver: overlay}
  secret: {driver: overlay, internal: true}
`;
const NXDOMAIN = 3;

t.test('the resolver in containers', async (t) => {
  if (!(await mayBeNode(t))) return;
  const upstream = await startMockUpstream((asked) =>
    asked.name === 'example.com'
      ? [addressReply(asked, '192.0.2.80')]
      : [reply(asked, { rcode: NXDOMAIN, authorities: [SOA] })],
  );
  const agent = await startAgent({
    stacks: { shop: STACK },
    args: ['--upstream', `127.0.0.1:${upstream.port}`, '--drain', '0s', '--query-log', '1'],
  });
  const [web, shell, deep, vault] = await Promise.all([
    startServers(agent, 'web', 3),
    startServer(agent, 'shell'),
    startServer(agent, 'deep'),
    startServer(agent, 'vault'),
  ]);
  await untilServing(agent, FRONT, 'web', web);
  const vip = await vipOf(agent, FRONT, 'web');
  const endpoints = web.map(({ address }) => address).sort();
  const ask = async (netns: number, name: string, options = {}) => summary(await lookup(netns, name, options));

  await t.test('D1 D2: a service is its VIP, over UDP and TCP, and nothing else', async (t) => {
    for (const tcp of [false, true]) {
      const how = tcp ? 'TCP' : 'UDP';
      const answer = await lookup(shell.netns, 'WeB', { tcp });
      t.equal(summary(answer), `NOERROR aa ra | ${vip}`, how);
      t.equal(answer.questions?.[0]?.name, 'WeB', 'the case of the question is kept');
      for (const type of ['AAAA', 'MX', 'TXT'] as const)
        t.equal(await ask(shell.netns, 'web', { tcp, type }), 'NOERROR aa ra | SOA', `${type} over ${how}`);
      for (const name of ['shop_web', 'web.front', 'web.shop_front', 'www', 'www.front'])
        t.equal(await ask(shell.netns, name, { tcp }), `NOERROR aa ra | ${vip}`, name);
      t.equal(await ask(shell.netns, 'nobody', { tcp }), 'NXDOMAIN aa ra | SOA');
    }
    t.equal(upstream.asked.length, 0, 'nobody outside was asked');
  });

  await t.test('D5: tasks.NAME is every endpoint once, and each is first as often', async (t) => {
    const first = new Map<string, number>();
    const client = await datagrams(shell.netns, '127.0.0.11', 53);
    for (let i = 0; i < 1000; i++) {
      const [answer] = await client.ask(question('tasks.web', 'A', { id: i }));
      const addresses = (answer === undefined ? [] : (decode(answer).answers ?? [])).map((one) =>
        'data' in one ? String(one.data) : '',
      );
      if (addresses.toSorted().join() !== endpoints.join()) t.same(addresses, endpoints);
      first.set(addresses[0] ?? '', (first.get(addresses[0] ?? '') ?? 0) + 1);
    }
    client.close();
    for (const address of endpoints)
      t.ok(Math.abs((first.get(address) ?? 0) - 333) <= 50, `${first.get(address)} of 1000`);
    const [one] = web;
    t.equal(await ask(shell.netns, one?.name ?? ''), `NOERROR aa ra | ${one?.address}`, "a task's own name");
  });

  await t.test('dnsrr: the name is the endpoints, and exists without any', async (t) => {
    t.equal(await ask(shell.netns, 'pool'), 'NOERROR aa ra | SOA');
    const pool = await startServers(agent, 'pool', 2);
    await untilServing(agent, FRONT, 'pool', pool);
    t.equal(
      await ask(shell.netns, 'pool'),
      ['NOERROR aa ra', ...pool.map(({ address }) => address).sort()].join(' | '),
    );
    for (const { run, ended } of pool) {
      run.kill('SIGTERM');
      t.equal(await ended, 0);
    }
    t.equal(await ask(shell.netns, 'pool'), 'NOERROR aa ra | SOA', 'D26: gone from the answers when it has ended');
  });

  await t.test("D9: an alias lives on its network, and a container's own as long as the container", async (t) => {
    t.equal(await ask(deep.netns, 'web'), `NOERROR aa ra | ${await vipOf(agent, 'shop_back', 'web')}`);
    t.equal(await ask(deep.netns, 'www'), 'NXDOMAIN aa ra | SOA');
    t.equal(await ask(shell.netns, 'first'), 'NXDOMAIN aa ra | SOA');
    const task = await startServer(agent, 'web', '--alias', 'first', '--network', 'front');
    await until(
      'it is eligible',
      () => ask(shell.netns, 'first'),
      (said) => said === `NOERROR aa ra | ${task.address}`,
    );
    t.equal(await ask(deep.netns, 'first'), 'NXDOMAIN aa ra | SOA');
    task.run.kill('SIGTERM');
    await task.ended;
    t.equal(await ask(shell.netns, 'first'), 'NXDOMAIN aa ra | SOA');
  });

  await t.test('names of other networks do not exist', async (t) => {
    for (const name of ['deep', 'vault']) t.equal(await ask(shell.netns, name), 'NXDOMAIN aa ra | SOA', name);
    t.equal(upstream.asked.length, 0, 'nobody outside was asked');
    // With a dot it may be a name of the world: the network `dev` of others must not hide example.dev.
    for (const name of ['deep.back', 'tasks.deep', 'vault.secret', deep.name, 'web.back'])
      t.match(await ask(shell.netns, name), /^NXDOMAIN/, name);
    t.equal(await ask(vault.netns, 'web'), 'NXDOMAIN aa ra | SOA');
    t.equal(await ask(vault.netns, 'vault'), `NOERROR aa ra | ${await vipOf(agent, 'shop_secret', 'vault')}`);
    const [task] = web;
    for (const name of ['shell', 'deep'])
      t.match(await ask(task?.netns ?? -1, name), /^NOERROR aa ra \| 10\./, 'a container on both networks sees both');
  });

  await t.test('D11: other names are asked outside', async (t) => {
    for (const tcp of [false, true])
      t.equal(await ask(shell.netns, 'example.com', { tcp }), 'NOERROR ra | 192.0.2.80', tcp ? 'TCP' : 'UDP');
    t.equal(await ask(deep.netns, 'gone.example.com'), 'NXDOMAIN ra | SOA');
    const asked = new Set(upstream.asked.map(({ name }) => name));
    t.ok(asked.has('example.com') && asked.has('gone.example.com'));
  });

  await t.test('O5: from an internal network no question leaves', async (t) => {
    const before = [upstream.asked.length, sentByNode()];
    for (const tcp of [false, true]) {
      t.match(await ask(vault.netns, 'other.example.com', { tcp }), /^REFUSED/, tcp ? 'TCP' : 'UDP');
      t.match(await ask(vault.netns, 'example.com', { tcp }), /^REFUSED/, 'not even what is known already');
    }
    t.same([upstream.asked.length, sentByNode()], before);
  });

  await t.test('the log and the metrics say who was refused, and who was answered', async (t) => {
    const refused = await agent.logged((line) => line.message === 'dns' && line.source === 'refused');
    t.match(refused, { client: /^shop_vault\./, name: /example\.com$/, rcode: 'REFUSED' });
    t.ok(await agent.logged((line) => line.name === 'WeB' && /^shop_shell\./.test(String(line.client))));
    const metrics = await (await fetch(`http://127.0.0.1:${agent.folder.adminPort}/metrics`)).text();
    t.match(metrics, /^vipmesh_dns_scope_answers_total\{scope="shop_secret",source="refused",rcode="refused"\} [1-9]/m);
    t.match(metrics, /^vipmesh_dns_scope_answers_total\{scope="shop_front",source="local",rcode="noerror"\} [1-9]/m);
  });

  await t.test('D25: what is no question is never answered with data', async (t) => {
    const message = question('web', 'A', { id: 7 });
    const changed = (change: (copy: Buffer) => void) => {
      const copy = Buffer.from(message);
      change(copy);
      return copy;
    };
    const table: readonly (readonly [string, Buffer, RegExp])[] = [
      ['no question', changed((copy) => copy.writeUInt16BE(0, 4)), /^FORMERR/],
      ['two questions', changed((copy) => copy.writeUInt16BE(2, 4)), /^FORMERR/],
      ['opcode NOTIFY', changed((copy) => copy.writeUInt8(0x21, 2)), /^NOTIMP/],
      ['opcode UPDATE', changed((copy) => copy.writeUInt8(0x29, 2)), /^NOTIMP/],
      ['class CH', changed((copy) => copy.writeUInt16BE(3, copy.length - 2)), /^(REFUSED|NOTIMP)/],
    ];
    for (const [what, bytes, expected] of table) {
      for (const over of [overUdp, overTcp]) {
        const answer = await over(shell.netns, bytes);
        t.match(
          answer === undefined || answer.length < 12 ? 'no answer' : rcodeOf(answer),
          expected,
          `${what}, ${over.name}`,
        );
      }
    }
    const client = await datagrams(shell.netns, '127.0.0.11', 53);
    void client.ask(
      changed((copy) => copy.writeUInt8(0x81, 2)),
      2,
    );
    t.same(
      (await client.ask(question('web', 'A', { id: 8 }))).map((answer) => answer.readUInt16BE(0)),
      [8],
      'a response is not answered',
    );
    client.close();
  });
  t.equal(await agent.stop(), 0);
});

/** Datagrams that the node's own sockets have sent, and packets that it has passed on. */
function sentByNode(): readonly number[] {
  return [packetCount('Udp', 'OutDatagrams'), packetCount('Ip', 'ForwDatagrams')];
}

/** Of a message that may hold anything but its header. */
function rcodeOf(message: Buffer): string {
  return ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'][message.readUInt16BE(2) & 0xf] ?? '?';
}
