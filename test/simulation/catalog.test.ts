// Catalogs of several agents follow one store through everything that can come between them: slow links, cuts, compaction,
// leases that end, agents that are stopped or killed and start again, with the store there or away. Nobody ever sees half of a
// commit or goes back, and in the end everybody sees what the store holds.
import t from 'tap';
import { seen, World } from './support/catalog-world.ts';
import { Dice, everySeed } from './support/seeds.ts';

t.test('catalogs end equal to the store', async (t) => {
  const count = await everySeed(t, async (seed) => void (await simulate(seed)));
  if (process.env.VIPMESH_SEED !== undefined) return;
  for (const [what, times] of Object.entries(seen)) t.ok(times >= count / 4, `${what}: ${times}`);
});

t.test('a seed is replayed exactly', async (t) => {
  for (const seed of [3, 4]) t.same(await simulate(seed), await simulate(seed));
});

/** Resolves with what each agent saw, as lines. Throws when something is not as it must be. */
async function simulate(seed: number): Promise<readonly string[]> {
  const world = new World(new Dice(seed));
  for (const agent of world.agents) agent.start();
  for (let step = 0; step < 120; step++) {
    await world.step(step);
    await world.clock.advance(world.dice.pick([0, 1, 20, 200, 1500]));
    world.check();
  }
  await world.heal();
  world.check();
  await world.compare();
  return world.trace;
}
