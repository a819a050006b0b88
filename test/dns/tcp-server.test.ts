// DNS over TCP (RFC 7766): answers as they are ready, and clients that only take up room.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import type { DnsCommand } from '../../src/dns/command.ts';
import { addressesIn, frame, question, summary } from '../support/dns-messages.ts';
import { askTcp, askUdp, type DnsWorker, startDnsWorker } from '../support/dns-worker.ts';
import { addressReply, startMockUpstream } from '../support/mock-upstream.ts';

const ZONE: readonly DnsCommand[] = [
  { kind: 'zone-add', network: 0, name: 'backend', subnets: [] },
  {
    kind: 'zone-update',
    update: { network: 0, names: [{ name: 'web', addresses: ['10.64.0.2'], exists: true }], pointers: [] },
  },
];

/** A connection, and the ids of the answers that came on it, in order. */
async function open(worker: DnsWorker): Promise<{ readonly socket: Socket; readonly ids: () => readonly number[] }> {
  const socket = connect(worker.port, worker.address);
  socket.on('error', () => undefined);
  t.teardown(() => socket.destroy());
  let received = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  await once(socket, 'connect');
  const ids = () => {
    const found: number[] = [];
    for (let at = 0; at + 4 <= received.length; at += 2 + received.readUInt16BE(at))
      found.push(received.readUInt16BE(at + 2));
    return found;
  };
  return { socket, ids };
}

t.test('a question that takes longer does not hold up those behind it', async (t) => {
  const upstream = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [upstream] });
  await worker.tell(...ZONE);
  const { socket, ids } = await open(worker);
  const asked = [
    question('www.example.com', 'A', { id: 1 }),
    question('web', 'A', { id: 2 }),
    question('web', 'A', { id: 3 }),
  ];
  socket.write(Buffer.concat(asked.map(frame)));
  await upstream.heard(1);
  while (ids().length < 2) await once(socket, 'data');
  t.strictSame(ids(), [2, 3]);
  upstream.behave((again) => [addressReply(again, '192.0.2.1')]);
  await once(socket, 'data');
  t.strictSame(ids(), [2, 3, 1]);
});

t.test('one connection has only so many questions under way; the rest of them wait, and are answered', async (t) => {
  const upstream = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [upstream], tcp: { asking: 10 } });
  await worker.tell(...ZONE);
  const questions = Array.from({ length: 60 }, (_, id) => question(`n${id}.example.com`, 'A', { id }));
  const answers = askTcp(worker, questions);
  await upstream.heard(10);
  t.equal(summary(await askUdp(worker, question('web', 'A'))), 'NOERROR aa | web A 10.64.0.2');
  t.equal(new Set(upstream.asked.map(({ name }) => name)).size, 10);
  upstream.behave((asked) => [addressReply(asked, '192.0.2.1')]);
  const got = await answers;
  t.strictSame(
    got.map((answer) => answer.readUInt16BE(0)).sort((a, b) => a - b),
    questions.map((_, id) => id),
  );
  t.ok(got.every((answer) => addressesIn(answer)[0] === '192.0.2.1'));
});

t.test('D19: an idle connection is closed, one whose question is under way is not', async (t) => {
  const upstream = await startMockUpstream();
  const worker = await startDnsWorker({ upstreams: [upstream], tcp: { idleMs: 200 } });
  await worker.tell(...ZONE);
  const asking = await open(worker);
  asking.socket.write(frame(question('www.example.com', 'A', { id: 7 })));
  const idle = await open(worker);
  const half = await open(worker);
  half.socket.write(frame(question('web', 'A')).subarray(0, 9));
  await Promise.all([idle, half].map(({ socket }) => once(socket, 'close')));
  t.equal(worker.count('dnsTcpConnectionsActive'), 1);
  upstream.behave((again) => [addressReply(again, '192.0.2.1')]);
  while (asking.ids().length < 1) await once(asking.socket, 'data');
  t.strictSame(asking.ids(), [7]);
  await once(asking.socket, 'close');
  t.equal(worker.count('dnsTcpConnectionsActive'), 0);
});

t.test('D19: 500 clients that never ask keep nobody out, by UDP or TCP', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...ZONE);
  const idle = Array.from({ length: 500 }, () => connect(worker.port, worker.address));
  for (const socket of idle) socket.on('error', () => undefined);
  t.teardown(() => {
    for (const socket of idle) socket.destroy();
  });
  await Promise.all(idle.map((socket) => (socket.connecting ? once(socket, 'connect') : undefined)));
  for (let i = 0; i < 20; i++) {
    t.equal(summary(await askUdp(worker, question('web', 'A'))), 'NOERROR aa | web A 10.64.0.2');
    const [answer] = await askTcp(worker, [question('web', 'A', { id: i })]);
    t.equal(answer?.readUInt16BE(0), i);
  }
  t.ok(worker.count('dnsTcpConnectionsActive') <= 128);
});
