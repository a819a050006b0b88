import fc from 'fast-check';
import t from 'tap';
import { DROP, Query } from '../../src/dns/query.ts';
import { BADVERS, encodeLabels, FORMERR, hashLabels, NOERROR, NOTIMP, REFUSED } from '../../src/dns/wire.ts';
import { corpus, question } from '../support/dns-messages.ts';

const VERDICTS: Readonly<Record<number, string>> = {
  [NOERROR]: 'answer',
  [FORMERR]: 'FORMERR',
  [NOTIMP]: 'NOTIMP',
  [REFUSED]: 'REFUSED',
  [BADVERS]: 'BADVERS',
  [DROP]: 'drop',
};

// D25, D16: what becomes of each message of the corpus.
const EXPECTED: Readonly<Record<string, string>> = {
  'A web': 'answer',
  'A, mixed case, below the network': 'answer',
  'AAAA tasks.web.backend with EDNS': 'answer 1232',
  'A www.example.com with EDNS 4096 and DO': 'answer 1232 do',
  'PTR of 10.64.0.2': 'answer',
  'PTR of an unused address of the subnet': 'answer',
  'PTR of fd00::2': 'answer',
  'PTR below an octet that is none': 'answer',
  'ANY web': 'answer',
  'NS of the root': 'answer',
  'TXT version.bind, class CH': 'REFUSED',
  'class ANY': 'REFUSED',
  'AXFR of a name outside': 'answer',
  'EDNS version 1': 'BADVERS 1232',
  'EDNS with cookie, client subnet and padding': 'answer 1232',
  'EDNS with an option longer than the record': 'FORMERR',
  'two OPT records': 'FORMERR',
  'OPT that is not owned by the root': 'FORMERR',
  'OPT in the answer section': 'FORMERR',
  'three labels of 63 bytes': 'answer',
  'the longest name, 255 bytes': 'answer',
  'a name of 256 bytes': 'FORMERR',
  '127 labels': 'answer',
  '128 labels': 'FORMERR',
  'label of 64 bytes': 'FORMERR',
  'label type 0x80': 'FORMERR',
  'name that points to itself': 'FORMERR',
  'name that points behind the message': 'FORMERR',
  'name cut in a label': 'FORMERR',
  'question cut behind the name': 'FORMERR',
  'no root byte': 'FORMERR',
  'header alone': 'FORMERR',
  'no question': 'FORMERR',
  'two questions': 'FORMERR',
  '65535 questions': 'FORMERR',
  '65535 additional records': 'FORMERR',
  'record cut in its fixed part': 'FORMERR',
  'record data longer than the message': 'FORMERR',
  'bytes behind the question': 'FORMERR',
  '11 bytes': 'drop',
  'nothing but an id': 'drop',
  'a response': 'drop',
  NOTIFY: 'NOTIMP',
  UPDATE: 'NOTIMP',
  'opcode 15': 'NOTIMP',
  'all other flags set': 'answer',
  'label with a dot, a zero and a high byte inside': 'answer',
  'a TSIG behind the OPT': 'answer 1232',
};

t.test('every message of the corpus ends as it should', (t) => {
  const query = new Query();
  const seen = Object.fromEntries(
    [...corpus('queries.txt')].map(([title, bytes]) => {
      const verdict = VERDICTS[query.read(bytes, 0, bytes.length)] ?? 'unknown';
      const repeatsQuestion = verdict === 'answer' || verdict === 'BADVERS' || verdict === 'REFUSED';
      t.equal(query.questionEnd > 12, repeatsQuestion, `${title}: the question is sent back if it could be read`);
      const edns = query.hasEdns && repeatsQuestion ? ` ${query.udpLimit}` : '';
      return [title, `${verdict}${edns}${query.dnssecOk ? ' do' : ''}`];
    }),
  );
  t.strictSame(seen, EXPECTED);
  t.end();
});

t.test('the question is read in place, wherever the message stands', (t) => {
  const message = question('wEb.Backend', 'AAAA', { edns: { size: 600, dnssecOk: true }, id: 0xbeef });
  const arena = Buffer.concat([Buffer.alloc(100, 0xff), message, Buffer.alloc(100, 0xff)]);
  const query = new Query();
  t.equal(query.read(arena, 100, message.length), NOERROR);
  t.match(query, { id: 0xbeef, type: 28, labelCount: 2, questionEnd: 12 + 13 + 4, udpLimit: 600, dnssecOk: true });
  t.strictSame([...query.labelAt.subarray(0, 3)], [12, 16, 24]);
  const whole = encodeLabels('web.backend');
  const first = encodeLabels('web');
  t.ok(whole && first);
  t.equal(query.labelHash[2], hashLabels(whole ?? new Uint8Array()), 'the hash does not know case');
  t.equal(query.labelHash[1], hashLabels(first ?? new Uint8Array()), 'and is there for the labels in front too');
  t.end();
});

t.test('sizes below 512 count as 512, none at all as 512', (t) => {
  const query = new Query();
  for (const [size, limit] of [
    [1, 512],
    [511, 512],
    [513, 513],
    [1232, 1232],
    [65_535, 1232],
  ] as const) {
    const message = question('web', 'A', { edns: { size } });
    query.read(message, 0, message.length);
    t.equal(query.udpLimit, limit, `${size}`);
  }
  const message = question('web', 'A');
  query.read(message, 0, message.length);
  t.equal(query.udpLimit, 512);
  t.end();
});

t.test('arbitrary bytes never throw, and nothing outside the message is looked at', (t) => {
  const [one, other] = [new Query(), new Query()];
  const header = fc.tuple(fc.uint8Array({ minLength: 2, maxLength: 2 }), fc.uint8Array({ maxLength: 80 }));
  const messages = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    // Random bytes rarely get past the header: these always do.
    header.map(([id, rest]) => Uint8Array.from([...id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, ...rest])),
  );
  fc.assert(
    fc.property(messages, (bytes) => {
      const zeros = Uint8Array.from([...new Uint8Array(8), ...bytes, ...new Uint8Array(300)]);
      const ones = Uint8Array.from([...new Uint8Array(8).fill(255), ...bytes, ...new Uint8Array(300).fill(255)]);
      const verdict = one.read(zeros, 8, bytes.length);
      t.equal(verdict, other.read(ones, 8, bytes.length));
      if (verdict === NOERROR) {
        t.ok(one.questionEnd <= bytes.length);
        t.strictSame([one.type, one.labelCount, one.labelHash], [other.type, other.labelCount, other.labelHash]);
      }
    }),
    { numRuns: 3000 },
  );
  t.end();
});
