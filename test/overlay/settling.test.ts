// How soon the driver looks at what was changed.
import t from 'tap';
import { settleMs } from '../../src/overlay/settling.ts';

t.test('soon after a quick look, later after a long one, and within a second', async (t) => {
  for (const [took, wanted] of [
    [0, 50],
    [10, 50],
    [70, 280],
    [5000, 1000],
  ] as const)
    t.equal(settleMs(took), wanted, `${took} ms`);
});
