// What was opened is closed in the reverse order, and one that fails does not keep the others open.
import type { Log } from '../runtime/log.ts';

export class Teardown {
  readonly #log: Log;
  readonly #steps: { readonly what: string; readonly close: () => Promise<void> }[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  add(what: string, close: () => Promise<void> | void): void {
    this.#steps.push({ what, close: async () => close() });
  }

  /** Does nothing the second time. Never rejects. */
  async all(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.close();
      } catch (error) {
        this.#log.error('closing failed', { what: step.what, error });
      }
    }
  }
}
