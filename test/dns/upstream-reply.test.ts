// What is made of a message from an upstream: the corpus one by one, and mutated.
import { decode } from 'dns-packet';
import t from 'tap';
import { expandName } from '../../src/dns/reply-records.ts';
import { Query } from '../../src/dns/query.ts';
import { type Response, readResponse, writeResponse } from '../../src/dns/response.ts';
import { judgeReply } from '../../src/dns/upstream-reply.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { corpus, mutate, question, summary } from '../support/dns-messages.ts';

const asked = question('www.example.com', 'A');
const replies = corpus('replies.txt');
const OWN = 'www.example.com A 192.0.2.1';

/** As a client gets it that sent no OPT. */
function written(response: Response): Buffer {
  const query = new Query();
  query.read(asked, 0, asked.length);
  const out = Buffer.alloc(70_000);
  return out.subarray(0, writeResponse(response, 0, query, out, 0, 65_535));
}

/** `useless`, `unrelated`, or what a client gets, in one line. */
function verdict(message: Buffer, exact = true): string {
  const judged = judgeReply(message, asked, exact);
  return judged.kind === 'answer' ? summary(written(judged.response)) : judged.kind;
}

const FINE: Readonly<Record<string, string>> = {
  'an address': `NOERROR | ${OWN}`,
  'owner spelled out in another case': `NOERROR | ${OWN}`,
  'truncated in a record': 'NOERROR',
  'REFUSED without a question': 'REFUSED',
  'bytes behind the records': `NOERROR | ${OWN}`,
  'an address for another name': `NOERROR | ${OWN}`,
  'an address of a name that only ends the same': `NOERROR | ${OWN}`,
  'only an address for another name': 'NOERROR',
  'alias, then the address, and one that nobody mentioned':
    'NOERROR | www.example.com CNAME web.example.net | web.example.net A 192.0.2.1',
  'alias loop': 'NOERROR | www.example.com CNAME b.example.net | b.example.net CNAME www.example.com',
  'NS of another zone with glue': `NOERROR | ${OWN}`,
  'NS of its own zone with glue, and more': `NOERROR | ${OWN} | NS example.com | + ns.example.com A 192.0.2.1`,
  'NODATA with the SOA of another zone': 'NOERROR',
  'NXDOMAIN with the SOA of the root': 'NXDOMAIN | SOA .',
  'another class': `NOERROR | ${OWN}`,
  'DNAME and what follows from it':
    'NOERROR | example.com DNAME example.net | www.example.com CNAME www.example.net | www.example.net A 192.0.2.1',
  'TXT beside the address': `NOERROR | ${OWN}`,
  'signed denial': 'NXDOMAIN | SOA example.com | NSEC wwv.example.com | RRSIG wwv.example.com',
};

const UNRELATED = [
  'another id',
  'a query',
  'another opcode',
  'another name',
  'another type',
  'two questions',
  'no question',
  '11 bytes',
  'a name cut in the question',
];

t.test('S2: what is no answer to our question', (t) => {
  for (const title of UNRELATED) t.equal(verdict(replies.get(title) ?? Buffer.alloc(0)), 'unrelated', title);
  const other = replies.get('another spelling') ?? Buffer.alloc(0);
  t.equal(verdict(other), 'miscased', 'with our id and port, but not our spelling');
  t.equal(verdict(other, false), `NOERROR | ${OWN}`, 'where spelling proves nothing');
  t.end();
});

t.test('records that the question did not bring about are left out', (t) => {
  for (const [title, expected] of Object.entries(FINE)) {
    t.equal(verdict(replies.get(title) ?? Buffer.alloc(0)), expected, title);
  }
  t.end();
});

t.test('RFC 9267: what is malformed is of no use', (t) => {
  const others = new Set([...UNRELATED, 'another spelling', ...Object.keys(FINE)]);
  const malformed = [...replies].filter(([title]) => !others.has(title));
  t.ok(malformed.length >= 25);
  for (const [title, message] of malformed) t.equal(verdict(message), 'useless', title);
  t.end();
});

t.test('our random spelling goes to nobody', (t) => {
  const spelled = question('wWw.eXamPle.cOM', 'A');
  const message = Buffer.from(replies.get('owner spelled out in another case') ?? Buffer.alloc(0));
  spelled.copy(message, 12, 12);
  const judged = judgeReply(message, spelled, true);
  if (judged.kind !== 'answer') return t.fail(judged.kind);
  const bytes = Buffer.from(judged.response.bytes);
  t.equal(decode(bytes).questions?.[0]?.name, 'www.example.com');
  t.equal(decode(bytes).answers?.[0]?.name, 'www.example.com');
  t.end();
});

t.test('a name of 255 bytes is the longest', (t) => {
  const labels = Buffer.concat([63, 63, 63, 61].map((size) => Buffer.from([size, ...Buffer.alloc(size, 'a')])));
  t.equal(expandName(Buffer.concat([labels, Buffer.alloc(1)]), 0, 255)?.name.length, 255);
  labels[192] = 62;
  t.equal(expandName(Buffer.concat([labels, Buffer.from('a\0')]), 0, 256), undefined);
  t.end();
});

t.test('B1: mutated replies: each is judged, and what is kept can be read', (t) => {
  const random = seededRandom(20_261_121);
  const seeds = [...replies.values(), ...corpus('responses.txt').values()];
  const seen = new Map<string, number>();
  for (let i = 0; i < 60_000; i++) {
    const message = mutate(seeds[i % seeds.length] as Buffer, () => random.unit());
    const judged = judgeReply(message, asked, true);
    seen.set(judged.kind, (seen.get(judged.kind) ?? 0) + 1);
    if (judged.kind !== 'answer') continue;
    const again = readResponse(written(judged.response));
    if (again === undefined || again.records.length !== judged.response.records.length)
      t.fail('cannot be read again', { message: message.toString('hex') });
  }
  for (const kind of ['answer', 'useless', 'unrelated'])
    t.ok((seen.get(kind) ?? 0) > 1000, `${kind}: ${seen.get(kind)}`);
  t.end();
});
