// The whole agent from outside, on `local` networks: real processes, real servers, no privilege needed.
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, get, type Server } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import t from 'tap';
import { type Agent, answers, dig, failingAgent, makeFolder, run, startAgent } from './support/agent.ts';
import { unusedPort } from './support/ports.ts';

/** Each test has a subnet of its own, so that several agents fit on one machine. */
function stack(subnet: number, services: string): string {
  return `networks:
  default:
    driver: local
    ipam: { config: [{ subnet: 127.${subnet}.0.0/16 }] }
services:
${services}`;
}

/** An HTTP server that answers with its name. */
async function httpServer(name: string): Promise<{ readonly server: Server; readonly endpoint: string }> {
  const server = createHttpServer((_request, response) => response.end(name)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The body, over a connection of its own; rejects with what a client would see. */
function fetchOnce(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, agent: false, timeout: 5000 }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve(body));
    });
    request.on('error', reject);
  });
}

/** Resolves when so many endpoints of a service are eligible. */
async function untilEligible(agent: Agent, service: string, count: number): Promise<void> {
  for (;;) {
    const found = answers(await agent.dig(`tasks.${service}`));
    if (found.length === count) return;
  }
}

/** Resolves with the pid of the task `first` when it answers at an address. */
async function untilServed(address: string | undefined): Promise<number> {
  for (;;) {
    const body = await fetchOnce(8000, address).catch(() => '');
    if (body.startsWith('first ')) return Number(body.slice('first '.length));
  }
}

