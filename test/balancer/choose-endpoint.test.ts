import fc from 'fast-check';
import t from 'tap';
import { chooseAnother, chooseEndpoint, roundOf } from '../../src/balancer/choose-endpoint.ts';

function counts(weights: readonly number[], turns: number, first = 0): number[] {
  const round = roundOf(weights);
  const result = weights.map(() => 0);
  for (let turn = first; turn < first + turns; turn++) {
    const index = chooseEndpoint(round, turn);
    result[index] = (result[index] ?? 0) + 1;
  }
  return result;
}

t.test('T5: shares by weight, exactly', async (t) => {
  t.same(counts([1, 1], 30), [15, 15]);
  t.same(counts([1, 2], 30), [10, 20]);
  t.same(counts([5, 1, 1], 7), [5, 1, 1]);
  t.same(counts([100, 100, 100], 9), [3, 3, 3], 'weights are proportions');
});

t.test('the order is smooth', async (t) => {
  t.same([...roundOf([1, 2])], [1, 0, 1]);
  t.same([...roundOf([5, 1, 1])], [0, 0, 1, 0, 2, 0, 0]);
  t.same([...roundOf([7, 7])], [0, 1]);
});

t.test('without endpoints there is none', async (t) => {
  t.equal(chooseEndpoint(roundOf([]), 7), -1);
  t.equal(chooseAnother(roundOf([]), [], 7, []), -1);
});

t.test('the turn may wrap around below zero', async (t) => {
  const round = roundOf([1, 1, 1]);
  for (const turn of [-1, -2, -(2 ** 31), 2 ** 31 - 1]) t.ok(chooseEndpoint(round, turn) >= 0, `turn ${turn}`);
});

t.test('another attempt goes to one that was not tried, and to none when all were', async (t) => {
  const round = roundOf([1, 3, 1]);
  const slots = [10, 11, 12];
  for (let turn = 0; turn < 10; turn++) {
    t.not(chooseAnother(round, slots, turn, [11]), 1);
    t.equal(chooseAnother(round, slots, turn, [11, 10]), 2);
    t.equal(chooseAnother(round, slots, turn, [10, 11, 12]), -1);
  }
});

t.test('any weights: everyone has a place, proportions hold, and the round stays short', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: 50 }), (weights) => {
      const round = roundOf(weights);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const places = counts(weights, round.length);
      return (
        round.length <= 4096 + 50 &&
        places.every((count, i) => count >= 1 && count / round.length <= (weights[i] as number) / total + 0.001)
      );
    }),
  );
});
