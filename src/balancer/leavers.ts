// Endpoints that are leaving: what is open to them may finish until their service's drain timeout, and is then ended.
//
// An endpoint leaves when it is drained, or its node is, and when it is removed. The time is counted from the first of these:
// what is removed after it was drained does not begin anew.

export interface LeaversPort {
  /** Connections and flows open to an endpoint, over all workers. */
  openCount(slot: number): number;
  /** Ends what is open to these endpoints, with RST. */
  end(slots: readonly number[]): void;
  later(delayMs: number, action: () => void): void;
}

export class Leavers {
  readonly #port: LeaversPort;
  /** By slot, the group with which it began to leave. */
  readonly #groups = new Map<number, ReadonlySet<number>>();

  constructor(port: LeaversPort) {
    this.#port = port;
  }

  /** These endpoints get no new connection from now on. Those that were leaving already keep their deadline. */
  begin(slots: readonly number[], drainMs: number): void {
    const group = new Set(slots.filter((slot) => !this.#groups.has(slot)));
    if (group.size === 0) return;
    for (const slot of group) this.#groups.set(slot, group);
    this.#port.later(drainMs, () => this.#end(group));
  }

  /** It is in use again, or its slot is another's now: nothing ends. */
  stay(slot: number): void {
    this.#groups.delete(slot);
  }

  /** Those that are still there stay known, so that draining one once more gives it no further time. */
  #end(group: ReadonlySet<number>): void {
    const due = [...group].filter((slot) => this.#groups.get(slot) === group && this.#port.openCount(slot) > 0);
    if (due.length > 0) this.#port.end(due);
  }
}
