// The resolver from outside, by UDP and TCP.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { decode } from 'dns-packet';
import t from 'tap';
import type { DnsCommand } from '../../src/dns/command.ts';
import { addressesIn, corpus, frame, question, summary } from '../support/dns-messages.ts';
import { askTcp, askUdp, SCOPE, startDnsWorker } from '../support/dns-worker.ts';

const many = Array.from({ length: 3000 }, (_, i) => `10.64.${16 + (i >> 8)}.${i & 255}`);
const zone: DnsCommand[] = [
  { kind: 'zone-add', network: 0, name: 'shop_backend', shortName: 'backend', subnets: ['10.64.0.0/24'] },
  { kind: 'zone-add', network: 1, name: 'frontend', subnets: ['10.64.1.0/24'] },
  {
    kind: 'zone-update',
    update: {
      network: 0,
      names: [
        { name: 'web', addresses: ['10.64.0.2'], exists: true },
        { name: 'tasks.web', addresses: ['10.64.0.10', '10.64.0.11', '10.64.0.12'], exists: true },
        { name: 'many', addresses: many, exists: true },
      ],
      pointers: [{ address: '10.64.0.2', name: 'web' }],
    },
  },
  {
    kind: 'zone-update',
    update: { network: 1, names: [{ name: 'only', addresses: ['10.64.1.2'], exists: true }], pointers: [] },
  },
];

t.test('D1 D2 D4 D26: the same answers by UDP and TCP', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const cases: [message: Buffer, expected: string][] = [
    [question('NaMe1', 'A'), 'NXDOMAIN aa | SOA .'],
    [question('wEb', 'A'), 'NOERROR aa | wEb A 10.64.0.2'],
    [question('web.backend', 'A', { edns: {} }), 'NOERROR aa | web.backend A 10.64.0.2 | OPT 1232'],
    [question('web', 'AAAA'), 'NOERROR aa | SOA .'],
    [question('nope.backend', 'A'), 'NXDOMAIN aa | SOA backend'],
    [question('only', 'A'), 'NXDOMAIN aa | SOA .'],
    [question('web', 'A', { edns: { version: 1 } }), 'NOERROR | OPT 1232 | extended 1'],
    [question('2.0.64.10.in-addr.arpa', 'PTR'), 'NOERROR aa | 2.0.64.10.in-addr.arpa PTR web.shop_backend'],
    [question('www.example.com', 'A'), 'SERVFAIL'],
  ];
  for (const [message, expected] of cases) t.equal(summary(await askUdp(worker, message)), expected);
  const overTcp = await askTcp(
    worker,
    cases.map(([message]) => message),
  );
  t.strictSame(
    overTcp.map((answer) => summary(answer)),
    cases.map(([, expected]) => expected),
    'pipelined on one connection that the client half-closed',
  );
  const answer = decode(await askUdp(worker, question('web', 'A')));
  t.ok(answer.flag_ra && answer.flag_aa && answer.flag_rd);
  t.ok(answer.answers?.every((record) => 'ttl' in record && (record.ttl ?? 99) <= 5));
  t.equal(worker.count('dnsAnswersLocal'), 2 * 7 + 1);
  t.equal(worker.count('dnsNoData'), 2);
  t.equal(worker.count('dnsQueriesTcp'), cases.length);
  t.equal(worker.count('dnsUpstreamFailures'), 2);
});

t.test('D5: over 1,000 queries each endpoint comes first 1/n of the time, within 15 %', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const firsts = new Map<string, number>();
  for (let i = 0; i < 1000; i++) {
    const addresses = addressesIn(await askUdp(worker, question('tasks.web', 'A')));
    t.equal(new Set(addresses).size, 3);
    firsts.set(addresses[0] ?? '', (firsts.get(addresses[0] ?? '') ?? 0) + 1);
  }
  for (const [address, count] of firsts) t.ok(Math.abs(count - 1000 / 3) <= 50, `${address} ${count} times`);
  t.equal(firsts.size, 3);
});

