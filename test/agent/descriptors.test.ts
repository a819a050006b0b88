// K3: what an agent does that may have few descriptors, when more clients come than it can take.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

const DESCRIPTORS = 300;
const CROWD = 400;
/** Enough to make a task unhealthy twice over, had they failed. */
const CHECKS = 4;

/** Clients are let in a little after its first task is eligible. */
async function untilServed(port: number): Promise<void> {
  for (let answered = false; !answered; ) {
    const socket = connect(port, '127.0.0.1');
    answered = await new Promise((resolve) => {
      socket.on('error', () => resolve(false)).on('data', () => resolve(true));
      socket.write('x');
    });
    socket.destroy();
  }
}

t.test(
  'K3: a crowd takes no descriptors that checks and commands need, and all of it is served in the end',
  async (t) => {
    const agent = await startAgent({
      args: ['--workers', '2'],
      through: ['sh', '-c', `ulimit -n ${DESCRIPTORS} && exec "$0" "$@"`],
    });
    let checks = 0;
    let seen = () => {};
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('data', (data) => socket.write(data));
      socket.on('close', () => {
        if (socket.bytesRead > 0) return;
        checks++;
        seen();
      });
    }).listen({ port: 0, host: '127.0.0.1', backlog: 1000 });
    t.teardown(() => server.close());
    await once(server, 'listening');
    const port = unusedPort();
    const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await agent.cli('network', 'create', '-d', 'local', '--subnet', '127.93.0.0/16', 'lab');
    const check = ['--health-tcp', '--health-interval', '200ms', '--on-unhealthy', 'close'];
    const made = await agent.cli(
      ...['service', 'create', '--network', 'lab', '-p', `${port}:80`, '--endpoint', endpoint, ...check, 'web'],
    );
    t.equal(made.code, 0, made.stderr);
    await untilServed(port);

    const ends: string[] = [];
    let served = 0;
    const crowd: Socket[] = [];
    const all = Array.from({ length: CROWD }, () => {
      const socket = connect(port, '127.0.0.1');
      crowd.push(socket);
      socket.on('error', ({ message }) => ends.push(message)).on('end', () => ends.push('end'));
      socket.write('x');
      return once(socket, 'data').then(() => served++);
    });
    t.teardown(() => {
      for (const socket of crowd) socket.destroy();
    });
    await agent.logged(({ message }) => message.startsWith('out of descriptors'));
    const enough = checks + CHECKS;
    while (checks < enough) {
      await new Promise<void>((resolve) => {
        seen = resolve;
      });
    }
    t.ok(served > 0 && served < CROWD, `${served} served at once`);
    const metrics = await (await fetch(`http://127.0.0.1:${agent.folder.adminPort}/metrics`)).text();
    t.match(metrics, /^vipmesh_descriptors_exhausted_total [1-9]/m);
    const listed = await agent.cli('endpoint', 'ls', '--format', '{{.Address}} {{.Eligible}}', 'web');
    t.match(listed, { code: 0, stdout: '127.0.0.1 yes\n' }, listed.stderr);
    t.same(ends, [], 'nobody who was let in is cut off, and nobody who waits is turned away');

    // Those who have their answer leave, which makes room for others.
    for (const socket of crowd) socket.once('data', () => socket.end());
    for (const socket of crowd) if (socket.bytesRead > 0) socket.end();
    await Promise.all(all);
    t.equal(
      agent.log.find(({ message }) => message === 'task is unhealthy'),
      undefined,
    );
  },
);
