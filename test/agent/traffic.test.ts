// What the balancer does, seen from outside: a real agent, real clients and servers, its command line and its metrics.
import { once } from 'node:events';
import { get } from 'node:http';
import { connect } from 'node:net';
import t from 'tap';
import type { AgentStatus, ConnectionListing } from '../../src/api/status-schema.ts';
import { type Agent, startAgent } from '../support/agent.ts';
import { echoServer, talk, udpEcho, udpTalk } from '../support/echo.ts';
import { refusingPort, unusedPort } from '../support/ports.ts';

type Row = Readonly<Record<keyof ConnectionListing['Connections'][number], string>>;

async function list(agent: Agent, ...words: string[]): Promise<readonly Row[]> {
  const { code, stdout, stderr } = await agent.cli('conn', 'ls', ...words, '--format', 'json');
  if (code !== 0) throw new Error(stderr);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** Until what is listed is as wanted: what a client did reaches the agent when it does. */
async function listUntil(agent: Agent, like: (rows: readonly Row[]) => boolean): Promise<readonly Row[]> {
  for (;;) {
    const rows = await list(agent);
    if (like(rows)) return rows;
  }
}

function metrics(agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ port: agent.folder.adminPort, host: '127.0.0.1', path: '/metrics' }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

/** The value of one line; undefined when there is none. */
function lineValue(page: string, line: string): number | undefined {
  const found = page.split('\n').find((one) => one.startsWith(`${line} `));
  return found === undefined ? undefined : Number(found.slice(line.length));
}

t.test('what is open, and what was moved, one by one and by service', async (t) => {
  const [tcp, udp, dead] = [unusedPort(), unusedPort(), unusedPort()];
  const { port: server, release } = await echoServer();
  const datagrams = await udpEcho();
  const health = 'health: none';
  const agent = await startAgent({
    args: ['--workers', '2'],
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.118.0.0/16 }] } }
services:
  web:
    ports: ["${tcp}:80"]
    x-vipmesh: { endpoints: [80=127.0.0.1:${server}], ${health} }
  dns:
    ports: ["${udp}:53/udp"]
    x-vipmesh: { endpoints: [53=127.0.0.1:${datagrams}], ${health} }
  dead:
    ports: ["${dead}:80"]
    x-vipmesh: { endpoints: [80=127.0.0.1:${refusingPort()}], ${health} }
`,
    },
  });
  const first = await talk(tcp, 'hello');
  const second = await talk(tcp, 'hello, world');
  const flow = await udpTalk(udp, 'who?');
  // Who comes back after an answer is listed for two minutes, not for half of one.
  flow.send('you?');
  await once(flow, 'message');

  await t.test('conn ls: each with its client, endpoint, age, bytes and state', async (t) => {
    const rows = await list(agent);
    t.equal(rows.length, 3);
    const one = rows.find(({ Client }) => Client === `127.0.0.1:${first.localPort}`);
    t.match(one, {
      Service: 'shop_web',
      Protocol: 'tcp',
      Frontend: `127.0.0.1:${tcp}`,
      Endpoint: `127.0.0.1:${server}`,
      Task: /^shop_web\./,
      BytesToEndpoint: '5',
      BytesToClient: '5',
      State: 'open',
    });
    t.ok(Number(one?.AgeMs) > 0);
    t.match(
      rows.find(({ Protocol }) => Protocol === 'udp'),
      {
        Service: 'shop_dns',
        Client: `127.0.0.1:${flow.address().port}`,
        Frontend: `127.0.0.1:${udp}`,
        Endpoint: `127.0.0.1:${datagrams}`,
        BytesToEndpoint: '8',
        BytesToClient: '8',
        State: 'open',
      },
    );
    t.match((await agent.cli('conn', 'ls', 'shop_web')).stdout.split('\n'), [
      /^SERVICE +PROTOCOL +CLIENT +FRONTEND +ENDPOINT +AGE +IN +OUT +STATE$/,
      /^shop_web +tcp +127.0.0.1:\d+ +127.0.0.1:\d+ +127.0.0.1:\d+ +[\d.]+s +5B +5B +open$/,
      /^shop_web .* 12B +12B +open$/,
      /^$/,
    ]);
  });

  await t.test('conn ls: of one service, and no more than asked for', async (t) => {
    t.equal((await list(agent, 'shop_dns')).length, 1);
    t.same(await list(agent, 'shop_dead'), []);
    const cut = await agent.cli('conn', 'ls', '--limit', '1', '--format', '{{.Protocol}}');
    t.match(cut, { code: 0, stdout: /^(tcp|udp)\n$/, stderr: '2 more; --limit 3 shows all\n' });
    t.match(await agent.cli('conn', 'ls', '--limit', '0'), { code: 0, stderr: /^3 more/ });
    t.match(await agent.cli('conn', 'ls', 'nothing'), { code: 1, stderr: /nothing/ });
    t.match(await agent.cli('conn', 'ls', '--limit', 'all'), { code: 2, stderr: /--limit should be a number/ });
  });

  await t.test('conn ls: more than workers tell at once, and IPv6', async (t) => {
    const many = await Promise.all(Array.from({ length: 300 }, () => talk(tcp, 'x')));
    const rows = await list(agent, 'shop_web');
    t.equal(rows.length, 302);
    t.equal(new Set(rows.map(({ Client }) => Client)).size, 302, 'each once');
    t.same(new Set(rows.map(({ Worker }) => Worker)), new Set(['0', '1']));
    const ages = rows.map(({ AgeMs }) => Number(AgeMs));
    t.same(
      ages,
      ages.toSorted((a, b) => b - a),
      'the oldest first',
    );
    const { stdout, stderr } = await agent.cli('conn', 'ls', 'shop_web', '--limit', '200', '--format', '{{.Client}}');
    t.equal(stdout.trimEnd().split('\n').length, 200);
    t.match(stderr, /^102 more;/);
    for (const one of many) one.end();
    const six = await talk(tcp, 'six', '::1');
    const { localPort } = six;
    t.match(await listUntil(agent, (rows) => rows.length === 4).then((rows) => rows.at(-1)), {
      Client: `[::1]:${localPort}`,
      Frontend: `[::1]:${tcp}`,
      Endpoint: `127.0.0.1:${server}`,
    });
    six.end();
    await listUntil(agent, (rows) => rows.length === 3);
  });

  await t.test('conn ls: who has ended, and who does not read', async (t) => {
    const mute = await talk(tcp, 'hold');
    const greedy = await talk(tcp, 'b');
    greedy.pause();
    const piece = Buffer.alloc(1 << 20);
    // Until nothing moves any more: the echo waits for its reader.
    const write = () => {
      while (greedy.writable && greedy.write(piece)) {}
    };
    greedy.on('drain', write);
    write();
    const rows = await listUntil(agent, (rows) => rows.some(({ State }) => State === 'stalled'));
    const stalled = rows.find(({ State }) => State === 'stalled');
    t.equal(stalled?.Client, `127.0.0.1:${greedy.localPort}`);
    t.ok(Number(stalled?.BytesToEndpoint) >= 1 << 20);
    greedy.destroy();
    mute.end();
    const ended = await listUntil(agent, (rows) => rows.some(({ State }) => State === 'client-ended'));
    t.equal(ended.find(({ State }) => State === 'client-ended')?.Client, `127.0.0.1:${mute.localPort}`);
    release();
    await listUntil(agent, (rows) => rows.length === 3);
  });

  await t.test('metrics: connections, bytes and durations of each service', async (t) => {
    second.end();
    await listUntil(agent, (rows) => rows.length === 2);
    const gone = connect({ port: dead, host: '127.0.0.1' });
    await t.rejects(once(gone, 'end'), { code: 'ECONNRESET' });
    const page = await metrics(agent);
    const of = (name: string, service: string) => lineValue(page, `vipmesh_service_${name}{service="${service}"}`);
    t.equal(of('connections_total', 'shop_web'), 305);
    t.equal(of('connections_open', 'shop_web'), 1);
    t.ok((of('bytes_to_endpoint_total', 'shop_web') ?? 0) > 1 << 20);
    t.equal(of('bytes_to_client_total', 'shop_dns'), 8);
    t.equal(of('connections_open', 'shop_dns'), 1);
    t.equal(of('connect_failures_total', 'shop_dead'), 1);
    t.equal(of('connections_refused_total', 'shop_dead'), 1);
    t.equal(of('connections_refused_total', 'shop_web'), 0);
    t.equal(of('connect_seconds_count', 'shop_web'), 305);
    t.equal(of('connection_duration_seconds_count', 'shop_web'), 304, 'one is still open');
    t.ok((of('connection_duration_seconds_sum', 'shop_web') ?? 0) > 0);
    t.equal(
      lineValue(page, 'vipmesh_service_connect_seconds_bucket{le="+Inf",service="shop_web"}'),
      305,
      'every one is in a bucket',
    );
    t.equal(of('connect_seconds_count', 'shop_dead'), undefined, 'none had an endpoint');
  });

  await t.test("what an endpoint moved stays its service's when it has gone and its number is another's", async (t) => {
    first.end();
    await listUntil(agent, (rows) => rows.every(({ Protocol }) => Protocol === 'udp'));
    const before = await metrics(agent);
    const count = (page: string) => lineValue(page, 'vipmesh_service_connections_total{service="shop_web"}');
    const create = ['service', 'create', '--name', 'extra', '--network', 'shop_default', '--expose', '80'];
    t.match(await agent.cli(...create), { code: 0 });
    t.match(await agent.cli('endpoint', 'add', 'extra', `80=127.0.0.1:${server}`), { code: 0 });
    t.match(await agent.cli('endpoint', 'rm', 'extra', `127.0.0.1:${server}`), { code: 0 });
    t.equal(count(await metrics(agent)), count(before));
    t.equal(count(before), 305);
  });

  await t.test("what is still open to a service that was removed is not its successor's", async (t) => {
    const old = await talk(tcp, 'hold');
    t.match(await agent.cli('service', 'rm', 'shop_web'), { code: 0 });
    // In the network that is there: another would leave its namespace on the machine.
    const next = ['service', 'create', '--name', 'next', '--network', 'shop_default'];
    const created = await agent.cli(...next, '--publish', `${unusedPort()}:80`);
    t.match(created, { code: 0 }, created.stderr);
    const { Frontends } = await agent.json<AgentStatus>('status');
    const published = Frontends.filter(({ Service, Kind }) => Service === 'next' && Kind === 'published');
    t.same(
      published.map(({ OpenConnections }) => OpenConnections),
      [0],
    );
    // The flow may have ended by now.
    const connections = (await list(agent)).filter(({ Protocol }) => Protocol === 'tcp');
    t.match(connections, [{ Client: `127.0.0.1:${old.localPort}`, State: 'open' }]);
    release();
  });
});
