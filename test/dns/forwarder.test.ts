// Names that are not ours, from outside: clients on one side, upstreams made here on the other.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { decode } from 'dns-packet';
import t from 'tap';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import { close } from '../../src/native/libc.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { addressesIn, question, summary } from '../support/dns-messages.ts';
import { askTcp, askUdp, SCOPE, startDnsWorker } from '../support/dns-worker.ts';
import { addressReply, reply, SOA, startMockUpstream } from '../support/mock-upstream.ts';
import { unusedPort } from '../support/ports.ts';

const ONE = '192.0.2.1';
const TWO = '192.0.2.2';
const SERVFAIL = 2;
const NXDOMAIN = 3;
const REFUSED = 5;

t.test('an answer comes back with the id, the flags and the spelling of the client', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, ONE)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const answer = await askUdp(worker, question('wWw.Example.com', 'A', { id: 77, edns: { dnssecOk: true } }));
  t.equal(answer.readUInt16BE(0), 77);
  t.equal(summary(answer), `NOERROR | www.example.com A ${ONE} | OPT 1232 do`);
  t.equal(decode(answer).questions?.[0]?.name, 'wWw.Example.com');
  const { flag_ra, flag_aa, flag_rd } = decode(answer);
  t.strictSame({ flag_ra, flag_aa, flag_rd }, { flag_ra: true, flag_aa: false, flag_rd: true });
  t.equal(upstream.asked[0]?.name, 'www.example.com');
  t.equal(worker.count('dnsAnswersForwarded'), 1);
});

t.test('it is kept for its TTL, which runs down, and for every spelling', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, ONE, 60)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  await askUdp(worker, question('a.example.com', 'A'));
  const again = await askUdp(worker, question('A.example.com', 'A', { id: 5 }));
  t.equal(summary(again), `NOERROR | a.example.com A ${ONE}`);
  t.equal(decode(again).questions?.[0]?.name, 'A.example.com');
  t.equal(again.readUInt16BE(0), 5);
  const [overTcp] = await askTcp(worker, [question('a.EXAMPLE.com', 'A')]);
  t.strictSame(addressesIn(overTcp ?? Buffer.alloc(12)), [ONE]);
  await askUdp(worker, question('a.example.com', 'AAAA'));
  t.equal(upstream.asked.length, 2, 'another type is another question');
  t.equal(worker.count('dnsAnswersCached'), 2);
  const one = { address: upstream.address, port: upstream.port };
  await worker.tell({ kind: 'upstreams', upstreams: [one] });
  await askUdp(worker, question('a.example.com', 'A'));
  t.equal(upstream.asked.length, 2, 'the same upstreams change nothing');
  await worker.tell({ kind: 'upstreams', upstreams: [one, one] });
  await askUdp(worker, question('a.example.com', 'A'));
  t.equal(upstream.asked.length, 3, 'other upstreams, other answers');
});

t.test('D11: NXDOMAIN is passed on with its SOA, kept, and not tried elsewhere', async (t) => {
  const first = await startMockUpstream((asked) => [reply(asked, { rcode: NXDOMAIN, authorities: [SOA] })]);
  const second = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  const worker = await startDnsWorker({ upstreams: [first, second] });
  for (let i = 0; i < 2; i++) {
    t.equal(summary(await askUdp(worker, question('no.example.com', 'A'))), 'NXDOMAIN | SOA example.com');
  }
  t.equal(first.asked.length, 1);
  t.equal(second.asked.length, 0);
});

t.test('D12: SERVFAIL, REFUSED, silence, a port where nothing listens: the next upstream answers', async (t) => {
  const good = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  for (const [what, first] of [
    ['SERVFAIL', await startMockUpstream((asked) => [reply(asked, { rcode: SERVFAIL })])],
    ['REFUSED', await startMockUpstream((asked) => [reply(asked, { rcode: REFUSED })])],
    ['silence', await startMockUpstream()],
    ['nothing there', { address: '127.0.0.1', port: unusedPort() }],
  ] as const) {
    const worker = await startDnsWorker({ upstreams: [first, good] });
    t.strictSame(addressesIn(await askUdp(worker, question('www.example.com', 'A'))), [TWO], what);
  }
});

