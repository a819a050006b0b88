// H4: when a check fails, connections that are open are kept, or closed, as the service says.
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { answers, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

t.test('H4: a check that fails', async (t) => {
  let status = 200;
  const check = await listening(
    t,
    createHttpServer((_request, response) => {
      response.statusCode = status;
      response.end();
    }),
  );
  const echo = await listening(
    t,
    createServer((socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    }),
  );
  const ports = { keep: unusedPort(), close: unusedPort() };
  const service = (what: keyof typeof ports) => `  ${what}:
    ports: ["127.0.0.1:${ports[what]}:80"]
    x-vipmesh:
      endpoints: [127.0.0.1:${echo}]
      health: { http: { path: /, port: ${check} }, interval: 100ms, timeout: 20s, retries: 1 }
      on_unhealthy: ${what}
`;
  const agent = await startAgent({
    stacks: {
      shop: `networks: { default: { driver: local, ipam: { config: [{ subnet: 127.127.129.0/24 }] } } }\nservices:\n${service('keep')}${service('close')}`,
    },
  });
  const eligible = async (name: string) => answers(await agent.dig(`tasks.${name}`)).length;
  for (const name of Object.keys(ports)) while ((await eligible(name)) !== 1);
  const [keep, close] = [await dial(ports.keep), await dial(ports.close)];
  t.equal(await hear(keep, 'before'), 'before');
  t.equal(await hear(close, 'before'), 'before');

  const ended = new Promise((resolve) => close.on('close', resolve));
  status = 503;
  await ended;
  t.pass('one is closed');
  while ((await eligible('keep')) !== 0);
  t.equal(await hear(keep, 'after'), 'after', 'the other is kept');
  for (const port of Object.values(ports))
    await t.rejects(dial(port), { code: 'ECONNREFUSED' }, 'new ones are refused');

  status = 200;
  while ((await eligible('close')) !== 1);
  t.equal(await hear(keep, 'again'), 'again');
  const anew = await dial(ports.close);
  t.equal(await hear(anew, 'again'), 'again', 'and new ones are taken again');
  for (const socket of [keep, close, anew]) socket.destroy();
  t.equal(await agent.stop(), 0);
});

async function listening(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  await once(socket, 'connect');
  socket.on('error', () => {});
  return socket;
}

async function hear(socket: Socket, word: string): Promise<string> {
  socket.write(word);
  return String((await once(socket, 'data'))[0]);
}
