// Going down in order: what is in use is held, the end waits until everything is released, but not for ever.
import type { Clock } from './clock.ts';

export interface Hold {
  /** Does nothing the second time. */
  release(): void;
}

/** One for the whole agent. Whoever must finish something before the end takes a Hold; whoever begins things asks `signal`. */
export class Drain {
  readonly #clock: Clock;
  readonly #begun = new AbortController();
  readonly #holds = new Map<Hold, string>();
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Aborted as soon as draining begins: from then on nothing new is to be taken on. */
  get signal(): AbortSignal {
    return this.#begun.signal;
  }

  /** `what` is shown when the deadline comes first. A hold may be taken while draining: the end waits for it too. */
  hold(what: string): Hold {
    const hold: Hold = {
      release: () => {
        if (this.#holds.delete(hold) && this.#holds.size === 0) for (const finish of this.#waiting) finish();
      },
    };
    this.#holds.set(hold, what);
    return hold;
  }

  /**
   * Begins draining. Resolves when nothing is held any more, or after `deadlineMs`, with what was still held then (nothing:
   * the end is clean). A second call has its own deadline, and shortens nothing for the first.
   */
  start(deadlineMs: number): Promise<readonly string[]> {
    this.#begun.abort();
    return new Promise((resolve) => {
      const finish = () => {
        timer.cancel();
        this.#waiting.delete(finish);
        resolve([...this.#holds.values()]);
      };
      const timer = this.#clock.schedule(deadlineMs, finish);
      if (this.#holds.size === 0) finish();
      else this.#waiting.add(finish);
    });
  }
}