t.test('three endpoints behind a name, a VIP and a published port', async (t) => {
  const servers = await Promise.all(['a', 'b', 'c'].map(httpServer));
  const port = unusedPort();
  const endpoints = servers.map((one) => `80=${one.endpoint}`).join(', ');
  const agent = await startAgent({
    stacks: {
      shop: stack(
        100,
        `  web:\n    ports: ["${port}:80"]\n    x-vipmesh: { endpoints: [${endpoints}], health: { tcp: true, timeout: 20s } }\n    networks: { default: { aliases: [www] } }\n`,
      ),
    },
  });
  await agent.logged(
    (line) =>
      line.message === 'task is healthy' && agent.log.filter((one) => one.message === 'task is healthy').length >= 3,
  );

  await t.test('T5: the published port goes to each in turn', async (t) => {
    // Workers hear of a healthy task a moment after the log.
    for (let last: string[] = []; new Set(last).size < 3; )
      last = [...last, await fetchOnce(port).catch(() => '')].filter((one) => one !== '').slice(-3);
    const seen: string[] = [];
    for (let i = 0; i < 30; i++) seen.push(await fetchOnce(port));
    for (const name of ['a', 'b', 'c']) t.equal(seen.filter((one) => one === name).length, 10, name);
  });

  await t.test('names lead to the VIP, and the VIP to the endpoints', async (t) => {
    const vip = answers(await agent.dig('web'));
    t.match(vip, [/^127\.100\./]);
    for (const name of ['shop_web', 'WEB', 'www', 'web.shop_default', 'web.default'])
      t.same(answers(await agent.dig(name)), vip, name);
    t.match(
      await fetchOnce(80, vip[0]).catch((error: NodeJS.ErrnoException) => error.code),
      process.getuid?.() === 0 ? /[abc]/ : 'ECONNREFUSED',
    );
    t.same(answers(await agent.dig('tasks.web')), ['127.0.0.1'], 'an address once, though three serve at it');
    t.match((await agent.cli('status')).stdout, new RegExp(`^ shop_web +shop_default +${vip[0]}:80/tcp +80 `, 'm'));
  });

  await t.test('D2, D4: what a name has not, and what is no name', async (t) => {
    const none = await agent.dig('web', 'AAAA');
    t.match(none, { rcode: 'NOERROR', answers: [], authorities: [{ type: 'SOA' }], flag_aa: true });
    t.match(await agent.dig('nothing'), { rcode: 'NXDOMAIN', authorities: [{ type: 'SOA' }] });
    t.match(await agent.dig('nothing.shop_default'), { rcode: 'NXDOMAIN' });
  });

  await t.test('T6, M1: an endpoint that dies under load costs nobody a new connection', async (t) => {
    const dying = servers[2]?.server;
    const outcomes: Promise<string>[] = [];
    for (let i = 0; i < 300; i++) {
      if (i === 100) {
        dying?.closeAllConnections();
        dying?.close();
      }
      outcomes.push(fetchOnce(port));
      if (i % 10 === 9) await Promise.all(outcomes.slice(-10));
    }
    const bodies = await Promise.all(outcomes);
    t.same([...new Set(bodies.slice(110))].sort(), ['a', 'b']);
    await agent.logged((line) => line.message === 'task is unhealthy');
    t.match(await agent.cli('service', 'inspect', '--pretty', 'web'), {
      code: 0,
      stdout: /unhealthy: .*ECONNREFUSED|unhealthy: .*refused/i,
    });
  });

  await t.test('health, readiness and metrics', async (t) => {
    t.match(await fetchOnce(agent.folder.adminPort), /./);
    const metrics = await new Promise<string>((resolve, reject) => {
      get({ host: '127.0.0.1', port: agent.folder.adminPort, path: '/metrics', agent: false }, (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () => resolve(body));
      }).on('error', reject);
    });
    t.match(
      metrics,
      new RegExp(
        `vipmesh_frontend_connections_total{service="shop_web",kind="published",protocol="tcp",address="\\*",port="${port}"} 3[0-9]+`,
      ),
    );
    t.match(metrics, /vipmesh_service_eligible_tasks\{service="shop_web"\} 2/);
    t.match(metrics, /vipmesh_dns_queries_total\{protocol="udp"\} [1-9]/);
    t.match(metrics, /vipmesh_dns_questions_total\{type="A"\} [1-9]/);
  });

  await t.test('T7: nobody left: the port is refused, and stays ours', async (t) => {
    for (const { server } of servers) {
      server.closeAllConnections();
      server.close();
    }
    for (;;) {
      const listing = await agent.json<
        { readonly Vipmesh: { readonly Frontends: readonly { readonly State: string }[] } }[]
      >('service', 'inspect', 'web');
      if (listing[0]?.Vipmesh.Frontends.every((one) => one.State !== 'listening')) break;
    }
    await t.rejects(fetchOnce(port), { code: 'ECONNREFUSED' });
    t.match(answers(await agent.dig('web')), [/^127\.100\./], 'its name lives as long as the service');
    t.match(await agent.dig('tasks.web'), { rcode: 'NOERROR', answers: [] });
  });
});

t.test('a stack file that changes is applied, one that breaks is not', async (t) => {
  const one = await httpServer('one');
  const [port, other] = [unusedPort(), unusedPort()];
  const text = (published: number) =>
    stack(101, `  web:\n    ports: ["${published}:80"]\n    x-vipmesh: { endpoints: [${one.endpoint}] }\n`);
  const agent = await startAgent({ stacks: { shop: text(port) } });
  await untilEligible(agent, 'web', 1);
  t.equal(await fetchOnce(port), 'one');

  writeFileSync(agent.stackFile('shop'), `${text(other)}  web2: { prots: [] }\n`);
  t.match(await agent.logged((line) => line.message === 'stack file is not applied'), {
    error: /shop\.yaml:\d+:\d+: .*prots/,
    kept: /last good state/,
  });
  t.equal(await fetchOnce(port), 'one', 'the last good state stays');

  writeFileSync(agent.stackFile('shop'), text(other));
  await agent.logged(
    (line) =>
      line.message === 'stack file is in effect' &&
      agent.log.filter((past) => past.message === line.message).length === 2,
  );
  t.equal(await fetchOnce(other), 'one', 'T14: the new port serves');
  await t.rejects(fetchOnce(port), { code: 'ECONNREFUSED' }, 'the old one is free');

  writeFileSync(agent.stackFile('shop'), stack(101, '  db: {}\n'));
  await agent.logged(
    (line) =>
      line.message === 'stack file is in effect' &&
      agent.log.filter((past) => past.message === line.message).length === 3,
  );
  t.match(await agent.dig('web'), { rcode: 'NXDOMAIN' }, 'a service that has gone from the file is pruned');
  t.match(await agent.dig('db'), { rcode: 'NOERROR' });
});

