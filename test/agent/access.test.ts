// Who may come to a published port, from outside: a real agent, and clients with several addresses of the loopback network.
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { get } from 'node:http';
import { connect, createServer } from 'node:net';
import t from 'tap';
import { type Agent, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

/** Sends everything back, by TCP and UDP on one number. */
async function echoServer(): Promise<number> {
  const port = unusedPort();
  const stream = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(port, '127.0.0.1');
  const datagrams = createSocket('udp4', (data, from) => datagrams.send(data, from.port, from.address));
  datagrams.bind(port, '127.0.0.1');
  await Promise.all([once(stream, 'listening'), once(datagrams, 'listening')]);
  t.teardown(() => {
    stream.close();
    datagrams.close();
  });
  return port;
}

/** What comes back from a connection made at that address, or the code of the error. */
async function said(port: number, localAddress: string, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  const failed = once(socket, 'error').then(([error]) => (error as NodeJS.ErrnoException).code ?? '');
  socket.write(text);
  const answer = once(socket, 'data').then(([data]) => String(data));
  answer.catch(() => undefined);
  const result = await Promise.race([failed, answer]).catch((error: NodeJS.ErrnoException) => error.code ?? '');
  socket.destroy();
  return result;
}

async function client(address: string): Promise<Datagrams> {
  const socket = createSocket('udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return socket;
}

/** Sends until an answer comes: a datagram may be lost while the agent changes its sockets. */
async function answered(socket: Datagrams, port: number): Promise<void> {
  const sending = setInterval(() => socket.send('x', port, '127.0.0.1'), 50);
  await once(socket, 'message');
  clearInterval(sending);
}

async function denied(agent: Agent, protocol: string): Promise<number> {
  const text = await new Promise<string>((resolve, reject) => {
    get({ host: '127.0.0.1', port: agent.folder.adminPort, path: '/metrics', agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve(body));
    }).on('error', reject);
  });
  const pattern = new RegExp(`^vipmesh_frontend_denied_total\\{.*protocol="${protocol}".*\\} (\\d+)$`, 'm');
  return Number(pattern.exec(text)?.[1] ?? Number.NaN);
}

/** Sends until one more is counted as denied; nothing may come back. */
async function dropped(agent: Agent, socket: Datagrams, port: number): Promise<void> {
  const before = await denied(agent, 'udp');
  do socket.send('x', port, '127.0.0.1');
  while ((await denied(agent, 'udp')) === before);
}

t.test('allow, deny, and TCP and UDP on one number', async (t) => {
  const [server, port] = [await echoServer(), unusedPort()];
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.114.0.0/16 }] } }
services:
  web:
    ports: ["${port}:80/tcp", "${port}:80/udp"]
    x-vipmesh: { endpoints: ["127.0.0.1:${server}"], allow: 127.0.0.1, health: { tcp: true, timeout: 20s } }
`,
    },
  });
  await agent.logged(({ message }) => message === 'task is healthy');
  const [one, two] = [await client('127.0.0.1'), await client('127.0.0.2')];
  const heard: string[] = [];
  two.on('message', (data) => heard.push(String(data)));

  // The workers hear of the healthy task a moment after the log.
  while ((await said(port, '127.0.0.1', 'hello')) !== 'hello');
  t.equal(await said(port, '127.0.0.2', 'hello'), 'ECONNRESET');
  t.ok((await denied(agent, 'tcp')) >= 1);
  await answered(one, port);
  await dropped(agent, two, port);
  t.same(heard, []);
  t.match(await agent.cli('service', 'inspect', '--pretty', 'web'), { stdout: /^Let in: +127\.0\.0\.1\/32$/m });

  t.match(await agent.cli('service', 'update', '--allow', 'off', '--deny', '127.0.0.1,10.0.0.0/8', 'web'), { code: 0 });
  await dropped(agent, one, port);
  await answered(two, port);
  while ((await said(port, '127.0.0.1', 'hello')) !== 'ECONNRESET');
  t.equal(await said(port, '127.0.0.2', 'hello'), 'hello');
  t.match(await agent.cli('service', 'inspect', 'web'), {
    stdout: /"Deny": \[\s+"127\.0\.0\.1\/32",\s+"10\.0\.0\.0\/8"\s+\]/,
  });

  const words = ['--accept-proxy', '127.0.0.3', '--proxy-protocol', 'v1', 'web'];
  t.match(await agent.cli('service', 'update', '--deny', 'off', ...words), { code: 0 });
  const header = 'PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n';
  while ((await said(port, '127.0.0.3', `${header}hello`)) !== `${header}hello`);
  t.equal(await said(port, '127.0.0.3', 'no header'), 'ECONNRESET');
  t.match(await said(port, '127.0.0.2', header), /^PROXY TCP4 127\.0\.0\.2 127\.0\.0\.1 /, 'nobody else is believed');

  for (const bad of ['10.0.0.0/33', 'example.com', 'off,10.0.0.1'])
    t.match(await agent.cli('service', 'update', '--allow', bad, 'web'), {
      code: 2,
      stderr: /--allow should be subnets/,
    });
});
