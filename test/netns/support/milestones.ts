// A count that somebody waits for.
export class Milestones {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  /** One more. */
  pass(): void {
    this.#count++;
    for (const look of this.#waiting) look();
  }

  /** Resolves when so many more have passed. */
  more(wanted: number): Promise<void> {
    const goal = this.#count + wanted;
    return new Promise((resolve) => {
      const look = () => {
        if (this.#count < goal) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }
}
