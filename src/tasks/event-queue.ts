// Events for one reader, who may come later or be slower.

/** Unbounded: the producer sends a handful of events in a task's life, and ends the queue when the reader has gone. */
export class EventQueue<T> implements AsyncIterable<T> {
  readonly #waiting: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** Does nothing after the end. */
  push(event: T): void {
    if (this.#ended) return;
    this.#waiting.push(event);
    this.#wake?.();
  }

  /** What was pushed before is still read. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return {
      next: async () => {
        while (this.#waiting.length === 0 && !this.#ended) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
        const [value] = this.#waiting.splice(0, 1);
        return value === undefined ? { done: true, value: undefined } : { done: false, value };
      },
      return: async () => {
        this.#waiting.length = 0;
        this.end();
        return { done: true, value: undefined };
      },
    };
  }
}
