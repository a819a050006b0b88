// The cache against a model that keeps everything in a list, and the rules of RFC 2308, RFC 8767 and RFC 9520 one by one.
import fc from 'fast-check';
import t from 'tap';
import { AnswerCache, type AnswerCacheLimits, STALE_TTL_S } from '../../src/dns/answer-cache.ts';
import type { Response } from '../../src/dns/response.ts';

const limits: AnswerCacheLimits = { bytes: 1_000_000, longestS: 100, longestNegativeS: 50, staleS: 1000 };
const S = 1000;

function response(lifetimeS: number, options: { readonly rcode?: number; readonly id?: number } = {}): Response {
  const bytes = new Uint8Array(20);
  const { rcode = 0, id = 0 } = options;
  const records = [{ ttlAt: 14, ttl: lifetimeS, end: 20 }];
  return { bytes, flags: id, rcode, questionEnd: 12, records, answers: rcode === 0 ? 1 : 0, authorities: 0, lifetimeS };
}

t.test('what has ended stands in only while asking fails', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('a', response(10), 0);
  t.equal(cache.get('a', 10 * S), undefined, 'it is asked for again');
  cache.fail('a', 10 * S);
  const got = cache.get('a', 10 * S);
  t.equal(got?.kind, 'stale');
  t.equal(got?.kind === 'stale' && got.response.records[0]?.ttl, STALE_TTL_S);
  t.equal(cache.get('a', 11 * S), undefined, 'a second later it is asked for again');
  t.ok(cache.stale('a', 1009 * S));
  t.equal(cache.stale('a', 1010 * S), undefined, 'and a day later nothing stands in');
  cache.put('a', response(10, { id: 7 }), 1010 * S);
  t.match(cache.get('a', 1011 * S), { kind: 'fresh', ageS: 1, response: { flags: 7 } });
  t.end();
});

t.test('an answer that still holds is given whether asking failed or not', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('a', response(10), 0);
  cache.fail('a', 1 * S);
  t.match(cache.get('a', 1 * S), { kind: 'fresh' });
  t.end();
});

t.test('failures are kept for 1 s, then longer, and never above 30 s', (t) => {
  const cache = new AnswerCache(limits);
  let now = 0;
  const kept: number[] = [];
  for (let i = 0; i < 8; i++) {
    cache.fail('a', now);
    const from = now;
    while (cache.get('a', now) !== undefined) now += S;
    kept.push((now - from) / S);
  }
  t.strictSame(kept, [1, 2, 4, 8, 16, 30, 30, 30]);
  now += 60 * S;
  cache.fail('a', now);
  t.match(cache.get('a', now + 999), { kind: 'failed' });
  t.equal(cache.get('a', now + S), undefined, 'what failed long ago is no reason to be patient');
  t.end();
});

t.test('limits: by time, by bytes, none at all', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('long', response(5000), 0);
  cache.put('no', response(5000, { rcode: 3 }), 0);
  cache.put('never', response(0), 0);
  t.match(cache.get('long', 99 * S), { kind: 'fresh', ageS: 99 });
  t.equal(cache.get('long', 100 * S), undefined);
  t.ok(cache.get('no', 49 * S));
  t.equal(cache.get('no', 50 * S), undefined);
  t.equal(cache.size, 2);
  cache.resize(500);
  t.ok(cache.bytes <= 500 && cache.size === 1);
  const off = new AnswerCache({ ...limits, bytes: 0 });
  off.put('a', response(10), 0);
  off.fail('a', 0);
  t.equal(off.get('a', 0), undefined);
  t.equal(off.bytes, 0);
  t.end();
});

t.test('it tells what it keeps, and forgets what it is told to', (t) => {
  const cache = new AnswerCache(limits);
  cache.put('a', response(10), 0);
  cache.put('b', response(20, { rcode: 3 }), 0);
  cache.fail('c', 14_500);
  const listed = [...cache.list(15 * S)].map(({ key, state, leftS, rcode }) => [key, state, leftS, rcode]);
  t.strictSame(listed, [
    ['c', 'failed', 1, 2],
    ['b', 'fresh', 5, 3],
    ['a', 'stale', -5, 0],
  ]);
  cache.forget((key) => key !== 'b');
  t.strictSame(
    [...cache.list(15 * S)].map(({ key }) => key),
    ['b'],
  );
  t.end();
});

interface ModelEntry {
  readonly id: number;
  readonly storedAt: number;
  readonly endsAt: number;
}

t.test('like a list that forgets nothing: never an answer that was not put, nor one whose time is over', (t) => {
  const key = fc.constantFrom(...'abcdefghijkl');
  const action = fc.oneof(
    fc.record({ do: fc.constant('put' as const), key, ttl: fc.integer({ min: 0, max: 150 }), negative: fc.boolean() }),
    fc.record({ do: fc.constant('fail' as const), key }),
    fc.record({ do: fc.constant('get' as const), key }),
    fc.record({ do: fc.constant('forget' as const), key }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 40_000 }) }),
  );
  const run = (bytes: number) => {
    const isRoomy = bytes === limits.bytes;
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const cache = new AnswerCache({ ...limits, bytes });
        const model = new Map<string, ModelEntry>();
        let [now, id] = [0, 0];
        for (const one of actions) {
          if (one.do === 'wait') now += one.ms;
          else if (one.do === 'put') {
            const longest = one.negative ? limits.longestNegativeS : limits.longestS;
            const lifetimeMs = Math.min(one.ttl, longest) * S;
            cache.put(one.key, response(one.ttl, { id: ++id, rcode: one.negative ? 3 : 0 }), now);
            if (lifetimeMs > 0) model.set(one.key, { id, storedAt: now, endsAt: now + lifetimeMs });
            else model.delete(one.key);
          } else if (one.do === 'fail') cache.fail(one.key, now);
          else if (one.do === 'forget') {
            cache.forget((key) => key === one.key);
            model.delete(one.key);
          } else {
            const got = cache.get(one.key, now);
            const known = model.get(one.key);
            const holds = known !== undefined && now < known.endsAt;
            if (got?.kind === 'fresh') {
              if (!holds || got.response.flags !== known.id || got.ageS !== Math.floor((now - known.storedAt) / S))
                return false;
            } else if (holds && isRoomy) return false;
            if (got?.kind === 'stale' && (known === undefined || holds || got.response.flags !== known.id))
              return false;
          }
          if (cache.bytes > bytes || cache.bytes < 0 || (cache.size === 0) !== (cache.bytes === 0)) return false;
        }
        return true;
      }),
      { numRuns: 500 },
    );
  };
  run(limits.bytes);
  run(3000);
  t.pass('with room for all, and with room for a few');
  t.end();
});