t.test('D15: a large answer is truncated by UDP and complete by TCP', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  for (const [size, limit] of [
    [undefined, 512],
    [700, 700],
    [65_000, 1232],
  ] as const) {
    const message = question('many', 'A', size === undefined ? {} : { edns: { size } });
    const answer = await askUdp(worker, message);
    t.ok(answer.length <= limit, `${answer.length} bytes`);
    t.ok(decode(answer).flag_tc);
  }
  const [whole] = await askTcp(worker, [question('many', 'A')]);
  t.strictSame(addressesIn(whole ?? Buffer.alloc(12)).sort(), [...many].sort());
});

t.test('D25: what is no question gets its due, and answers nothing', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const messages = corpus('queries.txt');
  const expected: Readonly<Record<string, string>> = {
    'no question': 'FORMERR',
    'two questions': 'FORMERR',
    'name cut in a label': 'FORMERR',
    'bytes behind the question': 'FORMERR',
    'TXT version.bind, class CH': 'REFUSED',
    'class ANY': 'REFUSED',
    NOTIFY: 'NOTIMP',
    UPDATE: 'NOTIMP',
  };
  for (const [title, rcode] of Object.entries(expected)) {
    const answer = await askUdp(worker, messages.get(title) ?? Buffer.alloc(0));
    t.equal(summary(answer), rcode, title);
    t.equal(answer.readUInt16BE(0), 0x1234, 'with the id');
  }
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  const answers: Buffer[] = [];
  socket.on('message', (answer) => answers.push(answer));
  for (const title of ['a response', '11 bytes', 'nothing but an id']) {
    socket.send(messages.get(title) ?? Buffer.alloc(0), worker.port, worker.address);
  }
  socket.send(question('web', 'A', { id: 99 }), worker.port, worker.address);
  await once(socket, 'message');
  t.strictSame(
    answers.map((answer) => answer.readUInt16BE(0)),
    [99],
    'only the question was answered',
  );
  t.equal(worker.count('dnsDropped'), 3);
});

t.test('O1, O5: who asks decides; scopes and zones change under open sockets', async (t) => {
  const worker = await startDnsWorker({ networks: [1], forward: false });
  await worker.tell(...zone);
  const ask = async (name: string) => summary(await askUdp(worker, question(name, 'A')));
  t.equal(await ask('web'), 'NXDOMAIN aa | SOA .');
  t.equal(await ask('only'), 'NOERROR aa | only A 10.64.1.2');
  t.equal(await ask('www.example.com'), 'REFUSED');
  await worker.tell({ kind: 'scope-set', scope: { id: SCOPE, networks: [0, 1], forward: true } });
  t.equal(await ask('web'), 'NOERROR aa | web A 10.64.0.2');
  t.equal(await ask('www.example.com'), 'SERVFAIL', 'there is no upstream');
  await worker.tell({ kind: 'zone-remove', network: 0 });
  t.equal(await ask('web'), 'NXDOMAIN aa | SOA .');
  await worker.tell({ kind: 'scope-remove', id: SCOPE });
  t.equal(await ask('only'), 'NXDOMAIN aa | SOA .', 'nothing exists for a client that is unknown');
  t.equal(await ask('www.example.com'), 'REFUSED');
});

