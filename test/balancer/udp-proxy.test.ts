import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import type { FrontendTarget } from '../../src/balancer/command.ts';
import { ENDPOINT, FRONTEND, TOTAL } from '../../src/runtime/worker-env.ts';
import { unusedPort } from '../support/ports.ts';
import { type Client, Rig, type Server } from './udp-harness.ts';

const TARGET: FrontendTarget = { kind: 'port', backend: 0, targetPort: 53 };

t.test('U1: a client has one endpoint and one upstream port; two clients have two; answers never cross', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  const port = await rig.proxy.listen(0, '::', TARGET);
  const [one, two] = [await rig.client(port), await rig.client(port)];
  const answers: string[] = [];
  for (let i = 0; i < 10; i++) answers.push(await one.ask(`one${i}`), await two.ask(`two${i}`));
  for (const [i, answer] of answers.entries()) t.equal(answer, `${i % 2 === 0 ? 'a:one' : 'b:two'}${i >> 1}`);
  for (const server of [a, b]) t.equal(new Set(server.seen.map(({ from }) => from.port)).size, 1);
  t.equal(one.pending + two.pending, 0);
  t.equal(rig.proxy.total(TOTAL.udpFlowsActive), 2);
  t.equal(rig.proxy.total(TOTAL.udpDatagramsToEndpoint), 20);
  t.equal(rig.proxy.total(TOTAL.udpDatagramsToClient), 20);
  t.equal(rig.proxy.counters.frontends[FRONTEND.accepted], 2);
  t.equal(rig.proxy.endpoint(1, ENDPOINT.bytesToEndpoint), 40);
  t.equal(rig.proxy.endpoint(1, ENDPOINT.bytesToClient), 60);
});

t.test('U2: after the idle timeout a new flow is made', async (t) => {
  const rig = new Rig(t, { briefIdleMs: 250, lastingIdleMs: 250 });
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  const heard = (server: Server) => server.seen.map(({ data }) => String(data));
  // What the servers hear is looked at, not their answers: on a busy machine a flow may have ended before its answer comes.
  client.send('x');
  await rig.proxy.until(() => heard(a).length > 0 && rig.proxy.total(TOTAL.udpFlowsActive) === 0);
  t.equal(rig.proxy.endpoint(1, ENDPOINT.flows), 0);
  client.send('y');
  await rig.proxy.until(() => heard(b).length > 0);
  t.same([heard(a), heard(b)], [['x'], ['y']]);
  t.equal(rig.proxy.total(TOTAL.udpFlowsOpened), 2);
});

t.test('U5: every answer comes back, also a hundred of them to one question', async (t) => {
  const rig = new Rig(t);
  const server = await rig.server('a', 1);
  server.reply = (data) => Array.from({ length: Number(String(data)) }, (_, i) => Buffer.from(`${i}`));
  await rig.proxy.setEndpoints(0, server.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  for (const count of [3, 100]) {
    client.send(`${count}`);
    const answers: string[] = [];
    while (answers.length < count) answers.push(String(await client.receive()));
    t.strictSame(
      answers,
      Array.from({ length: count }, (_, i) => `${i}`),
    );
  }
});

t.test('U7: when its endpoint is replaced, the same client reaches the new one with its next datagram', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  t.equal(await client.ask('1'), 'a:1');
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  t.equal(await client.ask('2'), 'a:2', 'a flow stays where it is while it can');
  await rig.proxy.setEndpoints(0, b.endpoint());
  t.equal(await client.ask('3'), 'b:3');
  const moved = await rig.server('c', 2);
  await rig.proxy.setEndpoints(0, moved.endpoint());
  t.equal(await client.ask('4'), 'c:4', 'the same slot at another address is another endpoint');
  t.equal(rig.proxy.total(TOTAL.udpFlowsOpened), 1);
});

t.test('U11: 10 flows over 2 endpoints are 5 and 5; by weights 1 and 2, 30 are 10 and 20', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  const port = await rig.proxy.listen(0, '::', TARGET);
  const share = async (flows: number): Promise<string> => {
    const answers: string[] = [];
    for (let i = 0; i < flows; i++) answers.push(await (await rig.client(port)).ask(''));
    return ['a:', 'b:'].map((name) => answers.filter((answer) => answer === name).length).join('/');
  };
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  t.equal(await share(10), '5/5');
  await rig.proxy.setEndpoints(0, a.endpoint(53, 1), b.endpoint(53, 2));
  t.equal(await share(30), '10/20');
});

