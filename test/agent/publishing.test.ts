// What is published, from outside: where `host` mode listens, and ranges of ports.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import t from 'tap';
import { type Agent, PROGRAM, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';
import { ask } from '../support/tcp-rig.ts';

/** A server that says its port and closes. Rejects when it cannot have the port. */
async function serve(port: number, host?: string): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}).end(String(port)));
  server.listen(port, host);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return server;
}

async function untilSaid(expected: string, port: number, host?: string): Promise<void> {
  while ((await ask(port, host)) !== expected);
}

function spawnTask(agent: Agent): ChildProcess {
  const program =
    "require('node:net').createServer((socket) => socket.on('error', () => {}).end('task')).listen(process.env.PORT, process.env.VIPMESH_ADDR); process.on('SIGTERM', () => process.exit(0));";
  const words = [PROGRAM, 'run', '--service', 'web', '--', process.execPath, '-e', program];
  const env = { ...process.env, VIPMESH_HOST: agent.folder.socket };
  const child = spawn(process.execPath, words, { env, stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

t.test('host mode: a port of this node only while it has a task', async (t) => {
  const [host, ingress] = [unusedPort(), unusedPort()];
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.117.0.0/16 }] } }
services:
  web:
    ports: [{ target: 80, published: ${host}, mode: host }, "${ingress}:80"]
    x-vipmesh: { health: { tcp: true, timeout: 20s } }
`,
    },
  });
  await t.rejects(serve(ingress), { code: 'EADDRINUSE' }, 'one of the mesh is held on every node');
  const other = await serve(host);
  t.equal(await ask(host), String(host), 'without a task, it is whose it wants to be');

  const task = spawnTask(agent);
  await untilSaid('task', ingress);
  t.equal(await ask(host), String(host), 'what another program has stays its own');
  const shown = await agent.cli('service', 'inspect', '--pretty', 'web');
  t.match(shown.stdout, new RegExp(`:${host}/tcp +80 +blocked .*another program`));
  other.close();
  await untilSaid('task', host);

  task.kill();
  // Nobody holds it any more, a moment after the task has gone.
  while (
    await serve(host).then(
      () => false,
      () => true,
    )
  );
  t.equal(await ask(host), String(host));
  t.match(await agent.cli('service', 'ls'), { stdout: new RegExp(`:${ingress}->80/tcp`) });
});

t.test('ranges of ports', async (t) => {
  await serve(31000, '127.118.0.10');
  await serve(31009, '127.118.0.10');
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.118.1.0/24 }] } }
services:
  parallel:
    ports: ["127.118.0.9:21000-21009:31000-31009"]
    x-vipmesh: { endpoints: [127.118.0.10] }
  many:
    ports: ["127.118.0.9:20000-20999:80"]
    x-vipmesh: { endpoints: ["127.118.0.10:31000"] }
`,
    },
  });
  for (const port of [20000, 20500, 20999]) await untilSaid('31000', port, '127.118.0.9');
  await untilSaid('31000', 21000, '127.118.0.9');
  await untilSaid('31009', 21009, '127.118.0.9');
  t.equal(await ask(21000, '127.118.0.8'), 'ECONNREFUSED');
  const listed = await agent.cli('service', 'ls');
  t.match(listed.stdout, /127\.118\.0\.9:20000-20999->80\/tcp/);
  t.match(listed.stdout, /127\.118\.0\.9:21000-21009->31000-31009\/tcp/);
});
