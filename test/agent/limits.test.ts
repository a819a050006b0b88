// What a service allows its connections, set at the command line or in a stack file and met by a client.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

t.test('a service with limits', async (t) => {
  const agent = await startAgent();
  const does = async (...words: string[]) => {
    const { code, stdout, stderr } = await agent.cli(...words);
    if (code !== 0) throw new Error(`vipmesh ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
  t.teardown(() => echo.close());
  await once(echo, 'listening');
  const endpoint = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
  await does('network', 'create', '-d', 'local', '--subnet', '127.94.0.0/16', 'lab');

  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  /** Once it was served, what ends it; where nobody listens yet it is tried again. */
  const open = async (port: number): Promise<{ served: boolean; ended: Promise<string> }> => {
    for (;;) {
      const socket = connect(port, '127.0.0.1');
      sockets.push(socket);
      const ended = new Promise<string>((resolve) => {
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
        socket.once('end', () => resolve('end'));
      });
      socket.write('x');
      const first = await Promise.race([once(socket, 'data').then(() => 'served'), ended]);
      if (first !== 'ECONNREFUSED') return { served: first === 'served', ended };
    }
  };
  const metric = async (name: string, service: string, limit: string) => {
    const answer = await fetch(`http://127.0.0.1:${agent.folder.adminPort}/metrics`);
    const [, value] =
      new RegExp(`^${name}{service="${service}",limit="${limit}"} (\\d+)$`, 'm').exec(await answer.text()) ?? [];
    return Number(value);
  };

  await t.test('at the command line', async (t) => {
    const port = unusedPort();
    const limits = ['--max-connections', '2', '--idle-timeout', '1h'];
    await does('service', 'create', '--network', 'lab', '-p', `${port}:80`, '--endpoint', endpoint, ...limits, 'web');
    t.match(await does('service', 'inspect', '--pretty', 'web'), /^Limits: +idle timeout 1h, max connections 2$/m);
    for (let i = 0; i < 2; i++) t.ok((await open(port)).served);
    const third = await open(port);
    t.same([third.served, await third.ended], [false, 'ECONNRESET']);
    t.equal(await metric('vipmesh_service_limit_refusals_total', 'web', 'max-connections'), 1);
    await does('service', 'update', '--max-connections', 'off', '--idle-timeout', '1s', 'web');
    const { served, ended } = await open(port);
    t.ok(served);
    t.equal(await ended, 'ECONNRESET');
    t.equal(await metric('vipmesh_service_limit_ends_total', 'web', 'idle-timeout'), 1, 'of the others none is cut');
    const [shown] = await agent.json<{ Spec: { Vipmesh: { Limits?: object } } }[]>('service', 'inspect', 'web');
    t.same(shown?.Spec.Vipmesh.Limits, { IdleTimeout: 1_000_000_000 });
    await does('service', 'update', '--idle-timeout', 'off', 'web');
    const [then] = await agent.json<{ Spec: { Vipmesh: { Limits?: object } } }[]>('service', 'inspect', 'web');
    t.notOk(then?.Spec.Vipmesh.Limits);
  });

  await t.test('in a stack file', async (t) => {
    const port = unusedPort();
    const file = join(agent.folder.path, 'shop.yaml');
    writeFileSync(
      file,
      `networks: { default: { external: true, name: lab } }
services:
  web:
    ports: ["${port}:80"]
    x-vipmesh:
      endpoints: ["${endpoint}"]
      limits: { max_connections_per_client: 1, max_duration: 1s }
`,
    );
    await does('stack', 'deploy', '-c', file, 'shop');
    const { served, ended } = await open(port);
    t.ok(served);
    t.equal(await ended, 'ECONNRESET');
    t.equal(await metric('vipmesh_service_limit_ends_total', 'shop_web', 'max-duration'), 1);
  });
});
