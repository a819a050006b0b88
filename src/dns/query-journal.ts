// One worker's notes of questions that are to be logged: a share of all, drawn when they come. For others, and while nothing is
// logged, a number is looked at and that is all. PURE.
import type { Random } from '../runtime/random.ts';
import { type QueryNotes, QueryQueue } from './query-record.ts';

export class QueryJournal {
  readonly #random: Random;
  #queue: QueryQueue | undefined;
  #share = 0;
  /** Questions that go by before the next one is drawn. */
  #left = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Logs this share of the questions that come from now on, 0 to 1. */
  set(share: number, queue: SharedArrayBuffer): void {
    this.#share = share;
    this.#queue = share > 0 ? new QueryQueue(queue) : undefined;
    this.#left = this.#gap();
  }

  /** Whether the question that has come is to be logged. Call it once for each. */
  draws(): boolean {
    if (this.#queue === undefined) return false;
    if (this.#left > 0) {
      this.#left--;
      return false;
    }
    this.#left = this.#gap();
    return true;
  }

  /** Of a question that was drawn. What finds no room is counted, and lost. */
  note(notes: QueryNotes): void {
    this.#queue?.write(notes);
  }

  /** How many go by between two that are drawn each with the same chance: chance is asked once for each line, not each question. */
  #gap(): number {
    if (this.#share >= 1) return 0;
    return Math.floor(Math.log(1 - this.#random.unit()) / Math.log(1 - this.#share));
  }
}