t.test('empty and the longest datagrams pass whole, both ways', async (t) => {
  const rig = new Rig(t);
  const server = await rig.server('a', 1);
  server.reply = (data) => [data];
  await rig.proxy.setEndpoints(0, server.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  for (const length of [0, 1, 1472, 1473, 65_507, 0]) {
    const data = Buffer.alloc(length, length % 251);
    client.send(data);
    t.ok((await client.receive()).equals(data), `${length} bytes`);
  }
});

t.test('bursts of many clients, of all sizes: each gets its own answers, in order', async (t) => {
  const rig = new Rig(t);
  const servers = [await rig.server('a', 1), await rig.server('b', 2)];
  for (const server of servers) server.reply = (data) => [data];
  await rig.proxy.setEndpoints(0, ...servers.map((server) => server.endpoint()));
  const port = await rig.proxy.listen(0, '::', TARGET);
  const clients = await Promise.all(Array.from({ length: 5 }, () => rig.client(port)));
  const sizes = [5, 5, 5, 200, 200, 90, 5, 1402, 1402, 1402, 1403, 1403, 0, 5, 3000, 5, 5];
  const rounds = 20;
  for (let round = 0; round < rounds; round++) {
    const sent = clients.map((_, who) => sizes.map((size, i) => Buffer.alloc(size, who * 50 + i)));
    for (const i of sizes.keys()) for (const [who, client] of clients.entries()) client.send(sent[who]?.[i] as Buffer);
    for (const [who, client] of clients.entries()) {
      const answers: Buffer[] = [];
      while (answers.length < sizes.length) answers.push(await client.receive());
      t.ok(
        answers.every((answer, i) => answer.equals(sent[who]?.[i] as Buffer)),
        `client ${who}, round ${round}`,
      );
    }
  }
  t.equal(rig.proxy.total(TOTAL.udpDatagramsToEndpoint), rounds * clients.length * sizes.length);
  t.equal(rig.proxy.total(TOTAL.udpDatagramsDropped), 0);
  t.equal(
    rig.proxy.endpoint(1, ENDPOINT.bytesToEndpoint) + rig.proxy.endpoint(2, ENDPOINT.bytesToEndpoint),
    rounds * clients.length * sizes.reduce((sum, size) => sum + size, 0),
  );
});

t.test('an endpoint that refuses costs no datagram when there is another', async (t) => {
  const rig = new Rig(t);
  const [gone, b] = [await rig.server('gone', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, gone.endpoint(), b.endpoint());
  await gone.close();
  const port = await rig.proxy.listen(0, '::', TARGET);
  const startedAt = performance.now();
  for (let i = 0; i < 10; i++) t.equal(await (await rig.client(port)).ask(`${i}`), `b:${i}`);
  const seconds = Math.floor((performance.now() - startedAt) / 1000);
  const failures = rig.proxy.endpoint(1, ENDPOINT.failures);
  t.ok(failures >= 1 && failures <= 1 + seconds, `and is asked once a second at most: ${failures} times`);
  t.equal(rig.proxy.endpoint(1, ENDPOINT.flows), 0);
});

t.test('a port that refuses is held against that port alone', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  const both = (server: Server, port: number) => {
    const { portMap, ...rest } = server.endpoint();
    return { ...rest, portMap: [...portMap, { targetPort: 99, port }] };
  };
  await rig.proxy.setEndpoints(0, both(a, unusedPort()), both(b, b.port));
  const port = await rig.proxy.listen(0, '::', TARGET);
  const other = await rig.proxy.listen(1, '::', { ...TARGET, targetPort: 99 });
  for (let i = 0; i < 4; i++) t.equal(await (await rig.client(other)).ask('x'), 'b:x');
  t.equal(rig.proxy.endpoint(1, ENDPOINT.failures), 1, 'tried once, and then passed over');
  const answers: string[] = [];
  for (let i = 0; i < 4; i++) answers.push(await (await rig.client(port)).ask('x'));
  t.same(answers.sort(), ['a:x', 'a:x', 'b:x', 'b:x']);
});

t.test('T9: clients that are to come back do so with every flow', async (t) => {
  for (const choice of [{ affinityMs: 600_000 }, { method: 'source-hash' }] as const) {
    const rig = new Rig(t);
    const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
    await rig.proxy.setBackend({ id: 0, endpoints: [a.endpoint(), b.endpoint()], ...choice });
    const port = await rig.proxy.listen(0, '::', TARGET);
    const answers: string[] = [];
    for (let i = 0; i < 8; i++) answers.push(await (await rig.client(port)).ask('x'));
    t.equal(new Set(answers).size, 1, `8 flows of one client, ${Object.keys(choice)}`);
    const [left, name] = answers[0] === 'a:x' ? [b, 'b:x'] : [a, 'a:x'];
    await rig.proxy.setBackend({ id: 0, endpoints: [left.endpoint()], ...choice });
    t.equal(await (await rig.client(port)).ask('x'), name, 'and another when that is gone');
  }
});

for (const [who, says] of [
  ['the client', (client: Client) => client.send('x')],
  ['the endpoint', (_: Client, push: () => void) => push()],
] as const) {
  t.test(`a flow lives as long as ${who} sends`, async (t) => {
    const IDLE_MS = 400;
    for (;;) {
      const rig = new Rig(t, { briefIdleMs: IDLE_MS, lastingIdleMs: IDLE_MS });
      const server = await rig.server('a', 1);
      server.reply = (data) => (String(data) === 'hello' ? [data] : []);
      await rig.proxy.setEndpoints(0, server.endpoint());
      const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
      await client.ask('hello');
      const began = performance.now();
      let last = began;
      let longestPauseMs = 0;
      while (last - began < 3 * IDLE_MS) {
        says(client, () => server.push('news'));
        await rig.proxy.post();
        await new Promise((resolve) => setTimeout(resolve, 10));
        longestPauseMs = Math.max(longestPauseMs, performance.now() - last);
        last = performance.now();
      }
      // When the machine stood still, both were silent for too long.
      if (longestPauseMs > IDLE_MS / 2) continue;
      t.same([rig.proxy.total(TOTAL.udpFlowsOpened), rig.proxy.total(TOTAL.udpFlowsActive)], [1, 1]);
      await rig.proxy.until(() => rig.proxy.total(TOTAL.udpFlowsActive) === 0);
      return;
    }
  });
}

t.test('the first datagram after an endpoint has come back arrives', async (t) => {
  const rig = new Rig(t);
  const first = await rig.server('a', 1);
  await rig.proxy.setEndpoints(0, first.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  t.equal(await client.ask('1'), 'a:1');
  await first.close();
  for (let refusals = 1; refusals <= 3; refusals++) {
    client.send('lost');
    await rig.proxy.until(() => rig.proxy.endpoint(1, ENDPOINT.failures) === refusals);
  }
  const again = await rig.server('again', 1, '127.0.0.1', first.port);
  t.equal(await client.ask('2'), 'again:2', 'of the same client, on the same port');
  await rig.proxy.setEndpoints(0);
  const lost = rig.proxy.total(TOTAL.udpDatagramsDropped);
  client.send('lost');
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsDropped) > lost);
  await rig.proxy.setEndpoints(0, again.endpoint());
  t.equal(await client.ask('3'), 'again:3', 'and after it was not eligible');
});

