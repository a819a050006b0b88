// PURE: passive health. When an endpoint that fails connections is not chosen for a while, and when it is again. Times come in
// as arguments, in milliseconds of any monotonic clock.
//
// What an endpoint does is held against one port of it, because a VIP takes connections to any: a client that knocks at
// ports where nobody listens must not keep others from those that serve.

/** How a connection failed: at once (refused, unreachable), without any answer, or by a reset before its first byte. */
export type Failure = 'refused' | 'silent' | 'reset';

/** What is remembered of one port of an endpoint. */
export interface Ejection {
  /** Not to be chosen while there are others. */
  readonly isOut: boolean;
  /** Ejected this many times in a row. */
  readonly times: number;
  /** Resets since its last answer. */
  readonly resets: number;
  /** When it was ejected or came back last. */
  readonly since: number;
  /**
   * It comes back when a connection of the agent's own gets through. After a refusal it comes back by itself: a client that tries it
   * then loses no time.
   */
  readonly needsProbe: boolean;
}

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** Resets may be the client's own doing, so it takes some in a row. */
const RESETS_IN_A_ROW = 3;
/** Share of a backend's endpoints that may be ejected at once. More than that is no fault of single endpoints. */
const LARGEST_SHARE = 0.5;

export const UNKNOWN: Ejection = { isOut: false, times: 0, resets: 0, since: 0, needsProbe: false };

export function afterFailure(before: Ejection, failure: Failure, now: number): Ejection {
  const resets = failure === 'reset' ? before.resets + 1 : before.resets;
  if (failure === 'reset' && resets < RESETS_IN_A_ROW) return { ...before, resets };
  const times = isForgotten(before, now) ? 1 : before.times + 1;
  return { isOut: true, times, resets: 0, since: now, needsProbe: failure === 'silent' };
}

/** The agent's own connection, when it was time, did not get through either. */
export function afterFailedProbe(before: Ejection, now: number): Ejection {
  return { ...before, times: before.times + 1, since: now };
}

/** It may be chosen again. How often it was ejected is remembered for a while. */
export function afterReturn(before: Ejection, now: number): Ejection {
  return { ...before, isOut: false, since: now };
}

/** It has sent something. */
export function afterAnswer(before: Ejection): Ejection {
  return before.resets === 0 ? before : { ...before, resets: 0 };
}

/** How long this ejection lasts: 1 s, then 2 s, 4 s and so on, at most 30 s. */
export function ejectionMs({ times }: Ejection): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** (times - 1));
}

/** Whether nothing of it matters any more. */
export function isForgotten({ isOut, resets, since }: Ejection, now: number): boolean {
  return !isOut && resets === 0 && now - since > LONGEST_MS;
}

/** How many of so many endpoints may be ejected at once. */
export function mostEjected(endpoints: number): number {
  return Math.ceil(endpoints * LARGEST_SHARE);
}
