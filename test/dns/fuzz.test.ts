// B1: mutated messages, from clients and from upstreams. Seeds are in test/corpus/dns; the draw is the same in each run.
import { createSocket } from 'node:dgram';
import { decode } from 'dns-packet';
import t from 'tap';
import { Forwarder } from '../../src/dns/forwarder.ts';
import { Query } from '../../src/dns/query.ts';
import { QueryJournal } from '../../src/dns/query-journal.ts';
import { NO_REPLY, Responder } from '../../src/dns/responder.ts';
import { readResponse, writeResponse } from '../../src/dns/response.ts';
import { encodePorts } from '../../src/dns/service-ports.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { corpus, mutate, question, summary } from '../support/dns-messages.ts';
import { askUdp, startDnsWorker } from '../support/dns-worker.ts';

const CLIENT_MESSAGES = 100_000;
const UPSTREAM_MESSAGES = 30_000;
const WIRE_MESSAGES = 5000;
const ASKER = { client: 1, overTcp: false };
const portsOf = (targets: number) =>
  encodePorts([
    {
      protocol: 'tcp',
      labels: ['80', 'http'],
      targets: Array.from({ length: targets }, (_, i) => ({ name: i % 2 === 0 ? 'web' : `web.${i}`, port: 80 + i })),
    },
  ]);
const zone = [
  { kind: 'zone-add', network: 0, name: 'backend', subnets: ['10.64.0.0/24', 'fd00::/64'] },
  {
    kind: 'zone-update',
    update: {
      network: 0,
      names: [
        { name: 'web', addresses: ['10.64.0.2', '10.64.0.3', 'fd00::2'], exists: true, ports: portsOf(1) },
        {
          name: 'tasks.web',
          addresses: Array.from({ length: 100 }, (_, i) => `10.64.0.${i}`),
          exists: true,
          ports: portsOf(100),
        },
      ],
      pointers: [{ address: '10.64.0.2', name: 'web' }],
    },
  },
] as const;

t.test('clients', (t) => {
  const loop = new EventLoop();
  t.teardown(() => loop.destroy());
  const totals = new Float64Array(TOTAL.count);
  const random = seededRandom(20_260_101);
  const responder = new Responder(new Forwarder(loop, random, totals), totals, new QueryJournal(random));
  for (const command of zone) responder.handle(command);
  const seeds = [
    ...corpus('queries.txt').values(),
    question('_http._tcp.web', 'SRV', { edns: {} }),
    question('_80._tcp.tasks.web.backend', 'SRV', { edns: { size: 4096 } }),
    question('_http._tcp.tasks.web', 'SRV'),
    question('backend', 'SOA'),
    question('0.64.10.in-addr.arpa', 'NS'),
  ];
  const scope = { id: 1, networks: [0], forward: true };
  const arena = Buffer.alloc(4096);
  let answers = 0;
  const judge = (message: Buffer, answer: Buffer) => {
    answers++;
    const refused = (answer.readUInt16BE(2) & 0xf) === 5;
    const fine =
      answer.readUInt16BE(0) === message.readUInt16BE(0) &&
      (answer.readUInt16BE(2) & 0x8000) !== 0 &&
      answer.length <= 1232 &&
      // S1: a refusal is no longer than what it refuses.
      (!refused || answer.length <= message.length);
    if (!fine)
      t.fail('an answer to be ashamed of', { message: message.toString('hex'), answer: answer.toString('hex') });
    // The codec checks what is behind the header; it takes names with bytes that are no text, but mangles them.
    decode(answer);
  };
  for (let i = 0; i < CLIENT_MESSAGES; i++) {
    const message = mutate(seeds[i % seeds.length] as Buffer, () => random.unit()).subarray(0, arena.length);
    arena.fill(i & 0xff, 0, 600);
    arena.set(message);
    const length = responder.respond(arena, 0, message.length, scope, ASKER, 0);
    if (length > NO_REPLY) judge(message, responder.out.subarray(0, length));
    else if (length < NO_REPLY) {
      responder.forward(scope, ASKER, (bytes, size) => judge(message, Buffer.from(bytes.subarray(0, size))));
    }
  }
  t.equal(totals[TOTAL.dnsQueriesUdp], CLIENT_MESSAGES);
  t.equal(answers + (totals[TOTAL.dnsDropped] ?? 0), CLIENT_MESSAGES, 'each was answered or dropped');
  for (const counter of ['dnsAnswersLocal', 'dnsUpstreamFailures', 'dnsAnswersRefused', 'dnsDropped'] as const) {
    t.ok((totals[TOTAL[counter]] ?? 0) > 100, `${counter}: ${totals[TOTAL[counter]]}`);
  }
  t.end();
});

t.test('upstreams', (t) => {
  const random = seededRandom(20_260_102);
  const seeds = [...corpus('responses.txt').values()];
  const asked = question('www.example.com', 'A', { edns: {} });
  const query = new Query();
  query.read(asked, 0, asked.length);
  const out = Buffer.alloc(70_000);
  let good = 0;
  for (let i = 0; i < UPSTREAM_MESSAGES; i++) {
    const response = readResponse(mutate(seeds[i % seeds.length] as Buffer, () => random.unit()));
    if (response === undefined || response.questionEnd !== query.questionEnd) continue;
    good++;
    const length = writeResponse(response, 10, query, out, 0, query.udpLimit);
    if (length > query.udpLimit || readResponse(out.subarray(0, length)) === undefined) t.fail('a broken answer');
  }
  t.ok(good > 1000, `${good} were well-formed`);
  t.end();
});

t.test('over the wire: it is still there afterwards', async (t) => {
  const worker = await startDnsWorker();
  await worker.tell(...zone);
  const random = seededRandom(20_260_103);
  const seeds = [...corpus('queries.txt').values()];
  const socket = createSocket('udp4');
  for (let i = 0; i < WIRE_MESSAGES; i++) {
    const message = mutate(seeds[i % seeds.length] as Buffer, () => random.unit());
    await new Promise((sent) => socket.send(message, worker.port, worker.address, sent));
    // No faster than it is read: a full socket buffer would lose some.
    while (worker.count('dnsQueriesUdp') < i - 50) await new Promise(setImmediate);
  }
  socket.close();
  t.equal(summary(await askUdp(worker, question('2.0.64.10.in-addr.arpa', 'PTR'))).slice(0, 10), 'NOERROR aa');
});