t.test('tasks that run on the node itself', async (t) => {
  const stacks = { shop: stack(102, '  web:\n    expose: ["8000"]\n  job: {}\n') };
  const agent = await startAgent({ stacks });
  const server = `require('http').createServer((q, r) => r.end(process.env.VIPMESH_TASK + ' ' + process.pid)).listen(process.env.PORT, process.env.VIPMESH_ADDR);
    process.on('SIGTERM', () => process.exit(7))`;
  const host = { env: { VIPMESH_HOST: agent.folder.socket } };
  const task = run(['run', '--service', 'web', '--name', 'first', '--', process.execPath, '-e', server], host);
  await untilEligible(agent, 'web', 1);
  const [address] = answers(await agent.dig('first'));
  t.match(address, /^127\.102\./, 'a task has an address of its own, and its name');
  const [vip] = answers(await agent.dig('web'));
  const pid = await untilServed(vip);
  t.match(
    await run(
      [
        'run',
        '--service',
        'job',
        '--',
        process.execPath,
        '-e',
        'console.log(process.env.VIPMESH_SERVICE); process.exit(5)',
      ],
      host,
    ),
    { code: 5, stdout: 'shop_job\n' },
  );
  t.match(await run(['run', '--service', 'wep', '--', 'true'], host), {
    code: 1,
    stderr: /no service is called "wep".*did you mean.*web/,
  });
  t.match(await run(['run', '--service', 'job', '--', 'no-such-program'], host), {
    code: 127,
    stderr: /no-such-program/,
  });
  t.equal(await agent.stop('SIGTERM'), 0, 'the agent stops');
  t.notOk(existsSync(agent.folder.socket), 'its socket is gone');
  const again = await startAgent({ folder: agent.folder, stacks });
  t.same(answers(await again.dig('web')), [vip], 'the VIP is the same after a restart');
  t.equal(await untilServed(vip), pid, 'and the task, which went on meanwhile, serves behind it');
  await again.stop('SIGKILL');
  const third = await startAgent({ folder: agent.folder, stacks });
  t.equal(await untilServed(vip), pid, 'nor does kill -9 of the agent end it');
  t.match(await third.cli('service', 'ps', 'web'), { code: 0, stdout: /Running/ });
  // The end of the command is the end of the task.
  process.kill(pid, 'SIGTERM');
  t.match(await task, { code: 7 }, 'its exit code is kept');
  t.same(answers(await third.dig('tasks.web')), []);
});

t.test('endpoints that something else serves, added and removed by hand', async (t) => {
  const [one, two] = [await httpServer('one'), await httpServer('two')];
  const port = unusedPort();
  const agent = await startAgent({ stacks: { shop: stack(103, `  web:\n    ports: ["${port}:80"]\n`) } });
  await t.rejects(fetchOnce(port), { code: 'ECONNREFUSED' });
  t.match(await agent.cli('endpoint', 'add', 'web', one.endpoint), { code: 0 });
  t.match(await agent.cli('endpoint', 'add', 'web', `80=${two.endpoint}`), { code: 0 });
  t.match(await agent.cli('endpoint', 'add', 'web', 'localhost:80'), { code: 1, stderr: /host name/ });
  await agent.logged(() => agent.log.filter((line) => line.message === 'task is healthy').length === 2);
  const seen = new Set<string>();
  while (seen.size < 2) seen.add(await fetchOnce(port));
  t.match(await agent.cli('endpoint', 'ls', 'web'), { code: 0, stdout: /127\.0\.0\.1/ });
  t.match(await agent.cli('endpoint', 'rm', 'web', two.endpoint), { code: 0 });
  for (let i = 0; i < 4; i++) t.equal(await fetchOnce(port), 'one');
});

