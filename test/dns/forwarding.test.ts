// Names that are not ours, from outside: routes, upstreams that come and go or misbehave, and what is kept of their answers.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { decode } from 'dns-packet';
import t from 'tap';
import { sharedQuestions } from '../../src/dns/sent-questions.ts';
import { addressesIn, corpus, question, summary } from '../support/dns-messages.ts';
import { askTcp, askUdp, type DnsWorker, startDnsWorker } from '../support/dns-worker.ts';
import { addressReply, type Asked, reply, SOA, startMockUpstream } from '../support/mock-upstream.ts';

const [ONE, TWO, THREE] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'] as const;
const SERVFAIL = 2;

const addresses = async (worker: DnsWorker, name: string) => addressesIn(await askUdp(worker, question(name, 'A')));

/** Asks until the answer is such a one. */
async function askUntil(worker: DnsWorker, name: string, fits: (answer: Buffer) => boolean): Promise<Buffer> {
  for (;;) {
    const answer = await askUdp(worker, question(name, 'A'));
    if (fits(answer)) return answer;
  }
}

function ttlOf(answer: Buffer): number | undefined {
  const [first] = decode(answer).answers ?? [];
  return first !== undefined && 'ttl' in first ? first.ttl : undefined;
}

/** The question's bytes as they came. */
const spelling = ({ message }: Asked) => decode(message).questions?.[0]?.name ?? '';

t.test('the upstreams of the longest suffix are asked', async (t) => {
  const usual = await startMockUpstream((asked) => [addressReply(asked, ONE)]);
  const corp = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  const lab = await startMockUpstream((asked) => [addressReply(asked, THREE)]);
  const worker = await startDnsWorker({
    upstreams: [usual],
    routes: [
      { suffix: 'corp.example', upstreams: [corp] },
      { suffix: 'lab.corp.example', upstreams: [lab] },
    ],
  });
  t.strictSame(await addresses(worker, 'www.example'), [ONE]);
  t.strictSame(await addresses(worker, 'WWW.Corp.Example'), [TWO]);
  t.strictSame(await addresses(worker, 'corp.example'), [TWO]);
  t.strictSame(await addresses(worker, 'a.lab.corp.example'), [THREE]);
  t.strictSame(await addresses(worker, 'not-corp.example'), [ONE]);
  t.strictSame(
    [usual, corp, lab].map(({ asked }) => asked.length),
    [2, 2, 1],
  );
});

t.test('a route is all that is asked: its names do not leak when its server fails', async (t) => {
  const usual = await startMockUpstream((asked) => [addressReply(asked, ONE)]);
  const corp = await startMockUpstream((asked) => [reply(asked, { rcode: SERVFAIL })]);
  const worker = await startDnsWorker({ upstreams: [usual], routes: [{ suffix: 'corp.example', upstreams: [corp] }] });
  t.equal(summary(await askUdp(worker, question('www.corp.example', 'A'))), 'SERVFAIL');
  t.equal(usual.asked.length, 0);
});

t.test('S2: each question is spelled at random, and an answer must repeat that', async (t) => {
  const upstream = await startMockUpstream((asked) => {
    if (asked.overTcp) return [addressReply(asked, ONE)];
    const forged = question(asked.name, 'A', { id: asked.message.readUInt16BE(0) });
    return asked.name === spelling(asked)
      ? [addressReply(asked, ONE)]
      : [addressReply({ ...asked, message: forged }, TWO)];
  });
  const worker = await startDnsWorker({ upstreams: [upstream] });
  for (let i = 0; i < 20; i++)
    t.strictSame(await addresses(worker, `name-${i}.example.com`), [ONE], 'not what was forged');
  const spellings = upstream.asked.map((asked) =>
    spelling(asked)
      .replaceAll(/[^a-z]/gi, '')
      .replaceAll(/[a-z]/g, '0'),
  );
  t.ok(new Set(spellings).size >= 19, 'no two alike');
  t.equal(upstream.asked.filter(({ overTcp }) => overTcp).length, upstream.asked.filter((one) => !one.overTcp).length);
});

t.test(
  'S2: a server that does not repeat the spelling is found out over TCP, and asked in lower case from then on',
  async (t) => {
    const upstream = await startMockUpstream((asked) => {
      const lower = question(asked.name, 'A', { id: asked.message.readUInt16BE(0) });
      return [addressReply({ ...asked, message: lower }, ONE)];
    });
    const worker = await startDnsWorker({ upstreams: [upstream] });
    t.strictSame(await addresses(worker, 'first-of-all.example.com'), [ONE]);
    for (const name of ['a', 'b', 'c']) t.strictSame(await addresses(worker, `${name}.example.com`), [ONE]);
    t.strictSame(
      upstream.asked.map(({ overTcp }) => overTcp),
      [false, true, false, false, false],
    );
    for (const asked of upstream.asked.slice(2)) t.equal(spelling(asked), asked.name);
  },
);

