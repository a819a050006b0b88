import t from 'tap';
import { sleep, systemClock } from '../../src/runtime/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';

t.test('sleep ends with its time or its signal, and leaves no timer', async (t) => {
  const clock = new FakeClock();
  const seen: string[] = [];
  const stop = new AbortController();
  void sleep(clock, 100).then(() => seen.push('time'));
  void sleep(clock, 10_000, stop.signal).then(() => seen.push('signal'));
  await clock.advance(99);
  t.same(seen, []);
  await clock.advance(1);
  t.same(seen, ['time']);
  stop.abort();
  await clock.advance(0);
  t.same(seen, ['time', 'signal']);
  t.equal(clock.waiting, 0);
  await sleep(clock, 5, stop.signal);
  t.equal(clock.waiting, 0, 'an aborted signal means no wait at all');
});

t.test('the system clock runs timers, and not the cancelled ones', async (t) => {
  const before = systemClock.now();
  const cancelled = systemClock.schedule(0, () => t.fail('was cancelled'));
  cancelled.cancel();
  await sleep(systemClock, 5);
  t.ok(systemClock.now() > before);
  t.ok(Math.abs(systemClock.wallTime() - Date.now()) < 20_000);
});