t.test('D12: a silent upstream is asked last from then on', async (t) => {
  const silent = await startMockUpstream();
  const good = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  const worker = await startDnsWorker({ upstreams: [silent, good] });
  for (const name of ['a', 'b', 'c']) await askUdp(worker, question(`${name}.example.com`, 'A'));
  t.equal(silent.asked.length, 1);
  t.equal(good.asked.length, 3);
});

t.test('D12: when all fail the client hears SERVFAIL', async (t) => {
  const silent = await startMockUpstream();
  const failing = await startMockUpstream((asked) => [reply(asked, { rcode: SERVFAIL })]);
  const worker = await startDnsWorker({ upstreams: [silent, failing] });
  t.equal(summary(await askUdp(worker, question('www.example.com', 'A', { edns: {} }))), 'SERVFAIL | OPT 1232');
  t.ok(silent.asked.length >= 2, 'the silent one was asked again');
  t.equal(failing.asked.length, 1, 'the other was not');
});

t.test('D15: a truncated answer is fetched by TCP, whole', async (t) => {
  const addresses = Array.from({ length: 100 }, (_, i) => `192.0.2.${i}`);
  const upstream = await startMockUpstream((asked) => [
    asked.overTcp
      ? reply(asked, { answers: addresses.map((data) => ({ type: 'A', name: asked.name, ttl: 60, data })) })
      : reply(asked, { flags: 0x0280 }),
  ]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const [whole] = await askTcp(worker, [question('many.example.com', 'A')]);
  t.strictSame(addressesIn(whole ?? Buffer.alloc(12)), addresses);
  const short = await askUdp(worker, question('many.example.com', 'A'));
  t.ok(decode(short).flag_tc && short.length <= 512);
  t.strictSame(
    upstream.asked.map(({ overTcp }) => overTcp),
    [false, true],
    'the second client was answered with what is kept',
  );
});

t.test('S2: replies that do not match are dropped; ids and ports are random', async (t) => {
  const upstream = await startMockUpstream((asked) => {
    const wrongId = addressReply(asked, TWO);
    wrongId.writeUInt16BE(wrongId.readUInt16BE(0) ^ 1, 0);
    const otherName = { ...asked, message: question('evil.example.com', 'A', { id: asked.message.readUInt16BE(0) }) };
    return [wrongId, reply(otherName), Buffer.from('junk'), asked.message, addressReply(asked, ONE)];
  });
  const worker = await startDnsWorker({ upstreams: [upstream] });
  for (let i = 0; i < 30; i++) {
    const answer = await askUdp(worker, question(`n${i}.example.com`, 'A', { id: i }));
    t.strictSame(addressesIn(answer), [ONE]);
  }
  const ids = upstream.asked.map(({ message }) => message.readUInt16BE(0));
  const ports = upstream.asked.map(({ from }) => from?.port ?? 0);
  const steps = (values: readonly number[]) =>
    new Set(values.slice(1).map((value, i) => value - (values[i] ?? 0))).size;
  t.ok(new Set(ids).size >= 29 && steps(ids) >= 28, 'ids');
  t.ok(new Set(ports).size >= 28 && steps(ports) >= 28, 'ports');
});

t.test('S2: a reply from another address is not heard', async (t) => {
  const spoofer = createSocket('udp4').bind(0, '127.0.0.1');
  await once(spoofer, 'listening');
  t.teardown(() => spoofer.close());
  const upstream = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const answer = askUdp(worker, question('www.example.com', 'A'));
  await upstream.heard(1);
  const [asked] = upstream.asked;
  if (asked?.from === undefined) return t.fail('not asked');
  await new Promise((sent) => spoofer.send(addressReply(asked, TWO), asked.from?.port, '127.0.0.1', sent));
  upstream.behave((again) => [addressReply(again, ONE)]);
  t.strictSame(addressesIn(await answer), [ONE], 'the answer to the repeated question');
});

t.test('the same question in flight is asked once', async (t) => {
  const upstream = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const clients = Array.from({ length: 20 }, (_, id) =>
    askUdp(worker, question(`${id % 2 ? 'w' : 'W'}.example.com`, 'A', { id })),
  );
  await upstream.heard(1);
  while (worker.count('dnsQueriesUdp') < 20) await new Promise(setImmediate);
  upstream.behave((asked) => [addressReply(asked, ONE)]);
  const answers = await Promise.all(clients);
  t.strictSame(
    answers.map((answer) => answer.readUInt16BE(0)),
    Array.from({ length: 20 }, (_, id) => id),
  );
  t.ok(answers.every((answer) => addressesIn(answer)[0] === ONE));
  t.equal(new Set(upstream.asked.map(({ message }) => message.readUInt16BE(0))).size, 1, 'one question, repeated');
});

t.test('EDNS goes on when the client used it; who does not know it is asked without', async (t) => {
  const upstream = await startMockUpstream((asked) => {
    const hasEdns = (decode(asked.message).additionals ?? []).length > 0;
    return [hasEdns ? reply(asked, { rcode: 1 }) : addressReply(asked, ONE)];
  });
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const answer = await askUdp(worker, question('www.example.com', 'A', { edns: { size: 4096 } }));
  t.equal(summary(answer), `NOERROR | www.example.com A ${ONE} | OPT 1232`);
  t.equal(upstream.asked.length, 2);
});

t.test('D23: over the cap the answer is SERVFAIL at once, and local names do not notice', async (t) => {
  const silent = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [silent] });
  await worker.tell(
    { kind: 'zone-add', network: 0, name: 'backend', subnets: [] },
    {
      kind: 'zone-update',
      update: { network: 0, names: [{ name: 'web', addresses: ['10.64.0.2'], exists: true }], pointers: [] },
    },
  );
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  const first = once(client, 'message') as Promise<[Buffer]>;
  for (let i = 0; i < 1100; i++) {
    const message = question(`n${i}.example.com`, 'A', { id: i });
    await new Promise((sent) => client.send(message, worker.port, worker.address, sent));
    // No faster than it is read: a full socket buffer would lose some.
    while (worker.count('dnsQueriesUdp') < i - 50) await new Promise(setImmediate);
  }
  const [refused] = await first;
  t.equal(summary(refused), 'SERVFAIL');
  t.equal(refused.readUInt16BE(0), 1000, 'the first above the cap');
  t.equal(summary(await askUdp(worker, question('web', 'A'))), 'NOERROR aa | web A 10.64.0.2');
  t.equal(worker.count('dnsUpstreamFailures'), 100);
  t.equal(worker.count('dnsOverShare'), 100);
  t.equal(worker.count('dnsOverCap'), 0);
});

