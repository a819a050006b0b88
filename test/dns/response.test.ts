import { decode } from 'dns-packet';
import t from 'tap';
import { type AnswerCacheLimits, AnswerCache } from '../../src/dns/answer-cache.ts';
import { Query } from '../../src/dns/query.ts';
import { type Response, readResponse, writeResponse } from '../../src/dns/response.ts';
import { addressesIn, corpus, question, summary } from '../support/dns-messages.ts';

const messages = corpus('responses.txt');

function response(title: string): Response {
  const read = readResponse(messages.get(title) ?? Buffer.alloc(0));
  if (read === undefined) throw new Error(`${title}: malformed`);
  return read;
}

function rewritten(title: string, client: Buffer, ageS = 0, limit = 65_535): Buffer {
  const query = new Query();
  query.read(client, 0, client.length);
  const out = Buffer.alloc(65_535, 0xff);
  return out.subarray(0, writeResponse(response(title), ageS, query.keep(), out, 0, limit));
}

t.test('what upstreams send: rcode, records, how long it may be kept', (t) => {
  const seen = [...messages].map(([title, bytes]) => {
    const read = readResponse(bytes);
    const text = read && `rcode ${read.rcode}, ${read.records.length} records, ${read.lifetimeS} s`;
    return [title, text ?? 'malformed'];
  });
  t.strictSame(Object.fromEntries(seen), {
    A: 'rcode 0, 1 records, 300 s',
    'CNAME and A with OPT': 'rcode 0, 2 records, 30 s',
    // RFC 2308: the SOA's own TTL is 900 s, its minimum 300 s.
    'NXDOMAIN with SOA': 'rcode 3, 1 records, 300 s',
    'NODATA with SOA and OPT': 'rcode 0, 1 records, 300 s',
    SERVFAIL: 'rcode 2, 0 records, 0 s',
    'REFUSED without a question': 'rcode 5, 0 records, 0 s',
    truncated: 'rcode 0, 0 records, 0 s',
    referral: 'rcode 0, 2 records, 0 s',
    'OPT before another additional record': 'rcode 0, 1 records, 300 s',
    'extended rcode BADVERS': 'rcode 16, 0 records, 0 s',
    'TTL with the top bit set': 'rcode 0, 1 records, 0 s',
    'record longer than the message': 'malformed',
    'more records counted than there are': 'malformed',
    'a query': 'malformed',
    '40 addresses': 'rcode 0, 40 records, 300 s',
  });
  t.end();
});

t.test('a client gets its own id, flags, spelling and EDNS, and TTLs that have run down', (t) => {
  const plain = question('WWW.example.COM', 'A', { id: 7, flags: 0 });
  const answer = rewritten('CNAME and A with OPT', plain, 12);
  t.equal(answer.readUInt16BE(0), 7);
  t.equal(answer.readUInt16BE(2), 0x8080, 'QR and RA, not AA, not RD');
  const packet = decode(answer);
  t.equal(packet.questions?.[0]?.name, 'WWW.example.COM');
  t.strictSame(
    packet.answers?.map((record) => ('ttl' in record ? record.ttl : -1)),
    [48, 18],
  );
  t.strictSame(packet.additionals, [], 'no OPT for who sent none');
  t.equal(
    summary(rewritten('CNAME and A with OPT', question('www.example.com', 'A', { edns: { dnssecOk: true } }))),
    'NOERROR | www.example.com CNAME web.example.com | web.example.com A 192.0.2.1 | OPT 1232 do',
  );
  t.end();
});

t.test('D15: a long answer is cut to the client at whole records', (t) => {
  const plain = question('www.example.com', 'A');
  const cut = rewritten('40 addresses', plain, 0, 512);
  t.equal(addressesIn(cut).length, 29);
  t.ok(decode(cut).flag_tc);
  const whole = rewritten('40 addresses', plain);
  t.equal(addressesIn(whole).length, 40);
  t.notOk(decode(whole).flag_tc);
  const referral = messages.get('referral') ?? Buffer.alloc(0);
  t.notOk(decode(rewritten('referral', plain, 0, referral.length - 1)).flag_tc, 'additional records are no loss');
  t.end();
});

const limits: AnswerCacheLimits = { bytes: 4000, longestS: 100, longestNegativeS: 50, staleS: 10 };

t.test('the cache keeps an answer for its time and no longer', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('a', response('CNAME and A with OPT'), 1000);
  t.match(cache.get('a', 1000), { ageS: 0 });
  t.match(cache.get('a', 30_999), { ageS: 29 });
  t.equal(cache.get('a', 31_000), undefined);
  t.end();
});

t.test('the cache: limits on time, and what is not kept at all', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('long', response('A'), 0);
  cache.put('no', response('NXDOMAIN with SOA'), 0);
  t.ok(cache.get('long', 99_999));
  t.ok(cache.get('no', 49_999));
  t.equal(cache.get('long', 100_000), undefined);
  t.equal(cache.get('no', 50_000), undefined);
  for (const title of ['SERVFAIL', 'referral', 'truncated', 'TTL with the top bit set']) {
    cache.put(title, response(title), 0);
    t.equal(cache.get(title, 0), undefined, title);
  }
  cache.put('large', response('40 addresses'), 0);
  t.equal(cache.get('large', 0), undefined, 'nothing that would push all else out');
  t.end();
});

t.test('the cache is bounded by bytes and forgets what was not used', (t) => {
  const cache = new AnswerCache(limits);
  for (let i = 0; i < 100; i++) {
    cache.put(`name ${i}`, response('A'), 0);
    t.ok(cache.bytes <= limits.bytes);
    t.ok(i === 0 || cache.get('name 0', 0), 'what is used stays');
  }
  t.ok(cache.size > 2 && cache.size < 20, `${cache.size} entries`);
  t.equal(cache.get('name 1', 0), undefined);
  cache.clear();
  t.equal(cache.bytes, 0);
  t.end();
});
