// What has happened lately, and to whoever listens, what happens now.
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { happenings } from './event-shape.ts';
import type { DockerEvent } from './requests.ts';

/** For clients that ask with `since` after they were away. Docker keeps 256. */
const KEPT_EVENTS = 1024;
/** Events of one moment still differ in time and keep their order. A double of that size tells 256 ns apart. */
const APART_NANOSECONDS = 1000;

type Listener = (event: DockerEvent) => void;
type Subscribe = (listener: (after: Snapshot, before: Snapshot, changes: readonly Change[]) => void) => () => void;

export class EventLog {
  readonly #recent: DockerEvent[] = [];
  readonly #listeners = new Set<Listener>();
  readonly #unsubscribe: () => void;
  #lastNano = 0;

  /** `wallTime`: milliseconds since the epoch. */
  constructor(subscribe: Subscribe, wallTime: () => number) {
    this.#unsubscribe = subscribe((after, before, changes) => {
      for (const happening of happenings(changes, after, before)) {
        const timeNano = Math.max(wallTime() * 1_000_000, this.#lastNano + APART_NANOSECONDS);
        this.#lastNano = timeNano;
        this.#add({ ...happening, time: Math.floor(timeNano / 1_000_000_000), timeNano });
      }
    });
  }

  /** Those of the last ones whose time is within, the oldest first. In nanoseconds since the epoch. */
  between(since: number, until: number): readonly DockerEvent[] {
    return this.#recent.filter(({ timeNano }) => timeNano >= since && timeNano <= until);
  }

  /** Returns how to stop. */
  follow(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#unsubscribe();
    this.#listeners.clear();
  }

  #add(event: DockerEvent): void {
    this.#recent.push(event);
    if (this.#recent.length > KEPT_EVENTS) this.#recent.shift();
    for (const listener of [...this.#listeners]) listener(event);
  }
}
