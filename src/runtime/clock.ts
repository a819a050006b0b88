// Time as a port: everything that waits or measures on the main thread is given a Clock, so that tests decide what time it is.

/** Something that will happen unless it is cancelled. */
export interface Scheduled {
  /** Does nothing when it has happened, or was cancelled, before. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds, never going back, from an arbitrary zero. For durations and deadlines. */
  now(): number;
  /** Milliseconds since the epoch; may jump. For records that people read. */
  wallTime(): number;
  /** Calls `run` once, at least `delayMs` from now and never before this call returns. */
  schedule(delayMs: number, run: () => void): Scheduled;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  schedule(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after `delayMs`, or as soon as `signal` is aborted; the caller asks the signal which it was. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const wake = () => {
      timer.cancel();
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const timer = clock.schedule(delayMs, wake);
    signal?.addEventListener('abort', wake, { once: true });
  });
}
