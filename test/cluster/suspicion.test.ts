// M3: a node that is dead is suspected within 2.5 s; loss, a slow prober and a slow node make nobody suspect.
import fc from 'fast-check';
import t from 'tap';
import {
  answered,
  beginWatch,
  dueProbes,
  ENOUGH_PROBES,
  excuse,
  heard,
  isSilent,
  nextStep,
  type PeerWatch,
  PROBE_INTERVAL_MS,
  SILENCE_MS,
  suspect,
} from '../../src/cluster/suspicion.ts';
import { type Random, seededRandom } from '../../src/runtime/random.ts';

/** 0.2 is lost on each way. */
const FAILURE = 1 - 0.8 ** 2;

t.test('how rare a false suspicion is', (t) => {
  const rows = 0.5 * 4 * 600 * 25 * 24;
  t.equal(rows, 720_000, 'rows of unanswered probes that can begin in 10 minutes among 25 nodes');
  t.ok(rows * FAILURE ** ENOUGH_PROBES < 1e-6, `${rows * FAILURE ** ENOUGH_PROBES}`);
  t.end();
});

/** What happens to one watch: probes, answers after the round trip unless `reaches` says no, suspicion. Text out: each change. */
interface Play {
  readonly untilMs: number;
  readonly rttMs: number;
  /** Of a probe sent then: whether its answer comes back. */
  readonly reaches: (sentAt: number) => boolean;
  /** How much later than asked the prober's timer fires. */
  readonly late?: (at: number) => number;
  readonly phase?: number;
}

interface Outcome {
  readonly suspectedAt: readonly number[];
  readonly endedAt: readonly number[];
  readonly sentAt: readonly number[];
}

function play({ untilMs, rttMs, reaches, late = () => 0, phase = 0 }: Play): Outcome {
  let watch = beginWatch(0, phase);
  const [suspectedAt, endedAt, sentAt]: [number[], number[], number[]] = [[], [], []];
  const arriving: { readonly at: number; readonly sentAt: number }[] = [];
  let busyUntil = 0;
  for (;;) {
    const due = nextStep(watch);
    const wake = Math.max(due + late(due), busyUntil);
    const first = arriving[0];
    if (Math.min(wake, first?.at ?? wake) > untilMs) return { suspectedAt, endedAt, sentAt };
    if (first !== undefined && first.at < wake && first.at >= busyUntil) {
      arriving.shift();
      if (watch.suspected) endedAt.push(first.at);
      watch = answered(watch, first.at, first.at - first.sentAt);
      continue;
    }
    if (wake - due > 500) watch = excuse(watch, wake, wake - due);
    const step = dueProbes(watch, wake);
    watch = step.watch;
    for (let probe = 0; probe < step.probes; probe++) {
      sentAt.push(wake);
      if (reaches(wake)) arriving.push({ at: wake + rttMs, sentAt: wake });
    }
    busyUntil = wake;
    if (!isSilent(watch, wake)) continue;
    // What has arrived is read before anybody is judged.
    while (arriving[0] !== undefined && arriving[0].at <= wake) {
      const read = arriving.shift();
      if (read !== undefined) watch = answered(watch, wake, wake - read.sentAt);
    }
    if (!isSilent(watch, wake)) continue;
    watch = suspect(watch, wake);
    suspectedAt.push(wake);
  }
}

t.test('a node that answers is asked twice a second', (t) => {
  const { sentAt, suspectedAt } = play({ untilMs: 60_000, rttMs: 0.3, reaches: () => true });
  t.same(suspectedAt, []);
  t.equal(sentAt.length, 121);
  t.end();
});

t.test('one that is far away is asked more often, not suspected', (t) => {
  const { sentAt, suspectedAt } = play({ untilMs: 60_000, rttMs: 300, reaches: () => true });
  t.same(suspectedAt, []);
  t.ok(sentAt.length < 120 * 6, `${sentAt.length} probes in a minute`);
  t.end();
});

t.test('one that dies is suspected 2.0 to 2.5 s later, whenever it dies', (t) => {
  for (const rttMs of [0.2, 1, 10, 40]) {
    for (let dies = 5000; dies < 5600; dies += 7) {
      const { suspectedAt, sentAt } = play({ untilMs: 20_000, rttMs, reaches: (at) => at < dies });
      const [first = Number.NaN, ...more] = suspectedAt;
      if (!(first - dies >= 1450 && first - dies <= 2500) || more.length > 0)
        t.fail(`dies at ${dies}: suspected at ${suspectedAt}`);
      const after = sentAt.filter((at) => at > first);
      if (after.length > (20_000 - first) / PROBE_INTERVAL_MS + 1) t.fail(`${after.length} probes after that`);
    }
  }
  t.pass('once, and it is asked on');
  t.end();
});

t.test('one that never answered is suspected after 2.5 s', (t) => {
  for (const phase of [0, 0.5, 0.99]) {
    const [first = Number.NaN] = play({ untilMs: 5000, rttMs: 1, reaches: () => false, phase }).suspectedAt;
    t.ok(first >= SILENCE_MS && first <= 2500, `phase ${phase}: ${first}`);
  }
  t.end();
});

