// New connections at a steady rate, whatever becomes of the former ones.
import { Milestones } from './milestones.ts';

export interface Attempt {
  /** Milliseconds, as performance.now has them. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** Of the client's own words for it. */
  readonly outcome: string;
}

export interface Load {
  /** Resolves when this many attempts have begun from now on. */
  begun(count: number): Promise<void>;
  /** No more; resolves with all attempts when the last one has ended. */
  stop(): Promise<readonly Attempt[]>;
}

/** `attempt` never rejects. */
export function startLoad(perSecond: number, attempt: () => Promise<string>): Load {
  const running = new Set<Promise<void>>();
  const attempts: Attempt[] = [];
  const begun = new Milestones();
  const timer = setInterval(() => {
    const startedAt = performance.now();
    const one = attempt().then((outcome) => {
      attempts.push({ startedAt, endedAt: performance.now(), outcome });
      running.delete(one);
    });
    running.add(one);
    begun.pass();
  }, 1000 / perSecond);
  return {
    begun: (more) => begun.more(more),
    stop: async () => {
      clearInterval(timer);
      await Promise.all(running);
      return attempts;
    },
  };
}
