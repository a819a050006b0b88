// B1: a million mutated DNS messages, from clients and from upstreams: nothing ends, nothing grows, everybody else is answered.
// Most are read in this process, where each answer can be judged; the rest go to a running agent over real sockets.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { decode } from 'dns-packet';
import t from 'tap';
import { ANSWER_CACHE_LIMITS } from '../../src/dns/answer-cache.ts';
import { Forwarder } from '../../src/dns/forwarder.ts';
import { Query } from '../../src/dns/query.ts';
import { QueryJournal } from '../../src/dns/query-journal.ts';
import { NO_REPLY, Responder } from '../../src/dns/responder.ts';
import { readResponse, writeResponse } from '../../src/dns/response.ts';
import { judgeReply } from '../../src/dns/upstream-reply.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { type Agent, startAgent } from '../support/agent.ts';
import { corpus, mutate, question } from '../support/dns-messages.ts';
import { bytesInUse, residentBytes } from '../support/memory.ts';
import { startMockUpstream } from '../support/mock-upstream.ts';

const SEED = 20_260_801;
const FROM_CLIENTS = 600_000;
const FROM_UPSTREAMS = 250_000;
const OVER_THE_WIRE = 150_000;
/** Caches, code and buffers have their size after these. */
const WARM_UP = 50_000;
const MOST_GROWTH = 10 * 1024 * 1024;
/** Of the agent; the cache of each fills on the way. */
const WORKERS = 2;
/** The codec reads one answer in so many back: it takes longer than everything else together. */
const JUDGED_BY_CODEC = 16;

const ASKER = { client: 1, overTcp: false };

t.comment(`seed ${SEED}`);

t.test(`${FROM_CLIENTS} from clients`, (t) => {
  const loop = new EventLoop();
  t.teardown(() => loop.destroy());
  const random = seededRandom(SEED);
  const totals = new Float64Array(TOTAL.count);
  const responder = zoneResponder(new Forwarder(loop, random, totals), totals);
  const seeds = [...corpus('queries.txt').values()];
  const scope = { id: 1, networks: [0], forward: true };
  const arena = Buffer.alloc(4096);
  const normal = question('web', 'A');
  let answers = 0;
  const judge = (message: Buffer, answer: Buffer) => {
    const refused = (answer.readUInt16BE(2) & 0xf) === 5;
    const fine =
      answer.readUInt16BE(0) === message.readUInt16BE(0) &&
      (answer.readUInt16BE(2) & 0x8000) !== 0 &&
      answer.length <= 1232 &&
      // S1: a refusal is no longer than what it refuses.
      (!refused || answer.length <= message.length);
    if (!fine)
      t.fail('an answer to be ashamed of', { message: message.toString('hex'), answer: answer.toString('hex') });
    if (answers++ % JUDGED_BY_CODEC === 0) decode(answer);
  };
  const send = (message: Buffer) => {
    arena.set(message);
    const length = responder.respond(arena, 0, message.length, scope, ASKER, 0);
    if (length > NO_REPLY) judge(message, responder.out.subarray(0, length));
    else if (length < NO_REPLY)
      responder.forward(scope, ASKER, (bytes, size) => judge(message, Buffer.from(bytes.subarray(0, size))));
  };
  let before = 0;
  let sent = 0;
  for (; sent < FROM_CLIENTS; sent++) {
    if (sent === WARM_UP) before = bytesInUse();
    if (sent % 1000 === 0) {
      arena.set(normal);
      const length = responder.respond(arena, 0, normal.length, scope, ASKER, 0);
      t.same(decode(responder.out.subarray(0, length)).answers?.length, 2, `a normal question after ${sent}`);
    }
    send(mutate(seeds[sent % seeds.length] as Buffer, () => random.unit()).subarray(0, arena.length));
  }
  const grown = bytesInUse() - before;
  t.ok(grown <= MOST_GROWTH, `${grown} bytes more`);
  t.equal(totals[TOTAL.dnsQueriesUdp], FROM_CLIENTS + FROM_CLIENTS / 1000);
  t.equal(answers + (totals[TOTAL.dnsDropped] ?? 0), FROM_CLIENTS, 'each was answered or dropped');
  t.end();
});

t.test(`${FROM_UPSTREAMS} from upstreams`, (t) => {
  const random = seededRandom(SEED + 1);
  const seeds = [...corpus('responses.txt').values(), ...corpus('replies.txt').values()];
  const asked = question('www.example.com', 'A', { edns: {} });
  const query = new Query();
  query.read(asked, 0, asked.length);
  const out = Buffer.alloc(70_000);
  let good = 0;
  let before = 0;
  for (let i = 0; i < FROM_UPSTREAMS; i++) {
    if (i === WARM_UP) before = bytesInUse();
    const mutated = mutate(seeds[i % seeds.length] as Buffer, () => random.unit());
    const judged = judgeReply(mutated, asked.subarray(0, query.questionEnd), true);
    if (judged.kind !== 'answer') continue;
    const { response } = judged;
    good++;
    const length = writeResponse(response, 10, query, out, 0, query.udpLimit);
    if (length > query.udpLimit || readResponse(out.subarray(0, length)) === undefined)
      t.fail('a broken answer', { answer: out.subarray(0, length).toString('hex') });
  }
  const grown = bytesInUse() - before;
  t.ok(grown <= MOST_GROWTH, `${grown} bytes more`);
  t.ok(good > FROM_UPSTREAMS / 30, `${good} were well-formed`);
  t.end();
});