t.test('questions of several clients that come at once: each gets its own answers, whatever their sizes', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const asked = ['web', 'tasks.web', 'web.backend', 'web.shop_backend', 'nope', 'web.1', 'many'];
  const clients = Array.from({ length: 5 }, () => createSocket('udp4').unref());
  const heard = clients.map((client) => {
    const answers = new Map<number, string>();
    return new Promise<Map<number, string>>((resolve) => {
      client.on('message', (answer) => {
        answers.set(answer.readUInt16BE(0), decode(answer).questions?.[0]?.name ?? '');
        if (answers.size === 200) resolve(answers);
      });
    });
  });
  for (let id = 0; id < 200; id++) {
    for (const [c, client] of clients.entries()) {
      client.send(question(asked[(id * (c + 1)) % asked.length] ?? '', 'A', { id }), worker.port, worker.address);
    }
    // Ten at a time of each client make full batches and lose nothing.
    while (id % 10 === 9 && worker.count('dnsQueriesUdp') < 5 * (id - 20)) await new Promise(setImmediate);
  }
  for (const [c, answers] of (await Promise.all(heard)).entries()) {
    const wrong = [...answers].filter(([id, name]) => name !== asked[(id * (c + 1)) % asked.length]);
    t.strictSame(wrong, [], `client ${c}`);
  }
  for (const client of clients) client.close();
});

t.test('S1: strangers are refused with no more bytes than they sent', async (t) => {
  // A socket on all addresses hears what is sent from an address of the machine that is no loopback one.
  const worker = await startDnsWorker({ address: '0.0.0.0' });
  await worker.tell(...zone, { kind: 'zone-add', network: 7, name: 'near', subnets: ['127.0.0.0/8'] });
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outside = own.find((entry) => entry.family === 'IPv4' && !entry.internal)?.address;
  t.equal(
    summary(await askUdp({ address: '127.0.0.1', port: worker.port }, question('web', 'A'))).slice(0, 7),
    'NOERROR',
  );
  if (outside === undefined) return t.pass('the machine has no other address');
  const message = question('web', 'A', { edns: {} });
  const answer = await askUdp({ address: outside, port: worker.port }, message);
  t.equal(summary(answer), 'REFUSED | OPT 1232');
  t.ok(answer.length <= message.length);
  const overTcp = await askTcp({ address: outside, port: worker.port }, [message]).catch(() => []);
  t.strictSame(overTcp, [], 'by TCP it is hung up on');
  const subnet = outside.replace(/\d+$/, '0/24');
  await worker.tell({ kind: 'zone-add', network: 0, name: 'here', subnets: [subnet] });
  const inside = await askUdp({ address: outside, port: worker.port }, question('web', 'A'));
  t.equal(summary(inside), 'NXDOMAIN aa | SOA .', 'who is on a network of the scope is no stranger');
});

t.test('TCP: bytes one by one, many questions, a reader that waits, an end in the middle', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const slow = connect(worker.port, worker.address);
  slow.setNoDelay(true);
  const first = once(slow, 'data') as Promise<[Buffer]>;
  for (const byte of frame(question('web', 'A'))) await new Promise((sent) => slow.write(Buffer.of(byte), sent));
  t.equal(summary((await first)[0].subarray(2)), 'NOERROR aa | web A 10.64.0.2');
  slow.end(frame(question('web', 'A')).subarray(0, 9));
  await once(slow, 'close');
  const questions = Array.from({ length: 300 }, (_, id) => question('many', 'A', { id }));
  const answers = await askTcp(worker, questions);
  t.strictSame(
    answers.map((answer) => answer.readUInt16BE(0)),
    questions.map((_, id) => id),
    '14 MB of answers to questions that came at once',
  );
});

t.test('D19: TCP connections are capped, and go with their listener', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const sockets = Array.from({ length: 140 }, () => connect(worker.port, worker.address));
  const closed = await new Promise<number>((resolve) => {
    let count = 0;
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (++count === 12) resolve(count);
      });
    }
  });
  t.equal(closed, 12);
  t.equal(worker.count('dnsTcpConnectionsActive'), 128);
  t.equal(summary(await askUdp(worker, question('web', 'A'))), 'NOERROR aa | web A 10.64.0.2', 'UDP is not concerned');
  const all = Promise.all(sockets.map((socket) => socket.closed || once(socket, 'close')));
  await worker.tell({ kind: 'dns-socket-remove', fd: worker.tcpFd });
  await all;
  t.equal(worker.count('dnsTcpConnectionsActive'), 0);
});
