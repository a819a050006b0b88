import t from 'tap';
import { Drain } from '../../src/runtime/drain.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

t.test('the end waits for what is held', async (t) => {
  const clock = new FakeClock();
  const drain = new Drain(clock);
  const [first, second] = [drain.hold('connections'), drain.hold('health')];
  t.equal(drain.signal.aborted, false);
  let left: readonly string[] | undefined;
  void drain.start(10_000).then((held) => {
    left = held;
  });
  t.equal(drain.signal.aborted, true, 'begins at once');
  first.release();
  first.release();
  await settle();
  t.equal(left, undefined, 'releasing one of them twice does not release the other');
  second.release();
  await settle();
  t.same(left, []);
  t.equal(clock.waiting, 0);
});

t.test('but only until its deadline, and says for what', async (t) => {
  const clock = new FakeClock();
  const drain = new Drain(clock);
  drain.hold('connections');
  let left: readonly string[] | undefined;
  void drain.start(10_000).then((held) => {
    left = held;
  });
  await clock.advance(9_999);
  t.equal(left, undefined);
  await clock.advance(1);
  t.same(left, ['connections']);
});

t.test('a second start has its own deadline, and both end', async (t) => {
  const clock = new FakeClock();
  const drain = new Drain(clock);
  drain.hold('connections');
  const ends: string[] = [];
  void drain.start(10_000).then(() => ends.push('slow'));
  void drain.start(100).then(() => ends.push('quick'));
  await clock.advance(100);
  t.same(ends, ['quick']);
  await clock.advance(10_000);
  t.same(ends, ['quick', 'slow']);
});

t.test('nothing held: at once', async (t) => {
  const clock = new FakeClock();
  t.same(await new Drain(clock).start(10_000), []);
  t.equal(clock.waiting, 0);
});