t.test('20 % loss each way, 10 minutes, all pairs of 25 nodes', (t) => {
  const random = seededRandom(20);
  let probes = 0;
  let longest = 0;
  for (let pair = 0; pair < 25 * 24; pair++) {
    let row = 0;
    const reaches = () => {
      const lost = random.unit() < 0.2 || random.unit() < 0.2;
      row = lost ? row + 1 : 0;
      longest = Math.max(longest, row);
      return !lost;
    };
    const outcome = play({ untilMs: 600_000, rttMs: 1, reaches, phase: random.unit() });
    probes += outcome.sentAt.length;
    if (outcome.suspectedAt.length > 0) t.fail(`pair ${pair} suspected at ${outcome.suspectedAt}`);
  }
  t.ok(longest > 8 && longest < ENOUGH_PROBES, `${probes} probes, ${longest} lost in a row at most`);
  t.end();
});

t.test('the same with a prober that is often late', (t) => {
  const random = seededRandom(21);
  for (let node = 0; node < 100; node++) {
    const outcome = play({
      untilMs: 600_000,
      rttMs: 20,
      reaches: () => random.unit() < 1 - FAILURE,
      late: () => hog(random),
      phase: random.unit(),
    });
    if (outcome.suspectedAt.length > 0) t.fail(`node ${node} suspected at ${outcome.suspectedAt}`);
  }
  t.pass('nobody was suspected');
  t.end();
});

t.test('such a prober still suspects a node that died', (t) => {
  const random = seededRandom(22);
  for (let node = 0; node < 200; node++) {
    const dies = 5000 + 600 * random.unit();
    const late = () => 50 * random.unit();
    const [first = Number.NaN] = play({ untilMs: 20_000, rttMs: 1, reaches: (at) => at < dies, late }).suspectedAt;
    if (!(first - dies <= 2500)) t.fail(`died at ${dies}, suspected at ${first}`);
  }
  t.pass('within 2.5 s');
  t.end();
});

t.test('a standstill of our own is held against nobody', (t) => {
  for (const stall of [600, 1500, 5000, 60_000]) {
    for (let at = 4000; at < 4600; at += 13) {
      const late = (due: number) => (due >= at && due < at + stall ? at + stall - due : 0);
      const { suspectedAt } = play({ untilMs: 90_000, rttMs: 1, reaches: () => true, late });
      if (suspectedAt.length > 0) t.fail(`stall of ${stall} at ${at}: suspected at ${suspectedAt}`);
    }
  }
  t.pass('nobody was suspected');
  t.end();
});

t.test('the first answer ends it; a request from the other side makes us ask at once', (t) => {
  const reaches = (at: number) => at < 5000 || at > 30_000;
  const { suspectedAt, endedAt } = play({ untilMs: 60_000, rttMs: 1, reaches });
  t.equal(suspectedAt.length, 1);
  t.equal(endedAt.length, 1);
  t.ok((endedAt[0] ?? 0) - 30_000 <= PROBE_INTERVAL_MS + 1, `${endedAt}`);

  let watch = suspect(dueProbes(beginWatch(0, 0), 0).watch, 3000);
  watch = dueProbes(watch, 3000).watch;
  t.equal(nextStep(watch), 3500);
  t.equal(nextStep(heard(watch, 3010)), 3050, 'but not more often than every 50 ms');
  t.equal(nextStep(heard(watch, 3200)), 3200);
  t.equal(nextStep(heard(heard(watch, 3200), 3210)), 3200);
  const well = answered(watch, 3300, 1);
  t.equal(heard(well, 3301), well, 'one that answers is asked as usual');
  t.end();
});

t.test('whatever happens', (t) => {
  const step = fc.record({
    waitMs: fc.integer({ min: 0, max: 3000 }),
    what: fc.constantFrom('tick', 'answer', 'stall', 'heard'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      let watch: PeerWatch = beginWatch(0, 0);
      let [now, unanswered, quietSince] = [0, 0, 0];
      for (const { waitMs, what } of steps) {
        now += waitMs;
        if (what === 'answer') {
          watch = answered(watch, now, 1);
          [unanswered, quietSince] = [0, now];
          if (watch.suspected) throw new Error('an answer did not end it');
        } else if (what === 'heard') {
          watch = heard(watch, now);
        } else {
          if (what === 'stall') watch = excuse(watch, now, waitMs);
          const due = dueProbes(watch, now);
          watch = due.watch;
          unanswered += due.probes;
          if (due.probes > 10) throw new Error(`${due.probes} probes at once`);
          if (isSilent(watch, now)) {
            if (unanswered < ENOUGH_PROBES || now - quietSince < SILENCE_MS) throw new Error('suspected too soon');
            watch = suspect(watch, now);
          }
          if (watch.nextProbeAt <= now || watch.nextProbeAt > now + PROBE_INTERVAL_MS) throw new Error('asked when?');
        }
      }
    }),
    { seed: 3, numRuns: 500 },
  );
  t.pass('never suspected without 27 probes and 2 s of silence');
  t.end();
});

/** A busy CPU: mostly some milliseconds, at times some hundred, seldom seconds. */
function hog(random: Random): number {
  const draw = random.unit();
  if (draw < 0.9) return 20 * random.unit();
  return draw < 0.999 ? 450 * random.unit() : 5000 * random.unit();
}
