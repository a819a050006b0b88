// The line that a connection gets in the log when it ends: who, where to, why there, how much, how long, and who ended it.
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { type Agent, type LogLine, startAgent } from '../support/agent.ts';
import { echoServer, talk } from '../support/echo.ts';
import { refusingPort, unusedPort } from '../support/ports.ts';

const stack = (services: string) =>
  `networks:\n  default: { driver: local, ipam: { config: [{ subnet: 127.119.0.0/16 }] } }\nservices:\n${services}`;

/** Of the service, with the client's port. */
function lineOf(agent: Agent, clientPort: number | undefined): Promise<LogLine> {
  return agent.logged((line) => line.message === 'connection' && line.client === `127.0.0.1:${clientPort}`);
}

t.test('every connection, when all are asked for', async (t) => {
  const [web, one, dead, club] = [unusedPort(), unusedPort(), unusedPort(), unusedPort()];
  const { port: server, release } = await echoServer();
  const refusing = refusingPort();
  const agent = await startAgent({
    args: ['--workers', '1', '--connection-log', '1', '--drain', '100ms'],
    stacks: {
      shop: stack(`  web:
    ports: ["${web}:80"]
    x-vipmesh: { endpoints: [80=127.0.0.1:${server}, 80=127.0.0.1:${refusing}], health: none, drain: 0s }
  one:
    ports: ["${one}:80"]
    x-vipmesh: { endpoints: [80=127.0.0.1:${server}], health: none, balance: least-connections, affinity: 10m }
  dead:
    ports: ["${dead}:80"]
    x-vipmesh: { endpoints: [80=127.0.0.1:${refusing}], health: none }
  club:
    ports: ["${club}:80"]
    x-vipmesh:
      endpoints: [80=127.0.0.1:${server}]
      health: none
      deny: [127.0.0.2, 192.0.2.7]
      accept_proxy: 127.0.0.3
`),
    },
  });

  await t.test('who ended it, and how much went each way', async (t) => {
    const first = await talk(one, 'hello');
    const { localPort } = first;
    first.end();
    const line = await lineOf(agent, localPort);
    t.match(line, {
      level: 'info',
      service: 'shop_one',
      frontend: `127.0.0.1:${one}`,
      endpoint: `127.0.0.1:${server}`,
      task: /^shop_one\./,
      why: 'least-connections',
      bytesToEndpoint: 5,
      bytesToClient: 5,
      end: 'FIN by client',
    });
    t.ok(Number(line.connectMs) >= 0 && Number(line.totalMs) >= Number(line.connectMs));
    t.notOk('tried' in line || 'failures' in line);
    const endings = [
      ['bye', 'FIN by endpoint'],
      ['reset', 'RST by endpoint'],
      ['hello', 'RST by client'],
    ] as const;
    for (const [word, end] of endings) {
      const client = await talk(one, word);
      const { localPort } = client;
      if (word === 'hello') client.resetAndDestroy();
      else client.end();
      t.match(await lineOf(agent, localPort), { why: 'affinity', end }, end);
    }
  });

  await t.test('what was tried before, and what was never reached', async (t) => {
    const retried = (line: LogLine) => line.message === 'connection' && line.why === 'round-robin, retry';
    for (let i = 0; i < 2; i++) (await talk(web, 'x')).end();
    t.match(await agent.logged(retried), { failures: 1, tried: [/^shop_web\.\S+ refused$/], end: 'FIN by client' });
    // Its port is chosen here: the reset may come before Node.js has heard that it is connected.
    const localPort = unusedPort();
    const lost = connect({ port: dead, host: '127.0.0.1', localPort });
    await t.rejects(once(lost, 'end'), { code: 'ECONNRESET' });
    const line = await lineOf(agent, localPort);
    t.match(line, {
      service: 'shop_dead',
      failures: 1,
      tried: [/ refused$/],
      bytesToClient: 0,
      end: 'no endpoint took it',
    });
    t.notOk('endpoint' in line || 'why' in line || 'connectMs' in line);
  });

  await t.test('who was not let in', async (t) => {
    const cases = [
      { from: '127.0.0.2', word: 'hello', client: '127.0.0.2:', end: 'denied' },
      {
        from: '127.0.0.3',
        word: 'PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n',
        client: '192.0.2.7:51234',
        end: 'denied',
      },
      { from: '127.0.0.3', word: 'hello', client: '127.0.0.3:', end: 'no PROXY header' },
    ];
    for (const { from, word, client, end } of cases) {
      const socket = connect({ port: club, host: '127.0.0.1', localAddress: from });
      socket.write(word);
      await t.rejects(once(socket, 'end'), { code: 'ECONNRESET' });
      const line = await agent.logged((one) => one.end === end && String(one.client).startsWith(client));
      t.match(line, { service: 'shop_club', frontend: `127.0.0.1:${club}`, bytesToClient: 0 });
      t.notOk('endpoint' in line || 'why' in line);
    }
  });

  await t.test('what the agent ended', async (t) => {
    const { localPort: drained } = await talk(web, 'hold');
    t.match(await agent.cli('service', 'rm', 'shop_web'), { code: 0 });
    t.match(await lineOf(agent, drained), { end: 'drain deadline' });
    const { localPort: last } = await talk(one, 'hold');
    const stopped = agent.stop();
    t.match(await lineOf(agent, last), { end: 'agent', bytesToClient: 4 });
    t.equal(await stopped, 0);
    release();
  });
});

t.test('off, and a share of all', async (t) => {
  const { port: server } = await echoServer();
  for (const share of ['off', '0.5']) {
    const port = unusedPort();
    const agent = await startAgent({
      args: ['--workers', '1', '--connection-log', share],
      stacks: {
        shop: stack(
          `  web:\n    ports: ["${port}:80"]\n    x-vipmesh: { endpoints: [80=127.0.0.1:${server}], health: none }\n`,
        ),
      },
    });
    for (let i = 0; i < 40; i++) {
      const client = await talk(port, 'x');
      client.end();
      await once(client, 'close');
    }
    t.equal(await agent.stop(), 0);
    const lines = agent.log.filter((line) => line.message === 'connection').length;
    if (share === 'off') t.equal(lines, 0);
    else t.ok(lines > 0 && lines < 40, `${lines} of 40`);
  }
});
