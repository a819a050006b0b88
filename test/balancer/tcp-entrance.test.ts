// Frontends that do not let everybody in, with real sockets.
import t from 'tap';
import type { Backend } from '../../src/balancer/command.ts';
import { proxyHeader } from '../../src/balancer/proxy-protocol.ts';
import type { Access } from '../../src/model/access.ts';
import { parseSource } from '../../src/model/access.ts';
import type { Subnet } from '../../src/model/address.ts';
import { ECONNRESET, errno } from '../../src/native/errno.ts';
import { type Fd, recv, send } from '../../src/native/libc.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';
import { listenTcp, localAddress } from '../../src/native/stream-socket.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { TcpBench } from '../support/tcp-bench.ts';
import { endpoint } from '../support/tcp-rig.ts';

const LOOPBACK = [parseSource('127.0.0.0/8') as Subnet];
const ELSEWHERE = [parseSource('192.0.2.0/24') as Subnet];
const LINE = 'PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n';

interface Door {
  readonly bench: TcpBench;
  readonly listener: Fd;
  readonly server: { readonly fd: Fd; readonly port: number };
  enter(): Fd;
}

function door(access: Access, more: Partial<Backend> = {}): Door {
  const bench = new TcpBench();
  const server = bench.listener();
  bench.proxy.handle({
    kind: 'backend-set',
    backend: { id: 0, roundRobinSlot: 0, endpoints: [endpoint(0, server.port)], ...more },
  });
  const listener = listenTcp('127.0.0.1', 0);
  const target = { kind: 'port', backend: 0, targetPort: 80 } as const;
  bench.proxy.handle({ kind: 'frontend-add', frontend: { id: 1, protocol: 'tcp', fd: listener, target, access } });
  return { bench, listener, server, enter: () => bench.dial(localAddress(listener).port) };
}

function write(fd: Fd, text: string): void {
  const bytes = Buffer.from(text, 'latin1');
  send(fd, bytes, bytes.length, 0);
}

/** What has come, once there is something: text, `reset` or `end`. */
function heard({ bench }: Door, fd: Fd): string {
  const bytes = Buffer.alloc(1000);
  let found = '';
  bench.until(() => {
    const length = recv(fd, bytes, bytes.length, 0x40);
    if (length >= 0) found = length === 0 ? 'end' : bytes.toString('latin1', 0, length);
    else if (errno() === ECONNRESET) found = 'reset';
    return found !== '';
  });
  return found;
}

/** The endpoint's side of the next connection. */
function served({ bench, server }: Door): Fd {
  let fd = -1;
  bench.until(() => {
    fd = bench.accept(server.fd);
    return fd >= 0;
  });
  return fd;
}

t.test('allowed and denied', async (t) => {
  const open = door({ allow: LOOPBACK });
  const client = open.enter();
  const side = served(open);
  write(client, 'hello');
  t.equal(heard(open, side), 'hello');
  open.bench.destroy();

  for (const access of [{ deny: LOOPBACK }, { allow: ELSEWHERE }, { allow: LOOPBACK, deny: LOOPBACK }]) {
    const shut = door(access);
    t.equal(heard(shut, shut.enter()), 'reset');
    t.match(shut.bench.counters.frontend(1), { denied: 1, accepted: 0, active: 0 });
    shut.bench.destroy();
  }
});

t.test('a header in any pieces is taken off, and nothing behind it is lost', async (t) => {
  for (const pieces of [[`${LINE}hello`], [LINE, 'hello'], [...`${LINE}hello`], [LINE.slice(0, -1), '\nhello']]) {
    const one = door({ acceptProxy: LOOPBACK });
    const client = one.enter();
    for (const piece of pieces) {
      write(client, piece);
      one.bench.settle();
    }
    const side = served(one);
    let text = '';
    while (text.length < 5) text += heard(one, side);
    t.equal(text, 'hello');
    write(side, 'back');
    t.equal(heard(one, client), 'back');
    const [row] = one.bench.proxy.list({ from: 0, rows: 10 }).rows;
    t.match(row, { client: { address: '192.0.2.7', port: 51234 } }, 'the client that is listed is the one named');
    one.bench.destroy();
  }
});