t.test('a flow whose endpoint dies goes on elsewhere', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  t.equal(await client.ask('1'), 'a:1');
  await a.close();
  client.send('lost: the refusal comes after it was sent');
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpFlowsActive) === 0);
  t.equal(await client.ask('2'), 'b:2');
});

t.test('a backend whose only endpoint refuses loses datagrams and is tried again with every new one', async (t) => {
  const rig = new Rig(t);
  const a = await rig.server('a', 1);
  await rig.proxy.setEndpoints(0, a.endpoint());
  await a.close();
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  client.send('lost');
  const counted = () => [rig.proxy.total(TOTAL.udpDatagramsDropped), rig.proxy.total(TOTAL.udpFlowsActive)];
  await rig.proxy.until(() => String(counted()) === '1,0');
  await rig.server('a', 1, '127.0.0.1', a.port);
  t.equal(await client.ask('again'), 'a:again');
});

t.test('without an endpoint datagrams are dropped and counted; later ones find the endpoint that came', async (t) => {
  const rig = new Rig(t);
  const a = await rig.server('a', 1);
  await rig.proxy.setEndpoints(0);
  const client = await rig.client(await rig.proxy.listen(0, '::', TARGET));
  client.send('lost');
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsDropped) === 1);
  await rig.proxy.setEndpoints(0, a.endpoint());
  t.equal(await client.ask('x'), 'a:x');
  await rig.proxy.setEndpoints(0);
  client.send('lost too');
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsDropped) === 2);
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpFlowsActive) === 0);
});

