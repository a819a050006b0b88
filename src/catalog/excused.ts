// Nodes whose lease has ended although they answer: it was the store that was away, and not they. What is on them stays in effect
// until they have put it on record again.
import type { NodeId } from '../model/node.ts';
import type { Clock, Scheduled } from '../runtime/clock.ts';

/** An address that nobody has on record rests for 30 s before somebody else may get it; up to then nothing can clash. */
const LONGEST_MS = 30_000;
/** A node puts much on record in many commits, which follow each other at once. */
const QUIET_MS = 1000;

export class ExcusedNodes {
  readonly #clock: Clock;
  readonly #onOver: (id: NodeId) => void;
  readonly #timers = new Map<NodeId, Scheduled>();

  /** `onOver`: what the node has not put on record again by now is gone. */
  constructor(clock: Clock, onOver: (id: NodeId) => void) {
    this.#clock = clock;
    this.#onOver = onOver;
  }

  /** Its lease has ended. */
  begin(id: NodeId): void {
    this.#schedule(id, LONGEST_MS);
  }

  /** It puts something on record. */
  announced(id: NodeId): void {
    if (this.#timers.has(id)) this.#schedule(id, QUIET_MS);
  }

  /** It does not answer any more. */
  end(id: NodeId): void {
    if (this.#timers.has(id)) this.#schedule(id, 0);
  }

  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #schedule(id: NodeId, delayMs: number): void {
    this.#timers.get(id)?.cancel();
    const over = () => {
      this.#timers.delete(id);
      this.#onOver(id);
    };
    this.#timers.set(id, this.#clock.schedule(delayMs, over));
  }
}