t.test('T11: the client that was named is sent on, with where it went', async (t) => {
  const one = door({ acceptProxy: LOOPBACK }, { proxyProtocol: 'v1' });
  const client = one.enter();
  const [from, to] = [Buffer.alloc(SOCKADDR_BYTES), Buffer.alloc(SOCKADDR_BYTES)];
  writeSockaddr(from, 0, '2001:db8::7', 5);
  writeSockaddr(to, 0, '2001:db8::1', 6);
  const header = proxyHeader('v2', from, to);
  send(client, header, header.length, 0);
  t.equal(heard(one, served(one)), 'PROXY TCP6 2001:db8::7 2001:db8::1 5 6\r\n');
  const local = one.enter();
  write(local, 'PROXY UNKNOWN\r\n');
  t.match(
    heard(one, served(one)),
    /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 /,
    'where nobody is named it is the connection itself',
  );
  one.bench.destroy();
});

t.test('lists are about the client that was named', async (t) => {
  const one = door({ acceptProxy: LOOPBACK, deny: ELSEWHERE });
  const client = one.enter();
  write(client, LINE);
  t.equal(heard(one, client), 'reset');
  const other = one.enter();
  write(other, LINE.replace('192.0.2.7', '203.0.113.9'));
  write(other, 'x');
  t.equal(heard(one, served(one)), 'x');
  t.match(one.bench.counters.frontend(1), { denied: 1, accepted: 1 });
  t.equal(one.bench.counters.total(TOTAL.proxyHeadersRefused), 0);
  one.bench.destroy();
});

t.test('by source: who is named decides', async (t) => {
  const bench = new TcpBench();
  const servers = [bench.listener(), bench.listener(), bench.listener()];
  const endpoints = servers.map(({ port }, slot) => endpoint(slot, port));
  bench.proxy.handle({ kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints, method: 'source-hash' } });
  const listener = listenTcp('127.0.0.1', 0);
  const target = { kind: 'port', backend: 0, targetPort: 80 } as const;
  const frontend = { id: 1, protocol: 'tcp', fd: listener, target, access: { acceptProxy: LOOPBACK } } as const;
  bench.proxy.handle({ kind: 'frontend-add', frontend });
  const totals = () => servers.map((_, slot) => bench.counters.endpoint(slot).total);
  const met = new Map<string, Set<number>>();
  for (let i = 0; i < 40; i++) {
    const name = `192.0.2.${i % 10}`;
    const before = totals();
    write(bench.dial(localAddress(listener).port), LINE.replace('192.0.2.7', name));
    const found = () => totals().findIndex((total, slot) => total > (before[slot] ?? 0));
    bench.until(() => found() >= 0);
    met.set(name, (met.get(name) ?? new Set()).add(found()));
  }
  t.ok(
    [...met.values()].every((slots) => slots.size === 1),
    'each client has one endpoint',
  );
  t.ok(new Set([...met.values()].flatMap((slots) => [...slots])).size > 1, 'and not all the same');
  bench.destroy();
});

t.test(
  'what is no header is reset and counted; who says nothing is reset in the end, who leaves is not counted',
  async (t) => {
    const one = door({ acceptProxy: LOOPBACK });
    const silent = one.enter();
    one.bench.settle();
    const client = one.enter();
    write(client, 'GET / HTTP/1.1\r\n\r\n');
    t.equal(heard(one, client), 'reset');
    t.equal(one.bench.counters.total(TOTAL.proxyHeadersRefused), 1);
    const gone = one.enter();
    one.bench.settle();
    one.bench.end(gone);
    one.bench.settle();
    t.match(one.bench.counters.frontend(1), { denied: 1, accepted: 0 });
    t.equal(heard(one, silent), 'reset', 'after five seconds');
    t.equal(one.bench.counters.total(TOTAL.proxyHeadersRefused), 2);
    t.same(one.bench.proxySockets(), [], 'nothing is left');
    one.bench.destroy();
  },
);

t.test('from anybody else a connection is what it is', async (t) => {
  const one = door({ acceptProxy: ELSEWHERE });
  const client = one.enter();
  write(client, LINE);
  t.equal(heard(one, served(one)), LINE, 'what looks like a header is the client’s own data');
  one.bench.destroy();
});
