// Several nodes command one store at the same time, over links that are slow and sometimes cut. Nothing is ever given out
// twice, and every command is done or refused with a reason.
import t from 'tap';
import { ControlWorld, seen } from './support/control-world.ts';
import { Dice, everySeed } from './support/seeds.ts';

t.test('commands of several nodes at the same time', async (t) => {
  const count = await everySeed(t, async (seed) => {
    await simulate(new ControlWorld(new Dice(seed)), 0);
  });
  if (process.env.VIPMESH_SEED !== undefined) return;
  for (const what of ['done', 'refused', 'exhausted'] as const) t.ok(seen[what] >= count / 4, `${what}: ${seen[what]}`);
  t.equal(seen.unavailable, 0);
});

t.test('the same with links that are cut, and leases that end', async (t) => {
  const count = await everySeed(t, async (seed) => {
    await simulate(new ControlWorld(new Dice(seed)), 0.12);
  });
  if (process.env.VIPMESH_SEED !== undefined) return;
  for (const what of ['unavailable', 'leasesEnded'] as const) t.ok(seen[what] >= count / 4, `${what}: ${seen[what]}`);
});

t.test('what a node removes while it announces itself anew is gone in the end', async (t) => {
  // A task that changed while the store was away was said, and removed before the store had answered.
  await simulate(new ControlWorld(new Dice(625_943_865)), 0.12);
  t.pass('all nodes show what the store holds');
});

t.test('a seed is replayed exactly', async (t) => {
  const run = () => simulate(new ControlWorld(new Dice(5)), 0.12);
  t.same(await run(), await run());
});

/** `cuts`: how likely a step is to cut a node off, or to bring all back. Resolves with what became of each command, as lines. */
async function simulate(world: ControlWorld, cuts: number): Promise<readonly string[]> {
  const { dice, clock } = world;
  await world.open(dice.between(2, 4));
  for (let step = 0; step < 60; step++) {
    const [node, ...others] = world.nodes;
    if (node === undefined) throw new Error('no node');
    for (let n = dice.between(1, 5); n > 0; n--) world.command(dice.pick([node, ...others]));
    if (dice.chance(cuts)) dice.pick([node, ...others]).link.cut(dice.pick(['silent', 'refused']));
    if (dice.chance(cuts)) for (const one of world.nodes) one.link.heal();
    await clock.advance(dice.pick([0, 1, 10, 100, 100, cuts > 0 ? 5000 : 300]));
    world.check();
  }
  for (const one of world.nodes) one.link.heal();
  await clock.advance(60_000);
  world.compare();
  return world.trace;
}
