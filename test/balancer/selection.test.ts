import fc from 'fast-check';
import t from 'tap';
import type { Backend } from '../../src/balancer/command.ts';
import {
  betterOfTwo,
  byClient,
  choiceOf,
  hashAddress,
  leastLoaded,
  type Load,
  mix,
  type Tier,
} from '../../src/balancer/selection.ts';

const IDLE: Load = () => 0;

/** Endpoints 10.0.0.1 and so on, of these weights, in slots 100 and so on. */
function backend(weights: readonly number[], more: Partial<Backend> = {}): Backend {
  const endpoints = weights.map((weight, i) => ({
    slot: 100 + i,
    address: `10.0.0.${i + 1}`,
    portMap: [],
    netns: 0,
    weight,
  }));
  return { id: 0, roundRobinSlot: 0, endpoints, ...more };
}

function tier(weights: readonly number[]): Tier {
  const [only] = choiceOf(backend(weights)).tiers;
  if (only === undefined) throw new Error('no endpoints');
  return only;
}

function client(number: number): number {
  return hashAddress(0, 0, -65_536, number);
}

t.test('plain is round-robin over all, and nothing else', async (t) => {
  t.equal(choiceOf(backend([1, 2])).isPlain, true);
  t.equal(choiceOf(backend([1], { method: 'random' })).isPlain, false);
  t.match(choiceOf(backend([1], { affinityMs: 1500 })), { isPlain: false, affinityS: 2 });
  t.same(choiceOf(backend([])).tiers, []);
});

t.test('preferred ones are a tier before the others', async (t) => {
  const { endpoints, ...rest } = backend([1, 1, 1]);
  const choice = choiceOf({ ...rest, endpoints: endpoints.map((one, i) => ({ ...one, isPreferred: i === 1 })) });
  t.same(
    choice.tiers.map(({ members }) => members),
    [[1], [0, 2]],
  );
  t.equal(choice.isPlain, false);
  t.equal(choiceOf({ ...rest, endpoints: endpoints.map((one) => ({ ...one, isPreferred: true })) }).isPlain, true);
});

t.test('T8: least connections, for their weight; equals in turn', async (t) => {
  const open = [3, 0, 1];
  const load: Load = (slot) => open[slot - 100] ?? 0;
  t.equal(leastLoaded(tier([1, 1, 1]), 0, [], load), 1);
  t.equal(leastLoaded(tier([1, 1, 1]), 0, [101], load), 2);
  t.equal(leastLoaded(tier([8, 1, 1]), 0, [], load), 1, 'an idle one is the least busy, whatever the weights');
  t.equal(leastLoaded(tier([8, 1, 1]), 0, [101], load), 0);
  t.equal(leastLoaded(tier([1, 1, 1]), 0, [100, 101, 102], load), -1);
  t.same(
    [0, 1, 2, 3, -1].map((turn) => leastLoaded(tier([1, 1, 1]), turn, [], IDLE)),
    [0, 1, 2, 0, 0],
  );
  t.same(
    sharesOf(4, (turn) => leastLoaded(tier([1, 3]), turn, [], IDLE)),
    [1, 3],
    'idle ones, by their weight',
  );
});

t.test('by weight, however many are open', async (t) => {
  const weights = [1, 2, 5];
  for (const open of [8, 80, 800]) {
    const loads = [0, 0, 0];
    const load: Load = (slot) => loads[slot - 100] as number;
    for (let turn = 0; turn < open; turn++) {
      const position = leastLoaded(tier(weights), turn, [], load);
      loads[position] = (loads[position] as number) + 1;
    }
    t.same(
      loads,
      weights.map((weight) => (weight * open) / 8),
    );
  }
});

/** How often each position was chosen. */
function sharesOf(turns: number, choose: (turn: number) => number): readonly number[] {
  const shares: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const position = choose(turn);
    shares[position] = (shares[position] ?? 0) + 1;
  }
  return shares;
}

t.test('of two that are drawn, the less busy one', async (t) => {
  const draws = [0, 1];
  const chance = () => draws.shift() ?? 0;
  t.equal(
    betterOfTwo(tier([1, 1, 1]), chance, [], (slot) => (slot === 100 ? 5 : 0)),
    1,
  );
  t.equal(
    betterOfTwo(tier([1]), () => 7, [], IDLE),
    0,
    'of one, that one',
  );
  t.equal(
    betterOfTwo(tier([1, 1]), () => 7, [100, 101], IDLE),
    -1,
  );
  let seed = 1;
  const counts = [0, 0, 0];
  const random = () => {
    seed = mix(seed, 77);
    return seed;
  };
  for (let i = 0; i < 9000; i++) {
    const position = betterOfTwo(tier([1, 1, 1]), random, [], IDLE);
    counts[position] = (counts[position] ?? 0) + 1;
  }
  t.ok(
    counts.every((count) => count > 2700 && count < 3300),
    `idle ones get about as much: ${counts}`,
  );
  const [light = 0] = sharesOf(9000, () => betterOfTwo(tier([1, 3]), random, [], IDLE));
  t.ok(light > 2000 && light < 2500, `a quarter of what comes while both are idle: ${light}`);
});

t.test('by client: evenly, by weight, and whoever need not move stays', async (t) => {
  const clients = Array.from({ length: 20_000 }, (_, i) => client(i));
  const five = tier([1, 1, 1, 1, 1]);
  const before = clients.map((one) => byClient(five, one, []));
  for (let position = 0; position < 5; position++) {
    const share = before.filter((one) => one === position).length / clients.length;
    t.ok(share > 0.18 && share < 0.22, `a fifth: ${share}`);
  }
  const after = clients.map((one) => byClient(five, one, [102]));
  const moved = before.filter((one, i) => one !== after[i]);
  t.ok(
    moved.every((one) => one === 2),
    'only clients of the one that went have moved',
  );
  t.ok(moved.length / clients.length < 1 / 5 + 0.05);
  const weighted = clients.map((one) => byClient(tier([1, 3]), one, []));
  const heavy = weighted.filter((one) => one === 1).length / clients.length;
  t.ok(heavy > 0.73 && heavy < 0.77, `three quarters: ${heavy}`);
  t.equal(byClient(tier([1]), 5, [100]), -1);
});

t.test('by client: the order in which endpoints are listed does not matter', async () => {
  fc.assert(
    fc.property(fc.integer(), fc.shuffledSubarray([1, 2, 3, 4, 5, 6], { minLength: 1 }), (who, numbers) => {
      const pick = (order: readonly number[]) => {
        const { endpoints, ...rest } = backend(order.map(() => 1));
        const listed = endpoints.map((one, i) => ({ ...one, address: `10.0.0.${order[i]}` }));
        const [only] = choiceOf({ ...rest, endpoints: listed }).tiers;
        return only && order[byClient(only, who, [])];
      };
      return pick(numbers) === pick(numbers.toSorted());
    }),
  );
});

t.test('whatever is skipped is not chosen, and somebody is as long as one is left', async () => {
  const weights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(weights, fc.array(fc.nat(11)), fc.integer(), (list, skipped, number) => {
      const one = tier(list);
      const skip = skipped.map((i) => 100 + i);
      const left = one.slots.some((slot) => !skip.includes(slot));
      const found = [
        leastLoaded(one, number, skip, IDLE),
        betterOfTwo(one, () => number, skip, IDLE),
        byClient(one, number, skip),
      ];
      return found.every((position) =>
        left ? position >= 0 && !skip.includes(one.slots[position] as number) : position === -1,
      );
    }),
  );
});