t.test('H8: a stopping agent refuses what is new and waits for what is open', async (t) => {
  const echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  t.teardown(() => echo.close());
  const port = unusedPort();
  const agent = await startAgent({
    stacks: {
      shop: stack(
        104,
        `  echo:\n    ports: ["${port}:7"]\n    x-vipmesh: { endpoints: ["127.0.0.1:${(echo.address() as AddressInfo).port}"] }\n`,
      ),
    },
    args: ['--drain', '60s'],
  });
  await untilEligible(agent, 'echo', 1);
  const client = connect(port, '127.0.0.1');
  client.write('before');
  t.equal(String((await once(client, 'data'))[0]), 'before');
  const stopped = agent.stop('SIGTERM');
  await agent.logged((line) => line.message === 'draining');
  for (;;) {
    const refused = await fetchOnce(port).then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
    );
    if (refused) break;
  }
  client.write('meanwhile');
  t.equal(String((await once(client, 'data'))[0]), 'meanwhile', 'an open connection goes on');
  client.end();
  t.equal(await stopped, 0);
  t.notOk(agent.log.some((line) => line.message.startsWith('connections are still open')));
});

t.test('one clear error each', async (t) => {
  await t.test('a second agent on the same socket and state', async (t) => {
    const agent = await startAgent();
    t.match(await failingAgent({ folder: agent.folder }), { code: 1, stderr: /another|already|held|locked/ });
    const elsewhere = await makeFolder();
    t.match(await failingAgent({ folder: { ...elsewhere, socket: agent.folder.socket } }), {
      code: 1,
      stderr: /another agent is running on .*pid \d+/,
    });
    t.match(await agent.cli('status'), { code: 0 }, 'the first is untouched');
  });

  await t.test('T15: a published port that another program, or another service, has', async (t) => {
    const foreign = createServer().listen(0);
    await once(foreign, 'listening');
    t.teardown(() => foreign.close());
    const { port } = foreign.address() as AddressInfo;
    const agent = await startAgent({ stacks: { shop: stack(105, `  web:\n    ports: ["${port}:80"]\n`) } });
    t.match(
      agent.log.filter((line) => line.message === 'stack file is not applied'),
      [{ error: new RegExp(`shop_web: port ${port}/tcp .*another program`) }],
    );
    foreign.close();
    await agent.logged((line) => line.message === 'stack file is in effect');
    t.pass('and is taken as soon as it is free');
  });

  await t.test('commands without an agent, and misuse', async (t) => {
    t.match(await run(['service', 'ls'], { env: { VIPMESH_HOST: 'unix:///nowhere/vipmesh.sock' } }), {
      code: 1,
      stderr: /no agent at .*start it with/,
    });
    t.match(await run(['servise', 'ls']), { code: 2, stderr: /service/ });
    t.match(await run(['agent', '--workers', 'many']), { code: 2, stderr: /--workers/ });
  });
});

t.test('a dead upstream is answered by SERVFAIL, and local names go on', async (t) => {
  const agent = await startAgent({
    stacks: { shop: stack(106, '  web: {}\n') },
    args: ['--upstream', `127.0.0.1:${unusedPort()}`],
  });
  t.match(await dig(agent.folder.dnsPort, 'example.org'), { rcode: 'SERVFAIL' });
  t.match(await dig(agent.folder.dnsPort, 'web'), { rcode: 'NOERROR' });
});
