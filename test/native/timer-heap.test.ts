import fc from 'fast-check';
import t from 'tap';
import { TimerHeap } from '../../src/native/timer-heap.ts';

t.test('timers fire once, in the order of their times, equal ones as they were set', async (t) => {
  const heap = new TimerHeap();
  const fired: string[] = [];
  heap.add(20, () => fired.push('b'));
  heap.add(10, () => fired.push('a'));
  heap.add(20, () => fired.push('c'));
  heap.remove(heap.add(5, () => fired.push('cleared')));
  t.equal(heap.nextAt, 10);
  heap.fire(9);
  t.same(fired, []);
  heap.fire(20);
  heap.fire(30);
  t.same(fired, ['a', 'b', 'c']);
  t.equal(heap.size, 0);
  t.equal(heap.nextAt, Infinity);
});

t.test('a timer set by a timer waits for the next call, even when it is due', async (t) => {
  const heap = new TimerHeap();
  let count = 0;
  const again = (): void => {
    count++;
    heap.add(0, again);
  };
  heap.add(0, again);
  heap.fire(1);
  t.equal(count, 1);
  heap.fire(1);
  t.equal(count, 2);
});

t.test('a naive list of timers does the same', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), at: fc.nat(50) }),
    fc.record({ kind: fc.constant('remove' as const), index: fc.nat(30) }),
    fc.record({ kind: fc.constant('fire' as const), now: fc.nat(50) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new TimerHeap();
      const ids: number[] = [];
      const fired: number[] = [];
      const expected: number[] = [];
      let model: { at: number; n: number }[] = [];
      for (const one of steps) {
        if (one.kind === 'add') {
          const n = ids.length;
          ids.push(heap.add(one.at, () => fired.push(n)));
          model.push({ at: one.at, n });
        } else if (one.kind === 'remove') {
          if (ids[one.index] !== undefined) heap.remove(ids[one.index] as number);
          model = model.filter(({ n }) => n !== one.index);
        } else {
          heap.fire(one.now);
          const due = model.filter(({ at }) => at <= one.now).sort((a, b) => a.at - b.at || a.n - b.n);
          expected.push(...due.map(({ n }) => n));
          model = model.filter(({ at }) => at > one.now);
        }
        if (heap.size !== model.length) return false;
      }
      return fired.join() === expected.join();
    }),
  );
});
