// What probe results make of a task's health. PURE.
//
//   starting ──success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──success──▶ healthy
//       └──────────────`retries` counted failures──────────────────────▲
//
// While a task starts it is probed often, so that it is used as soon as it answers; of those failures only one in each
// interval counts, so that "3 failures, every 30 s" gives it its 90 s however often one looks. None counts in the start period
// (as in Docker: one success ends it).
import type { HealthCheck } from '../model/service.ts';
import type { Health } from '../model/task.ts';

export type CheckStatus = Exclude<Health, 'none'>;

/** `reason` is for people: the end of a log line. `isOurs`: the agent had not the means to look, which says nothing of the task. */
export type ProbeResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string; readonly isOurs?: true };

/** Times are Clock.now() milliseconds. */
export interface CheckState {
  readonly status: CheckStatus;
  readonly startedAt: number;
  /** Counted failures since the last success. */
  readonly failures: number;
  readonly countedAt?: number;
}

export interface Transition {
  readonly from: CheckStatus;
  readonly to: CheckStatus;
}

/** `known`: what is already on record, so that a restarted agent goes on from there; `starting` for a new task. */
export function beginCheck(known: CheckStatus, now: number): CheckState {
  return { status: known, startedAt: now, failures: 0 };
}

/** The state after a probe that ended at `now`, and the transition it made, if any. */
export function applyResult(
  state: CheckState,
  check: HealthCheck,
  result: ProbeResult,
  now: number,
): { readonly state: CheckState; readonly transition?: Transition } {
  if (result.ok) return enter({ status: state.status, startedAt: state.startedAt, failures: 0 }, 'healthy');
  if (result.isOurs || !counts(state, check, now)) return { state };
  const counted = { ...state, failures: state.failures + 1, countedAt: now };
  return counted.failures >= check.retries ? enter(counted, 'unhealthy') : { state: counted };
}

/** Milliseconds from one probe's start to the next one's; `draw` in [0, 1) spreads the probes of many tasks. */
export function probeInterval(state: CheckState, check: HealthCheck, draw: number): number {
  const often = check.probe.kind === 'exec' ? STARTING_EXEC_INTERVAL_MS : STARTING_INTERVAL_MS;
  const interval = state.status === 'starting' ? Math.min(often, check.intervalMs) : check.intervalMs;
  return interval * (1 - JITTER * draw);
}

/** Short against what a server takes to start, long against what a connect costs (about 0.1 ms). */
const STARTING_INTERVAL_MS = 100;
/** A command check starts a process, some 1-10 ms of CPU. */
const STARTING_EXEC_INTERVAL_MS = 1000;
/** Intervals are up to a tenth shorter, never longer: the promise is "within one interval". */
const JITTER = 0.1;

function counts(state: CheckState, check: HealthCheck, now: number): boolean {
  if (state.status !== 'starting') return true;
  if (now < state.startedAt + check.startPeriodMs) return false;
  return now - (state.countedAt ?? state.startedAt) >= check.intervalMs * (1 - JITTER);
}

function enter(state: CheckState, to: CheckStatus): { readonly state: CheckState; readonly transition?: Transition } {
  if (state.status === to) return { state };
  return { state: { ...state, status: to }, transition: { from: state.status, to } };
}
