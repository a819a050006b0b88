import { createServer } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { EAGAIN, ECONNREFUSED, errno, errnoName } from '../../src/native/errno.ts';
import { accept4, close, connect, type Fd, socket } from '../../src/native/libc.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';
import {
  connectTcp,
  formatAddress,
  listenTcp,
  localAddress,
  pauseListener,
  remoteAddress,
  resumeListener,
} from '../../src/native/stream-socket.ts';
import { unusedPort } from '../support/ports.ts';

/** A blocking connect; 0 or errno. */
function tryConnect(address: string, port: number): number {
  const fd = socket(address.includes(':') ? 10 : 2, 1, 0);
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  const result = connect(fd, sockaddr, writeSockaddr(sockaddr, 0, address, port));
  const error = result < 0 ? errno() : 0;
  close(fd);
  return error;
}

t.test('a listener accepts; both ends know their addresses', async (t) => {
  const listener = listenTcp('127.0.0.1', 0);
  const { port } = localAddress(listener);
  const client = connectTcp('127.0.0.1', port);
  const server = accept4(listener, null, null, 0);
  t.same(remoteAddress(client), { address: '127.0.0.1', port });
  t.same(remoteAddress(server), localAddress(client));
  const nobody = accept4(listener, null, null, 0);
  t.equal(nobody < 0 ? errno() : 0, EAGAIN, 'the listener does not block');
  for (const fd of [listener, client, server]) close(fd);
});

t.test('[::] takes both families unless told otherwise', async (t) => {
  for (const [ipv6Only, v4] of [
    [false, 0],
    [true, ECONNREFUSED],
  ] as const) {
    const listener = listenTcp('::', 0, { ipv6Only });
    const { port } = localAddress(listener);
    t.equal(tryConnect('127.0.0.1', port), v4);
    t.equal(tryConnect('::1', port), 0);
    close(listener);
  }
});

for (const reusePort of [false, true]) {
  t.test(`a paused port is refused, stays ours and comes back (reusePort ${reusePort})`, async (t) => {
    const port = unusedPort();
    const listener = listenTcp('127.0.0.1', port, { reusePort });
    t.equal(tryConnect('127.0.0.1', port), 0);
    pauseListener(listener);
    t.equal(tryConnect('127.0.0.1', port), ECONNREFUSED);
    const stranger = createServer().listen(port, '127.0.0.1');
    await t.rejects(once(stranger, 'listening'), { code: 'EADDRINUSE' });
    resumeListener(listener);
    t.equal(tryConnect('127.0.0.1', port), 0);
    close(listener);
  });
}

t.test('a listener can be made paused', async (t) => {
  const port = unusedPort();
  const listener = listenTcp('127.0.0.1', port, { paused: true });
  t.equal(tryConnect('127.0.0.1', port), ECONNREFUSED);
  resumeListener(listener);
  t.equal(tryConnect('127.0.0.1', port), 0);
  close(listener);
});

t.test('a port in use is an error that names the port and says what to do; nothing leaks', async (t) => {
  const listener = listenTcp('127.0.0.1', 0);
  const { port } = localAddress(listener);
  const before = socket(2, 1, 0);
  close(before);
  t.throws(() => listenTcp('127.0.0.1', port), {
    name: 'NativeError',
    code: 'EADDRINUSE',
    syscall: 'bind',
    message: /127\.0\.0\.1:\d+\/tcp.*ss -lntup/,
  });
  const after: Fd = socket(2, 1, 0);
  t.equal(after, before, 'the same descriptor number is free');
  for (const fd of [after, listener]) close(fd);
});

t.test('names of addresses and errors', async (t) => {
  t.equal(formatAddress('fd00::1', 80), '[fd00::1]:80');
  t.equal(formatAddress('10.0.0.1', 80), '10.0.0.1:80');
  t.equal(errnoName(111), 'ECONNREFUSED');
  t.equal(errnoName(999), 'E999');
});
