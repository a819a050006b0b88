// H1: rise and fall counts are honoured, one transition at a time.
import fc from 'fast-check';
import t from 'tap';
import {
  applyResult,
  beginCheck,
  type CheckState,
  type CheckStatus,
  type ProbeResult,
  probeInterval,
} from '../../src/health/check.ts';
import type { HealthCheck } from '../../src/model/service.ts';

const tcp: HealthCheck = { probe: { kind: 'tcp' }, intervalMs: 1000, timeoutMs: 1000, retries: 2, startPeriodMs: 0 };
const exec: HealthCheck = {
  ...tcp,
  probe: { kind: 'exec', command: ['true'], shell: false },
  intervalMs: 30_000,
  retries: 3,
};
const good: ProbeResult = { ok: true };
const bad: ProbeResult = { ok: false, reason: 'connection refused' };
const ours: ProbeResult = { ok: false, reason: 'the agent has no descriptor left', isOurs: true };

const RESULTS: Readonly<Record<string, ProbeResult>> = { '+': good, '-': bad, '?': ours };

/** `+` and `-` are results, `?` is none for want of the agent's own means; a number before it is the time, otherwise one interval after the last. Text out: each transition. */
function play(known: CheckStatus, check: HealthCheck, script: string): string {
  let state = beginCheck(known, 0);
  let now = 0;
  const seen: string[] = [];
  for (const step of script.split(' ')) {
    const time = /^\d+/.exec(step)?.[0];
    now = time === undefined ? now + check.intervalMs : Number(time);
    const next = applyResult(state, check, RESULTS[step.at(-1) ?? ''] ?? bad, now);
    if (next.transition !== undefined) seen.push(`${now} ${next.transition.from}>${next.transition.to}`);
    state = next.state;
  }
  return seen.join(', ');
}

t.test('transitions', async (t) => {
  const rows: readonly (readonly [
    what: string,
    known: CheckStatus,
    check: HealthCheck,
    script: string,
    expected: string,
  ])[] = [
    ['one success is enough', 'starting', tcp, '0+ + +', '0 starting>healthy'],
    ['one failure is not', 'healthy', tcp, '- + - + -', ''],
    ['two in a row are', 'healthy', tcp, '- - - -', '2000 healthy>unhealthy'],
    ['and back with one success', 'unhealthy', tcp, '- + - -', '2000 unhealthy>healthy, 4000 healthy>unhealthy'],
    ['what the agent could not find out is nothing', 'healthy', tcp, '- ? ? -', '4000 healthy>unhealthy'],
    ['nor does a task that starts fail by it', 'starting', tcp, '0? 1000? 2000? +', '3000 starting>healthy'],
    ['retries 1', 'healthy', { ...tcp, retries: 1 }, '- +', '1000 healthy>unhealthy, 2000 unhealthy>healthy'],
    [
      'starting: frequent failures count once an interval',
      'starting',
      tcp,
      '0- 100- 200- 900- 950- 1800- 1900-',
      '1800 starting>unhealthy',
    ],
    ['starting: then an answer', 'starting', tcp, '0- 100- 200- 300+', '300 starting>healthy'],
    [
      'start period: nothing counts',
      'starting',
      { ...tcp, startPeriodMs: 5000 },
      '1000- 2000- 4999- 5000- 6000-',
      '6000 starting>unhealthy',
    ],
    [
      'start period: ended by a success',
      'starting',
      { ...tcp, startPeriodMs: 5000 },
      '100+ 1100- 2100-',
      '100 starting>healthy, 2100 healthy>unhealthy',
    ],
    [
      'command checks get all their time',
      'starting',
      exec,
      '0- 1000- 2000- 30000- 60000- 80000- 90000-',
      '90000 starting>unhealthy',
    ],
  ];
  for (const [what, known, check, script, expected] of rows) t.equal(play(known, check, script), expected, what);
});

t.test('intervals', async (t) => {
  const at = (status: CheckStatus, check: HealthCheck, draw: number) =>
    probeInterval(beginCheck(status, 0), check, draw);
  t.equal(at('healthy', tcp, 0), 1000);
  t.equal(at('unhealthy', tcp, 0.5), 950, 'up to a tenth shorter');
  t.equal(at('starting', tcp, 0), 100);
  t.equal(at('starting', { ...tcp, intervalMs: 50 }, 0), 50);
  t.equal(at('starting', exec, 0), 1000);
  t.equal(at('healthy', exec, 0), 30_000);
});

t.test('any sequence of results', async () => {
  const step = fc.record({ ok: fc.boolean(), after: fc.integer({ min: 1, max: 3000 }) });
  const run = fc.record({
    steps: fc.array(step, { maxLength: 60 }),
    retries: fc.integer({ min: 1, max: 5 }),
    startPeriodMs: fc.constantFrom(0, 1500, 10_000),
    known: fc.constantFrom<CheckStatus>('starting', 'healthy', 'unhealthy'),
  });
  fc.assert(
    fc.property(run, ({ steps, retries, startPeriodMs, known }) => {
      const check = { ...tcp, retries, startPeriodMs };
      let state: CheckState = beginCheck(known, 0);
      let now = 0;
      let row = 0;
      for (const { ok, after } of steps) {
        now += after;
        row = ok ? 0 : row + 1;
        const before = state.status;
        const { state: next, transition } = applyResult(state, check, ok ? good : bad, now);
        if (ok && next.status !== 'healthy') throw new Error('a success means healthy');
        if (next.status === 'unhealthy' && before !== 'unhealthy' && row < retries) throw new Error('too few failures');
        if (before === 'healthy' && row >= retries && next.status !== 'unhealthy') throw new Error('too many failures');
        if (before !== 'starting' && next.status === 'starting') throw new Error('nothing starts twice');
        if ((before !== next.status) !== (transition !== undefined)) throw new Error('every change is a transition');
        if (transition && (transition.from !== before || transition.to !== next.status))
          throw new Error('a wrong transition');
        if (before === 'starting' && next.status === 'unhealthy' && now < startPeriodMs)
          throw new Error('within the start period');
        state = next;
      }
    }),
  );
});
