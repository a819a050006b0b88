// Which questions are drawn, and what is told of them.
import t from 'tap';
import { SOURCE } from '../../src/dns/answer-source.ts';
import { Query } from '../../src/dns/query.ts';
import { QueryJournal } from '../../src/dns/query-journal.ts';
import { QUERY_QUEUE_BYTES, QueryQueue } from '../../src/dns/query-record.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { question } from '../support/dns-messages.ts';

function read(message: Uint8Array): Query {
  const query = new Query();
  query.read(message, 0, message.length);
  return query;
}

const NOTES = { client: 3, overTcp: true, source: SOURCE.stale, rcode: 16, answers: 2, waitedMs: 1.25 };

t.test('what is written is read, in that order', (t) => {
  const memory = new SharedArrayBuffer(QUERY_QUEUE_BYTES);
  const [writer, reader] = [new QueryQueue(memory), new QueryQueue(memory)];
  const longest = [63, 63, 63, 61].map((length) => 'x'.repeat(length)).join('.');
  for (const name of ['_http._tcp.Web', longest, '.'])
    t.ok(writer.write({ ...NOTES, asked: read(question(name, 'SRV')) }));
  const rest = { client: 3, overTcp: true, source: 'stale', rcode: 16, answers: 2, waitedMs: 1.25, type: 33 };
  t.strictSame(reader.read(), { ...rest, name: '_http._tcp.Web' });
  t.strictSame(reader.read(), { ...rest, name: longest });
  t.strictSame(reader.read(), { ...rest, name: '.' });
  t.ok(writer.write({ ...NOTES, overTcp: false, asked: read(Buffer.alloc(12)) }));
  t.strictSame(reader.read(), { ...rest, overTcp: false, type: 0, name: '' }, 'a message without a question');
  t.equal(reader.read(), undefined);
  t.end();
});

t.test('where there is no room, records are counted and lost', (t) => {
  const queue = new QueryQueue(new SharedArrayBuffer(16 + 2 * 280));
  const write = () => queue.write({ ...NOTES, asked: read(question('web', 'A')) });
  t.strictSame([write(), write(), write(), queue.dropped], [true, true, false, 1]);
  t.match(queue.read(), { name: 'web' });
  t.ok(write());
  t.end();
});

t.test('each question is drawn with the chance that was wanted', (t) => {
  const drawn = (share: number, questions: number) => {
    const journal = new QueryJournal(seededRandom(20_261_121));
    journal.set(share, new SharedArrayBuffer(QUERY_QUEUE_BYTES));
    let count = 0;
    for (let i = 0; i < questions; i++) if (journal.draws()) count++;
    return count;
  };
  t.equal(drawn(0, 1000), 0);
  t.equal(drawn(1, 1000), 1000);
  // Five standard deviations of a binomial distribution.
  for (const share of [0.01, 0.5, 0.9]) {
    const most = 5 * Math.sqrt(100_000 * share * (1 - share));
    t.ok(Math.abs(drawn(share, 100_000) - 100_000 * share) < most, `${share}`);
  }
  t.notOk(new QueryJournal(seededRandom(1)).draws(), 'nothing before it is told to');
  t.end();
});
