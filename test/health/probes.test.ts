import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { type ProbeAddress, probeHttp, probeTcp } from '../../src/health/probes.ts';
import type { IpAddress } from '../../src/model/address.ts';
import { refusingPort } from '../support/ports.ts';

const never = new AbortController().signal;

async function listening(t: Test, server: Server | HttpServer, host = '127.0.0.1'): Promise<ProbeAddress> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.teardown(() => server.close());
  return { address: host as IpAddress, port: (server.address() as AddressInfo).port, netns: 0 };
}

/** An address on which nobody listens. */
function refused(): ProbeAddress {
  return { address: '127.0.0.1' as IpAddress, port: refusingPort(), netns: 0 };
}

t.test('tcp', async (t) => {
  let bytes = 0;
  const server = createServer((socket) => socket.on('data', (data) => (bytes += data.length)));
  const closed = new Promise((resolve) => server.once('connection', (socket) => socket.on('close', resolve)));
  const to = await listening(t, server);
  t.same(await probeTcp(to, never), { ok: true });
  await closed;
  t.equal(bytes, 0, 'nothing is sent, and the connection is closed');
  const nobody = refused();
  t.same(await probeTcp(nobody, never), { ok: false, reason: `connection refused by 127.0.0.1:${nobody.port}` });
  t.match(await probeTcp(to, AbortSignal.abort()), { ok: false, reason: /no answer/ });
});

t.test('http to a server that wants to be told who comes', async (t) => {
  const heard: string[] = [];
  const server = createServer((socket) =>
    socket.on('data', (data) => {
      heard.push(data.toString());
      if (heard.join('').endsWith('\r\n\r\n')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    }),
  );
  const to = await listening(t, server);
  t.same(await probeHttp({ ...to, preface: Buffer.from('PROXY UNKNOWN\r\n') }, { path: '/up' }, never), { ok: true });
  t.match(heard.join(''), /^PROXY UNKNOWN\r\nGET \/up HTTP\/1\.1\r\n/);
});

t.test('tcp over IPv6', async (t) => {
  const to = await listening(t, createServer(), '::1');
  t.same(await probeTcp(to, never), { ok: true });
});

t.test('http', async (t) => {
  const asked: string[] = [];
  const server = createHttpServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.host}`);
    const status = Number(request.url?.slice(1));
    response.writeHead(status, { location: '/500' });
    response.end('a body that nobody reads');
  });
  const to = await listening(t, server);
  const rows: readonly (readonly [status: number, expect: number | undefined, ok: boolean])[] = [
    [200, undefined, true],
    [204, undefined, true],
    [302, undefined, true],
    [399, undefined, true],
    [400, undefined, false],
    [404, undefined, false],
    [503, undefined, false],
    [503, 503, true],
    [200, 204, false],
  ];
  for (const [status, expect, ok] of rows) {
    const expectation = expect === undefined ? {} : { expectStatus: expect };
    const result = await probeHttp(to, { path: `/${status}`, ...expectation }, never);
    t.equal(result.ok, ok, `${status}, wanted ${expect}`);
    if (!result.ok)
      t.equal(
        result.reason,
        `127.0.0.1:${to.port} answers /${status} with status ${status}, wanted ${expect ?? '200-399'}`,
      );
  }
  t.equal(asked[0], `GET /200 127.0.0.1:${to.port}`);
  t.equal(asked.length, rows.length, 'redirects are not followed');
});

t.test('http against what is not', async (t) => {
  t.match(await probeHttp(refused(), { path: '/' }, never), { ok: false, reason: /^connection refused/ });
  const garbage = await listening(
    t,
    createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')),
  );
  t.equal((await probeHttp(garbage, { path: '/' }, never)).ok, false);
  const closes = await listening(
    t,
    createServer((socket) => socket.destroy()),
  );
  t.equal((await probeHttp(closes, { path: '/' }, never)).ok, false);
});

t.test('a silent server: until the signal', async (t) => {
  const connected: (() => void)[] = [];
  const gone: (() => void)[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {}).on('close', () => gone.shift()?.());
    socket.resume();
    connected.shift()?.();
  });
  const to = await listening(t, server);
  const stop = new AbortController();
  const isConnected = new Promise<void>((resolve) => connected.push(resolve));
  const isGone = new Promise<void>((resolve) => gone.push(resolve));
  const result = probeHttp(to, { path: '/' }, stop.signal);
  await isConnected;
  stop.abort();
  t.match(await result, { ok: false, reason: /^no answer from 127/ });
  await isGone;
});
