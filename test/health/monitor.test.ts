import t from 'tap';
import type { ProbeResult } from '../../src/health/check.ts';
import { HealthMonitor, type MonitoredTask } from '../../src/health/monitor.ts';
import type { CheckPlan } from '../../src/health/plan.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { TaskId } from '../../src/model/task.ts';
import type { Log } from '../../src/runtime/log.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

const plan: CheckPlan = {
  check: { probe: { kind: 'tcp' }, intervalMs: 1000, timeoutMs: 500, retries: 2, startPeriodMs: 0 },
  target: { kind: 'address', address: '127.64.0.5' as IpAddress, port: 80 },
};
const task = (id: string, health: MonitoredTask['health'] = 'starting'): MonitoredTask => ({
  id: id as TaskId,
  name: `web.${id}`,
  service: 'web',
  health,
});
const bad: ProbeResult = { ok: false, reason: 'connection refused by 127.64.0.5:80' };

function rig(probe: (id: string, signal: AbortSignal) => ProbeResult | Promise<ProbeResult>, concurrency = 8) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const reports: string[] = [];
  const write = (level: string) => (message: string, fields?: object) => {
    lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
  const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  const world = { reportFails: false };
  const monitor = new HealthMonitor({
    clock,
    log,
    random: seededRandom(1),
    concurrency,
    probe: async (id, _plan, signal) => probe(id, signal),
    report: async (id, health) => {
      if (world.reportFails) throw new Error('the store is closed');
      reports.push(`${Math.round(clock.now() / 1000)} ${id} ${health}`);
    },
  });
  return { clock, lines, reports, monitor, world };
}

t.test('each transition is one report and one line', async (t) => {
  let up = false;
  const { clock, lines, reports, monitor } = rig(() => (up ? { ok: true } : bad));
  monitor.watch(task('a'), plan);
  await clock.advance(300);
  t.same(reports, [], 'a task that starts has time');
  up = true;
  await clock.advance(10_000);
  up = false;
  await clock.advance(10_000);
  up = true;
  await clock.advance(10_000);
  t.same(reports, ['0 a healthy', '12 a unhealthy', '20 a healthy'], reports.join());
  t.equal(lines.length, 3);
  t.match(
    lines[1],
    /^warn task is unhealthy .*"from":"healthy".*"target":"127.64.0.5:80".*"reason":"connection refused/,
  );
  t.match(monitor.counts, { transitions: { healthy: 2, unhealthy: 1 } });
  t.ok(monitor.counts.probes >= 30 && monitor.counts.failures > 0);
  t.match(monitor.lastFailure('a' as TaskId), /refused/);
  monitor.close();
  await settle();
  t.equal(clock.waiting, 0, 'nothing is left');
});

t.test('a task on record as healthy stays so, and one without a record is not set back', async (t) => {
  const { clock, reports, monitor } = rig(() => ({ ok: true }));
  monitor.watch(task('a', 'healthy'), plan);
  monitor.watch(task('b', 'none'), plan);
  await clock.advance(3000);
  t.same(reports, ['0 b healthy']);
  monitor.close();
});

t.test('a probe that hangs is a failure after its timeout, and does not overlap with the next', async (t) => {
  let open = 0;
  let most = 0;
  const { clock, reports, monitor } = rig(
    (_id, signal) =>
      new Promise(() => {
        most = Math.max(most, ++open);
        signal.addEventListener('abort', () => open--);
      }),
  );
  monitor.watch(task('a', 'healthy'), plan);
  await clock.advance(2100);
  t.same(reports, ['1 a unhealthy'], 'failures at 0.5 s and 1.5 s');
  t.equal(most, 1);
  t.match(monitor.lastFailure('a' as TaskId), /no answer from 127.64.0.5:80 within 500 ms/);
  monitor.close();
  await settle();
  t.equal(open, 0, 'closing aborts what is under way');
});

t.test('a probe that throws is a failure, not a crash', async (t) => {
  const { clock, reports, monitor } = rig(() => {
    throw new Error('no such namespace');
  });
  monitor.watch(task('a', 'healthy'), plan);
  await clock.advance(1500);
  t.match(reports, ['1 a unhealthy']);
  t.match(monitor.lastFailure('a' as TaskId), /no such namespace/);
  monitor.close();
});

t.test('probes at once are bounded, and all get their turn', async (t) => {
  let open = 0;
  let most = 0;
  const finish: (() => void)[] = [];
  const { clock, reports, monitor } = rig(
    () =>
      new Promise((resolve) => {
        most = Math.max(most, ++open);
        finish.push(() => {
          open--;
          resolve({ ok: true });
        });
      }),
    3,
  );
  for (let i = 0; i < 10; i++) monitor.watch(task(`t${i}`), plan);
  await clock.advance(0);
  t.equal(open, 3);
  for (let round = 0; round < 10; round++) {
    finish.shift()?.();
    await settle();
  }
  t.equal(most, 3);
  t.equal(reports.length, 10);
  monitor.close();
});

t.test('the same plan changes nothing, another begins anew, an unwatched task is left alone', async (t) => {
  const probed: string[] = [];
  const { clock, reports, monitor } = rig((id) => {
    probed.push(id);
    return bad;
  });
  monitor.watch(task('a', 'healthy'), plan);
  await clock.advance(0);
  monitor.watch(task('a', 'healthy'), structuredClone(plan));
  await clock.advance(0);
  t.equal(probed.length, 1);
  monitor.watch(task('a', 'healthy'), { ...plan, check: { ...plan.check, retries: 5 } });
  await clock.advance(0);
  t.equal(probed.length, 2);
  t.same(reports, []);
  t.same(monitor.tasks, ['a']);
  monitor.unwatch('a' as TaskId);
  t.equal(monitor.watches('a' as TaskId), false);
  await clock.advance(10_000);
  t.equal(probed.length, 2);
});

t.test('what could not be recorded is recorded after the next probe', async (t) => {
  const { clock, lines, reports, monitor, world } = rig(() => bad);
  world.reportFails = true;
  monitor.watch(task('a', 'healthy'), plan);
  await clock.advance(1500);
  t.same(reports, []);
  t.match(lines.at(-1), /^error health was not recorded/);
  world.reportFails = false;
  await clock.advance(1000);
  t.match(reports, ['2 a unhealthy']);
  t.equal(lines.filter((line) => line.startsWith('warn')).length, 1, 'still one transition');
  monitor.close();
});

t.test('a check with nothing to probe fails and says why', async (t) => {
  const { clock, reports, monitor } = rig(() => ({ ok: true }));
  monitor.watch(task('a', 'starting'), {
    ...plan,
    target: { kind: 'missing', reason: 'service web declares no TCP port' },
  });
  await clock.advance(3000);
  t.match(reports, ['2 a unhealthy']);
  t.equal(monitor.lastFailure('a' as TaskId), 'service web declares no TCP port');
  monitor.close();
});
