// T11: what an endpoint hears first, where its service wants it to know its clients.
import type { Socket } from 'node:net';
import t from 'tap';
import type { ProxyProtocol } from '../../src/model/service.ts';
import { dial, endpoint, readAll, TcpRig } from '../support/tcp-rig.ts';

async function withRig(proxyProtocol: ProxyProtocol, run: (rig: TcpRig) => Promise<void>): Promise<void> {
  const rig = await TcpRig.start(1);
  const { post } = rig.plane;
  rig.plane.post = (command) =>
    post.call(
      rig.plane,
      command.kind === 'backend-set' ? { ...command, backend: { ...command.backend, proxyProtocol } } : command,
    );
  try {
    await run(rig);
  } finally {
    await rig.stop();
  }
}

function promised<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

for (const [host, family, own] of [
  ['127.0.0.1', 'TCP4', '127.0.0.1'],
  ['::1', 'TCP6', '::1'],
] as const) {
  t.test(`version 1 over ${host}: the line before any data, with the client's own port`, async (t) => {
    await withRig('v1', async (rig) => {
      const heard = promised<string>();
      const port = await rig.serve((socket) => {
        void readAll(socket).then((bytes) => {
          heard.resolve(bytes.toString());
          socket.end('done');
        });
      });
      rig.backend(0, [endpoint(0, port)]);
      const front = await rig.listen({ kind: 'port', backend: 0, targetPort: 80 }, host);
      const client = await dial(front.port, host);
      client.write('the first');
      client.end(' and the last');
      t.equal(
        await heard.promise,
        `PROXY ${family} ${own} ${own} ${client.localPort} ${front.port}\r\nthe first and the last`,
      );
      t.equal((await readAll(client)).toString(), 'done');
    });
  });
}

t.test('version 2: a server that speaks first has it without a byte of the client', async (t) => {
  await withRig('v2', async (rig) => {
    const heard = promised<Buffer>();
    const port = await rig.serve((socket: Socket) =>
      socket.once('data', (bytes) => {
        heard.resolve(bytes as Buffer);
        socket.end('220 ready');
      }),
    );
    const front = await rig.publish(endpoint(0, port));
    const client = await dial(front.port);
    t.equal((await readAll(client)).toString(), '220 ready');
    const header = await heard.promise;
    t.equal(header.length, 28);
    t.equal(header.readUInt16BE(24), client.localPort);
    t.equal(header.readUInt16BE(26), front.port);
    client.destroy();
  });
});

t.test('what the endpoint sends is not delayed or changed by it', async (t) => {
  await withRig('v1', async (rig) => {
    const port = await rig.serve((socket) => void socket.pipe(socket));
    const front = await rig.publish(endpoint(0, port));
    const client = await dial(front.port);
    client.end(Buffer.alloc(1_000_000, 'x'));
    const echoed = await readAll(client);
    t.equal(echoed.length, 1_000_000 + echoed.indexOf('\r\n') + 2);
  });
});