t.test('records that nobody asked for reach no client, at once or later', async (t) => {
  const bank = { type: 'A', name: 'www.bank.example', ttl: 300, data: TWO } as const;
  const upstream = await startMockUpstream((asked) => [
    reply(asked, { answers: [{ type: 'A', name: asked.name, ttl: 300, data: ONE }, bank], authorities: [SOA] }),
  ]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  for (let i = 0; i < 2; i++) {
    const answer = await askUdp(worker, question('www.example.com', 'A'));
    t.equal(summary(answer), `NOERROR | www.example.com A ${ONE} | SOA example.com`);
  }
  t.equal(upstream.asked.length, 1);
});

t.test('RFC 9267: what is malformed is not waited for: the next upstream is asked', async (t) => {
  const malformed = [
    'pointer to itself',
    'pointer forward',
    'label of 64 bytes',
    'counts of 65535',
    'RDLENGTH past the end',
  ];
  for (const title of malformed) {
    const bytes = corpus('replies.txt').get(title) ?? Buffer.alloc(0);
    const broken = await startMockUpstream(({ message }) => {
      const answer = Buffer.from(bytes);
      message.copy(answer, 0, 0, 2);
      message.copy(answer, 12, 12, message.length);
      return [answer];
    });
    const good = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
    const worker = await startDnsWorker({ upstreams: [broken, good] });
    t.strictSame(await addresses(worker, 'www.example.com'), [TWO], title);
    t.equal(broken.asked.length, 1, 'asked once');
    t.equal(worker.upstream(0, 'silent'), 0, 'and not silent');
    const alone = await startDnsWorker({ upstreams: [broken] });
    t.equal(summary(await askUdp(alone, question('www.example.com', 'A'))), 'SERVFAIL');
  }
});

t.test('D12: a silent upstream costs one question its patience, and is in use again when it answers', async (t) => {
  const first = await startMockUpstream();
  const second = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  const worker = await startDnsWorker({ upstreams: [first, second] });
  await addresses(worker, 'a.example.com');
  t.equal(worker.upstream(0, 'silent'), 1);
  for (let i = 0; first.asked.length < 2; i++) t.strictSame(await addresses(worker, `b${i}.example.com`), [TWO]);
  t.equal(worker.upstream(0, 'silent'), 1, 'it was tried, and nobody waited for it');
  first.behave((asked) => [addressReply(asked, ONE)]);
  for (let i = 0; worker.upstream(0, 'silent') > 0; i++) await addresses(worker, `c${i}.example.com`);
  t.strictSame(await addresses(worker, 'd.example.com'), [ONE]);
});

t.test('RFC 9520: a failure is kept for a moment, and then it is asked again', async (t) => {
  const upstream = await startMockUpstream((asked) => [reply(asked, { rcode: SERVFAIL })]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  for (let i = 0; i < 5; i++) t.equal(summary(await askUdp(worker, question('www.example.com', 'A'))), 'SERVFAIL');
  t.equal(upstream.asked.length, 1);
  upstream.behave((asked) => [addressReply(asked, ONE)]);
  await askUntil(worker, 'www.example.com', (answer) => addressesIn(answer)[0] === ONE);
  t.equal(upstream.asked.length, 2);
});

t.test('RFC 8767: what was known stands in while upstreams fail, for 30 s at a time, until they answer', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, ONE, 1)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  t.strictSame(await addresses(worker, 'www.example.com'), [ONE]);
  upstream.behave((asked) => [reply(asked, { rcode: SERVFAIL })]);
  const stale = await askUntil(worker, 'www.example.com', () => upstream.asked.length > 1);
  t.equal(summary(stale), `NOERROR | www.example.com A ${ONE}`);
  t.equal(ttlOf(stale), 30);
  t.equal(ttlOf(await askUdp(worker, question('www.example.com', 'A'))), 30, 'the failure is known, so at once');
  t.equal(upstream.asked.length, 2);
  t.equal(worker.count('dnsAnswersStale'), 2);
  upstream.behave((asked) => [addressReply(asked, TWO)]);
  await askUntil(worker, 'www.example.com', (answer) => addressesIn(answer)[0] === TWO);
});

