// Servers that send back what they get, and clients of them.
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t from 'tap';

export interface EchoServer {
  readonly port: number;
  /** Ends those that it keeps. */
  release(): void;
}

/**
 * A server that sends back what it gets, and ends when its client does, or as the first word says: `hold` is kept until released,
 * `bye` is ended at once, and `reset` is reset.
 */
export async function echoServer(): Promise<EchoServer> {
  const open = new Set<Socket>();
  const held: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.once('data', (first) => {
      if (String(first).startsWith('hold')) held.push(socket);
      if (String(first).startsWith('bye')) setImmediate(() => socket.end());
      if (String(first).startsWith('reset')) setImmediate(() => socket.resetAndDestroy());
    });
    socket.pipe(socket, { end: false });
    socket.once('end', () => held.includes(socket) || socket.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const release = () => {
    for (const socket of held.splice(0)) socket.end();
  };
  return { port: (server.address() as AddressInfo).port, release };
}

export async function udpEcho(): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return socket.address().port;
}

/** A client that has said something and heard it back. */
export async function talk(port: number, word: string, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  await say(socket, word);
  return socket;
}

async function say(socket: Socket, word: string): Promise<void> {
  let heard = '';
  socket.write(word);
  while (heard.length < word.length) heard += String(((await once(socket, 'data')) as [Buffer])[0]);
  t.equal(heard, word);
}

export async function udpTalk(port: number, word: string): Promise<Datagrams> {
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const heard = once(socket, 'message');
  socket.send(word);
  t.equal(String(((await heard) as [Buffer])[0]), word);
  return socket;
}
