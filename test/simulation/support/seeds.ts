// Runs a simulation with many seeds. A seed that fails is named, and run alone with VIPMESH_SEED=SEED.
import { randomInt } from 'node:crypto';
import type { Test } from 'tap';
import { type Random, seededRandom } from '../../../src/runtime/random.ts';

/** Chance as simulations want it. */
export class Dice {
  readonly #random: Random;

  constructor(seed: number) {
    // Neighbouring seeds begin alike otherwise.
    this.#random = seededRandom(Math.imul(seed + 1, 0x9e3779b1));
    for (let n = 0; n < 8; n++) this.#random.unit();
  }

  /** 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.#random.unit() * end);
  }

  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  chance(probability: number): boolean {
    return this.#random.unit() < probability;
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }
}

/** These run each time; the others are new ones each time. */
const FIXED_SEEDS = 30;

/** Then no further seed is begun. Slow machines run fewer. */
const BUDGET_MS = 3000;

/** `run` throws when something is not as it must be. Resolves with how many seeds were run. */
export async function everySeed(t: Test, run: (seed: number) => Promise<void>): Promise<number> {
  const wanted = process.env.VIPMESH_SEED;
  const first = randomInt(1_000_000, 2_000_000_000);
  const until = performance.now() + BUDGET_MS;
  let count = 0;
  for (; count === 0 || (wanted === undefined && performance.now() < until); count++) {
    const seed = wanted === undefined ? (count < FIXED_SEEDS ? count : first + count) : Number(wanted);
    try {
      await run(seed);
    } catch (error) {
      t.fail(`seed ${seed} (again with VIPMESH_SEED=${seed}): ${(error as Error).message}`, { found: error });
      return count + 1;
    }
  }
  t.pass(`${count} seeds`);
  return count;
}