t.test('RFC 8767: a client does not wait for silence to end when something can stand in', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, ONE, 1)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  await addresses(worker, 'www.example.com');
  upstream.behave(() => []);
  const stale = await askUntil(worker, 'www.example.com', () => upstream.asked.length > 1);
  t.equal(ttlOf(stale), 30);
  t.equal(worker.count('dnsUpstreamFailures'), 0, 'it was given before the question failed');
  const [overTcp] = await askTcp(worker, [question('www.example.com', 'A')]);
  t.equal(ttlOf(overTcp ?? Buffer.alloc(12)), 30, 'who asks meanwhile gets it, too');
});

t.test('a question that comes back to us is refused at once, and the next upstream answers', async (t) => {
  const back = createSocket('udp4').bind(0, '127.0.0.1');
  await once(back, 'listening');
  t.teardown(() => back.close());
  // A forwarder that asks the resolver, and passes its answers on.
  const looping = await startMockUpstream((asked) => {
    back.send(asked.message, worker.port, worker.address);
    return [];
  });
  const echoed = once(back, 'message') as Promise<[Buffer]>;
  const good = await startMockUpstream((asked) => [addressReply(asked, TWO)]);
  let worker = await startDnsWorker({ upstreams: [looping, good] });
  t.strictSame(await addresses(worker, 'a-rather-long-name.example.com'), [TWO]);
  t.equal(worker.upstream(0, 'loops'), 1);
  t.equal(summary((await echoed)[0]), 'SERVFAIL');
  t.strictSame(await addresses(worker, 'a-rather-long-name.example.com'), [TWO], 'it is asked no more than it was');
  // It comes back to another worker of the same agent.
  const sentQuestions = sharedQuestions();
  const other = await startDnsWorker({ upstreams: [looping, good], sentQuestions });
  worker = await startDnsWorker({ upstreams: [looping, good], sentQuestions });
  const answer = once(back, 'message') as Promise<[Buffer]>;
  t.strictSame(await addresses(other, 'another-rather-long-name.example.com'), [TWO]);
  t.equal(summary((await answer)[0]), 'SERVFAIL');
  t.equal(worker.upstream(0, 'loops'), 1);
});

t.test('flags: AD is for those who ask for it, and reserved bits are for nobody', async (t) => {
  const [RA, Z, AD] = [0x0080, 0x0040, 0x0020] as const;
  const upstream = await startMockUpstream((asked) => [reply(asked, { flags: RA | Z | AD, authorities: [SOA] })]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const flagsOf = async (message: Buffer) => (await askUdp(worker, message)).readUInt16BE(2).toString(16);
  t.equal(await flagsOf(question('www.example.com', 'A')), '8180');
  t.equal(await flagsOf(question('www.example.com', 'A', { flags: 0x0120 })), '81a0');
  t.equal(await flagsOf(question('www.example.com', 'A', { edns: { dnssecOk: true } })), '81a0');
});

t.test('what is kept stays what it was while other answers come in', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, asked.name.startsWith('a') ? ONE : TWO)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  for (const name of ['a.example.com', 'b.example.com', 'c.a-longer-name.example.com']) await addresses(worker, name);
  t.equal(summary(await askUdp(worker, question('a.example.com', 'A'))), `NOERROR | a.example.com A ${ONE}`);
  t.equal(worker.count('dnsAnswersCached'), 1);
});

t.test('what is kept can be forgotten, from a name downwards or whole, and not be kept at all', async (t) => {
  const upstream = await startMockUpstream((asked) => [addressReply(asked, ONE)]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  const names = ['example.com', 'www.example.com', 'xexample.com', 'www.example.org'];
  const askAll = async () => {
    const before = upstream.asked.length;
    for (const name of names) await addresses(worker, name);
    return upstream.asked.slice(before).map(({ name }) => name);
  };
  t.strictSame(await askAll(), names);
  t.strictSame(await askAll(), []);
  t.equal(worker.count('dnsCacheEntries'), 4);
  await worker.tell({ kind: 'dns-cache-flush', below: 'Example.com.' });
  t.equal(worker.count('dnsCacheEntries'), 2);
  t.strictSame(await askAll(), names.slice(0, 2));
  await worker.tell({ kind: 'dns-cache-flush' });
  t.equal(worker.count('dnsCacheBytes'), 0);
  t.strictSame(await askAll(), names);
  const off = await startDnsWorker({ upstreams: [upstream], cacheBytes: 0 });
  const before = upstream.asked.length;
  for (let i = 0; i < 3; i++) await addresses(off, 'www.example.com');
  t.equal(upstream.asked.length - before, 3);
  t.equal(off.count('dnsCacheEntries'), 0);
});