for (const [listen, ...used] of [
  ['::', '127.0.0.1', '127.0.0.2', '127.64.0.9', '::1'],
  ['0.0.0.0', '127.0.0.1', '127.0.0.2'],
  ['127.64.0.5', '127.64.0.5'],
  ['::1', '::1'],
] as const) {
  t.test(`listening on ${listen}, it answers from the address that the client used`, async (t) => {
    const rig = new Rig(t);
    const endpoints = [await rig.server('a', 1), await rig.server('a', 2, '::1')];
    await rig.proxy.setEndpoints(0, ...endpoints.map((server) => server.endpoint()));
    const port = await rig.proxy.listen(0, listen, TARGET);
    // Twice: once by way of each family's endpoint. The clients are connected, so any other source address is never seen.
    for (const address of used)
      for (let i = 0; i < 2; i++) t.equal(await (await rig.client(port, address)).ask('x'), 'a:x', address);
    t.equal(new Set(endpoints.flatMap((server) => server.seen.map(({ from }) => from.family))).size, 2);
  });
}

t.test('one client that talks to two of the node’s addresses has two flows', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  const port = await rig.proxy.listen(0, '::', TARGET);
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  for (const [address, answer] of [
    ['127.0.0.1', 'a:x'],
    ['127.0.0.2', 'b:x'],
  ] as const) {
    client.send('x', port, address);
    const [data, from] = (await once(client, 'message')) as [Buffer, { readonly address: string }];
    t.strictSame([String(data), from.address], [answer, address]);
  }
});

t.test('a full table ends the flow that has been idle longest, and the new client is served', async (t) => {
  const rig = new Rig(t, { maxFlows: 2 });
  const a = await rig.server('a', 1);
  await rig.proxy.setEndpoints(0, a.endpoint());
  const port = await rig.proxy.listen(0, '::', TARGET);
  const clients = [];
  for (let i = 0; i < 5; i++) {
    const client = await rig.client(port);
    clients.push(client);
    t.equal(await client.ask(`${i}`), `a:${i}`);
    t.equal(rig.proxy.total(TOTAL.udpFlowsActive), Math.min(2, i + 1));
  }
  t.equal(await (clients[0] as Client).ask('back'), 'a:back');
});

t.test('conversations under way are not ended for newcomers', async (t) => {
  const rig = new Rig(t, { maxFlows: 2 });
  const a = await rig.server('a', 1);
  await rig.proxy.setEndpoints(0, a.endpoint());
  const port = await rig.proxy.listen(0, '::', TARGET);
  const clients = [await rig.client(port), await rig.client(port)];
  for (const client of clients) for (let i = 0; i < 2; i++) await client.ask('x');
  (await rig.client(port)).send('refused');
  await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsDropped) === 1);
  for (const client of clients) t.equal(await client.ask('y'), 'a:y');
  t.equal(rig.proxy.total(TOTAL.udpFlowsOpened), 2);
});

t.test('a frontend that goes takes its flows along, and another may have its id', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint());
  await rig.proxy.setEndpoints(1, b.endpoint());
  const [first, second] = [
    await rig.proxy.listen(0, '::', TARGET),
    await rig.proxy.listen(1, '::', { ...TARGET, backend: 1 }),
  ];
  t.equal(await (await rig.client(first)).ask('x'), 'a:x');
  t.equal(await (await rig.client(second)).ask('x'), 'b:x');
  await rig.proxy.post({ kind: 'frontend-remove', id: 0 });
  t.equal(rig.proxy.counters.frontends[FRONTEND.active], 0);
  t.equal(rig.proxy.endpoint(1, ENDPOINT.flows), 0);
  t.equal(rig.proxy.total(TOTAL.udpFlowsActive), 1);
  const third = await rig.proxy.listen(0, '::', TARGET);
  t.equal(await (await rig.client(third)).ask('x'), 'a:x');
});

t.test('flows of an endpoint whose drain time is over end', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [await rig.server('a', 1), await rig.server('b', 2)];
  await rig.proxy.setEndpoints(0, a.endpoint(), b.endpoint());
  const port = await rig.proxy.listen(0, '::', TARGET);
  for (let i = 0; i < 4; i++) await (await rig.client(port)).ask('x');
  await rig.proxy.post({ kind: 'endpoint-close', slots: [1] });
  t.equal(rig.proxy.endpoint(1, ENDPOINT.flows), 0);
  t.equal(rig.proxy.endpoint(2, ENDPOINT.flows), 2);
});
