// Chance as a port, so that tests and simulations can repeat a run from its seed.
import { randomFillSync } from 'node:crypto';

export interface Random {
  /** Evenly distributed in [0, 1). */
  unit(): number;
}

/** 48 bits are exact in a double, and what Buffer reads at once. */
const DRAW_BYTES = 6;
/** Asking for each draw alone takes 2 µs, nearly a hundred times as long. */
const drawn = Buffer.alloc(256 * DRAW_BYTES);
let used = drawn.length;

/** Unpredictable: from the kernel's generator. */
export const systemRandom: Random = {
  unit() {
    if (used === drawn.length) {
      randomFillSync(drawn);
      used = 0;
    }
    used += DRAW_BYTES;
    return drawn.readUIntBE(used - DRAW_BYTES, DRAW_BYTES) / 2 ** 48;
  },
};

/** Repeatable, never for secrets: Marsaglia's xorshift32 (2003, shifts 13, 17, 5). Seeds 0 and 1 give the same run. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0 || 1;
  return {
    unit() {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) / 2 ** 32;
    },
  };
}

const ID_LENGTH = 25;
const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** 25 lower-case letters and digits, as Docker's object ids: 129 bits, so no two ever meet. */
export function newId(random: Random): string {
  let id = '';
  while (id.length < ID_LENGTH) id += ID_ALPHABET[Math.floor(random.unit() * ID_ALPHABET.length)];
  return id;
}