t.test('D23: one client that asks too much does not use up what the others need', async (t) => {
  const upstream = await startMockUpstream((asked) =>
    asked.name.startsWith('slow') ? [] : [addressReply(asked, ONE)],
  );
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const [greedy, other] = [createSocket('udp4'), bindUdp('127.0.0.1', 0)];
  t.teardown(() => greedy.close());
  await worker.tell({ kind: 'dns-socket-add', fd: other, protocol: 'udp', scope: SCOPE, client: 99 });
  for (let i = 0; worker.count('dnsOverShare') === 0; i++) {
    const message = question(`slow${i}.example.com`, 'A', { id: i & 0xffff });
    await new Promise((sent) => greedy.send(message, worker.port, worker.address, sent));
    while (worker.count('dnsQueriesUdp') < i - 50) await new Promise(setImmediate);
  }
  t.equal(summary(await askUdp(worker, question('quick.example.com', 'A'))), 'SERVFAIL', 'the one itself');
  const { port } = localAddress(other);
  const answer = await askUdp({ address: '127.0.0.1', port }, question('quick.example.com', 'A'));
  t.equal(summary(answer), `NOERROR | quick.example.com A ${ONE}`, 'another');
  await worker.tell({ kind: 'dns-socket-remove', fd: other });
  close(other);
});
