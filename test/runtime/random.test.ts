import t from 'tap';
import { newId, seededRandom, systemRandom } from '../../src/runtime/random.ts';

for (const [name, random] of Object.entries({ system: systemRandom, seeded: seededRandom(7) })) {
  t.test(`${name}: numbers in [0, 1), evenly`, async (t) => {
    const draws = Array.from({ length: 10_000 }, () => random.unit());
    t.ok(draws.every((draw) => draw >= 0 && draw < 1));
    const mean = draws.reduce((sum, draw) => sum + draw, 0) / draws.length;
    t.ok(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`);
  });

  t.test(`${name}: ids`, async (t) => {
    const ids = Array.from({ length: 1000 }, () => newId(random));
    t.equal(new Set(ids).size, ids.length);
    t.ok(ids.every((id) => /^[a-z0-9]{25}$/.test(id)));
  });
}

t.test('a seed repeats its run', async (t) => {
  const run = (seed: number) => {
    const random = seededRandom(seed);
    return [random.unit(), random.unit(), random.unit()];
  };
  t.same(run(42), run(42));
  t.notSame(run(42), run(43));
});