t.test(`${OVER_THE_WIRE} to an agent whose upstream answers with as many`, async (t) => {
  const random = seededRandom(SEED + 2);
  const responses = [...corpus('responses.txt').values()];
  let replies = 0;
  const upstream = await startMockUpstream(({ message }) => {
    const seed = responses[replies++ % responses.length] as Buffer;
    // With the id of the question, without which it is not even read.
    const mutated = mutate(seed, () => random.unit());
    if (mutated.length >= 2) message.copy(mutated, 0, 0, 2);
    return [mutated];
  });
  const agent = await startAgent({
    stacks: {
      shop: 'networks: { default: { driver: local, ipam: { config: [{ subnet: 127.121.0.0/16 }] } } }\nservices: { web: {} }\n',
    },
    args: ['--upstream', `127.0.0.1:${upstream.port}`, '--workers', String(WORKERS)],
  });
  const clients = await Promise.all(Array.from({ length: 4 }, (_, index) => startClient(agent, index)));
  t.teardown(() => {
    for (const client of clients) client.close();
  });
  const seeds = [...corpus('queries.txt').values()];
  const batch = () =>
    Array.from({ length: BATCH }, () => mutate(seeds[draw(seeds.length)] as Buffer, () => random.unit()));
  const draw = (below: number) => Math.floor(random.unit() * below);
  let sent = 0;
  let before = 0;
  while (sent < OVER_THE_WIRE) {
    if (before === 0 && sent >= WARM_UP) before = residentBytes(agent.process.pid ?? 0);
    // A batch is behind us when the normal question after it is answered: no more is sent than is read.
    await Promise.all(clients.map((client) => client.sendThenAsk(batch())));
    sent += clients.length * BATCH;
  }
  t.equal(agent.process.exitCode, null);
  t.same(
    agent.log.filter(({ level }) => level === 'error' || level === 'raw'),
    [],
    'no worker was lost',
  );
  const grown = residentBytes(agent.process.pid ?? 0) - before;
  t.ok(grown <= MOST_GROWTH + WORKERS * ANSWER_CACHE_LIMITS.bytes, `${grown} bytes more`);
  t.ok(replies > 1000, `upstreams answered ${replies} times`);
  t.equal(await agent.stop(), 0);
});

const BATCH = 32;
/** Datagrams may be lost; a normal question is asked again after this, as every client does. */
const RETRY_MS = 1000;

interface Client {
  /** Resolves when a normal question that was asked behind the messages is answered. */
  sendThenAsk(messages: readonly Buffer[]): Promise<void>;
  close(): void;
}

async function startClient(agent: Agent, index: number): Promise<Client> {
  const socket: Socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  // An id that no mutated message is likely to have; the answer is known by its name as well.
  const normal = question('web', 'A', { id: 0xf000 + index });
  const isAnswer = (message: Buffer) =>
    message.length > normal.length &&
    message.readUInt16BE(0) === 0xf000 + index &&
    message.subarray(12, normal.length).equals(normal.subarray(12)) &&
    message.readUInt16BE(6) === 1;
  const send = (message: Buffer) => socket.send(message, agent.folder.dnsPort, '127.0.0.11');
  return {
    sendThenAsk: (messages) =>
      new Promise((resolve) => {
        const hear = (message: Buffer) => {
          if (!isAnswer(message)) return;
          socket.off('message', hear);
          clearInterval(again);
          resolve();
        };
        socket.on('message', hear);
        const again = setInterval(() => send(normal), RETRY_MS);
        for (const message of messages) send(message);
        send(normal);
      }),
    close: () => socket.close(),
  };
}

function zoneResponder(forwarder: Forwarder, totals: Float64Array): Responder {
  const responder = new Responder(forwarder, totals, new QueryJournal(seededRandom(1)));
  responder.handle({ kind: 'zone-add', network: 0, name: 'backend', subnets: ['10.64.0.0/24', 'fd00::/64'] });
  responder.handle({
    kind: 'zone-update',
    update: {
      network: 0,
      names: [
        { name: 'web', addresses: ['10.64.0.2', '10.64.0.3', 'fd00::2'], exists: true },
        { name: 'tasks.web', addresses: Array.from({ length: 100 }, (_, i) => `10.64.0.${i}`), exists: true },
      ],
      pointers: [{ address: '10.64.0.2', name: 'web' }],
    },
  });
  return responder;
}
