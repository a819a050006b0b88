import fc from 'fast-check';
import t from 'tap';
import {
  afterAnswer,
  afterFailedProbe,
  afterFailure,
  afterReturn,
  type Ejection,
  ejectionMs,
  type Failure,
  isForgotten,
  mostEjected,
  UNKNOWN,
} from '../../src/balancer/ejection.ts';

t.test('one connect that fails is enough; after silence it takes a probe to come back', async (t) => {
  t.match(afterFailure(UNKNOWN, 'refused', 5), { isOut: true, times: 1, since: 5, needsProbe: false });
  t.match(afterFailure(UNKNOWN, 'silent', 5), { isOut: true, times: 1, since: 5, needsProbe: true });
});

t.test('three resets without an answer in between', async (t) => {
  const twice = afterFailure(afterFailure(UNKNOWN, 'reset', 1), 'reset', 2);
  t.equal(twice.isOut, false);
  t.equal(afterFailure(twice, 'reset', 3).isOut, true);
  t.equal(afterFailure(afterAnswer(twice), 'reset', 3).isOut, false);
  t.equal(afterAnswer(UNKNOWN), UNKNOWN);
});

t.test('it lasts longer each time, up to half a minute, until it has been well for as long', async (t) => {
  let state = afterFailure(UNKNOWN, 'refused', 0);
  let now = 0;
  const lengths: number[] = [];
  for (let i = 0; i < 7; i++) {
    const length = ejectionMs(state);
    lengths.push(length);
    now += length;
    state = afterFailure(afterReturn(state, now), 'refused', now);
  }
  t.same(lengths, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  const back = afterReturn(state, now);
  t.equal(afterFailure(back, 'refused', now + 30_000).times, 9);
  t.equal(afterFailure(back, 'refused', now + 30_001).times, 1);
  t.same([isForgotten(back, now + 30_000), isForgotten(back, now + 30_001)], [false, true]);
});

t.test('a probe that fails counts as another time', async (t) => {
  const out = afterFailedProbe(afterFailure(UNKNOWN, 'silent', 0), 3000);
  t.match(out, { isOut: true, times: 2, since: 3000, needsProbe: true });
  t.equal(ejectionMs(out), 2000);
});

t.test('half of the endpoints may be ejected, one at least', async (t) => {
  t.same([0, 1, 2, 3, 4, 5, 10].map(mostEjected), [0, 1, 1, 2, 2, 3, 5]);
});

t.test(
  'whatever happens: it is out only after a failure, and never for longer than half a minute at a time',
  async () => {
    const step = fc.record({
      what: fc.constantFrom<Failure | 'answer' | 'return' | 'probe'>(
        'refused',
        'silent',
        'reset',
        'answer',
        'return',
        'probe',
      ),
      after: fc.nat(60_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let state: Ejection = UNKNOWN;
        let now = 0;
        for (const { what, after } of steps) {
          now += after;
          const wasOut = state.isOut;
          if (what === 'answer') state = afterAnswer(state);
          else if (what === 'return') state = wasOut ? afterReturn(state, now) : state;
          else if (what === 'probe') state = wasOut && state.needsProbe ? afterFailedProbe(state, now) : state;
          else if (!wasOut) state = afterFailure(state, what, now);
          if (state.isOut && !wasOut && !['refused', 'silent', 'reset'].includes(what)) return false;
          if (state.isOut && (ejectionMs(state) < 1000 || ejectionMs(state) > 30_000)) return false;
          if (isForgotten(state, now) && state.isOut) return false;
        }
        return true;
      }),
    );
  },
);
