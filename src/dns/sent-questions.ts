// What was asked of upstreams just now, spelling and all, as fingerprints in memory that the workers of an agent may share: a
// question that comes in spelled as one of ours has come back to us, by whichever worker it was sent. PURE.
import { CASE_BIT, HASH_PRIME, HASH_SEED, HEADER_BYTES, isLetter } from './wire.ts';

/** Twice what all workers of a large machine may have under way. What falls on a slot in use takes it over. */
const SLOTS = 65_536;
/** Fewer letters are spelled alike by chance too often. */
const TELLING_LETTERS = 12;
/** No fingerprint is this. */
const FREE = 0;
export const NO_UPSTREAM = -1;

/** For SentQuestions: a fingerprint and the number of the upstream, slot by slot. */
export function sharedQuestions(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(2 * SLOTS * Int32Array.BYTES_PER_ELEMENT));
}

export class SentQuestions {
  readonly #slots: Int32Array;

  /** `slots` are of `sharedQuestions`. */
  constructor(slots: Int32Array) {
    this.#slots = slots;
  }

  /** Header and question as they are on the wire. What tells nothing is not remembered. */
  add(message: Uint8Array, upstream: number): void {
    const print = fingerprint(message);
    if (print === FREE) return;
    const at = slotOf(print);
    this.#slots[at] = print;
    this.#slots[at + 1] = upstream;
  }

  remove(message: Uint8Array): void {
    const print = fingerprint(message);
    if (print !== FREE && this.#slots[slotOf(print)] === print) this.#slots[slotOf(print)] = FREE;
  }

  /** The upstream that was asked exactly this and has not answered; NO_UPSTREAM. */
  find(message: Uint8Array): number {
    const print = fingerprint(message);
    const at = slotOf(print);
    return print !== FREE && this.#slots[at] === print ? (this.#slots[at + 1] as number) : NO_UPSTREAM;
  }
}

function slotOf(print: number): number {
  return 2 * ((print >>> 0) % SLOTS);
}

/** Of the question, letters as they are spelled; FREE when that would tell nothing: few letters, or all of one case. */
function fingerprint(message: Uint8Array): number {
  let hash = HASH_SEED;
  let [upper, lower] = [0, 0];
  for (let i = HEADER_BYTES; i < message.length; i++) {
    const byte = message[i] as number;
    if (isLetter(byte)) {
      if ((byte & CASE_BIT) === 0) upper++;
      else lower++;
    }
    hash = Math.imul(hash ^ byte, HASH_PRIME);
  }
  return upper === 0 || lower === 0 || upper + lower < TELLING_LETTERS ? FREE : hash;
}
