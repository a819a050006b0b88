// Probes tasks as their checks say, and reports every change of health once.
import { isDeepStrictEqual } from 'node:util';
import type { Health, TaskId } from '../model/task.ts';
import type { Clock, Scheduled } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { Random } from '../runtime/random.ts';
import {
  applyResult,
  beginCheck,
  type CheckState,
  type CheckStatus,
  type ProbeResult,
  probeInterval,
} from './check.ts';
import { type CheckPlan, formatTarget } from './plan.ts';

export interface MonitoredTask {
  readonly id: TaskId;
  /** For log lines. */
  readonly name: string;
  readonly service: string;
  /** What is on record; a task that is healthy stays so until its check says otherwise. */
  readonly health: Health;
}

export interface MonitorOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** One probe. Its signal is aborted when the timeout is over or nobody wants to know any more; it may also reject. */
  readonly probe: (task: TaskId, plan: CheckPlan, signal: AbortSignal) => Promise<ProbeResult>;
  /** Puts a task's health on record. When it rejects, it is called again after the next probe. */
  readonly report: (task: TaskId, health: 'healthy' | 'unhealthy') => Promise<void>;
  /** Probes at once; further ones wait their turn. */
  readonly concurrency?: number;
}

/** Since the start; for metrics. */
export interface MonitorCounts {
  readonly probes: number;
  readonly failures: number;
  readonly transitions: Readonly<Record<CheckStatus, number>>;
}

/**
 * 128: a probe that is refused or answered takes about a millisecond, so 10,000 endpoints get through in a second; a node whose
 * endpoints are all silent waits (n / 128) timeouts for a round.
 */
const DEFAULT_CONCURRENCY = 128;

interface Watched {
  task: MonitoredTask;
  plan: CheckPlan;
  state: CheckState;
  /** What `report` was last told and has accepted, or the record held at the beginning. */
  reported: Health;
  reporting: boolean;
  /** Why the last failed probe failed. */
  reason: string;
  timer: Scheduled | undefined;
  /** While a probe runs. */
  running: AbortController | undefined;
}

export class HealthMonitor {
  readonly #options: MonitorOptions;
  readonly #concurrency: number;
  readonly #watched = new Map<TaskId, Watched>();
  readonly #waiting: Watched[] = [];
  #inFlight = 0;
  #probes = 0;
  #failures = 0;
  readonly #transitions: Record<CheckStatus, number> = { starting: 0, healthy: 0, unhealthy: 0 };

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#concurrency = options.concurrency ?? DEFAULT_CONCURRENCY;
  }

  /** Begins to probe a task, at once. Called again with the same plan it changes nothing; with another, it begins anew. */
  watch(task: MonitoredTask, plan: CheckPlan): void {
    const before = this.#watched.get(task.id);
    if (before !== undefined && isDeepStrictEqual(before.plan, plan)) {
      before.task = task;
      return;
    }
    this.unwatch(task.id);
    const known = task.health === 'none' ? 'starting' : task.health;
    const watched: Watched = {
      task,
      plan,
      state: beginCheck(known, this.#options.clock.now()),
      reported: task.health,
      reporting: false,
      reason: '',
      timer: undefined,
      running: undefined,
    };
    this.#watched.set(task.id, watched);
    this.#schedule(watched, 0);
  }

  /** A probe that is under way is given up, its result is nobody's. */
  unwatch(id: TaskId): void {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    this.#watched.delete(id);
    watched.timer?.cancel();
    watched.running?.abort();
  }

  watches(id: TaskId): boolean {
    return this.#watched.has(id);
  }

  /** The tasks that are watched, to be compared with those that should be. */
  get tasks(): readonly TaskId[] {
    return [...this.#watched.keys()];
  }

  /** Why the last failed probe of a task failed; undefined when none did, or it is not watched. */
  lastFailure(id: TaskId): string | undefined {
    return this.#watched.get(id)?.reason || undefined;
  }

  get counts(): MonitorCounts {
    return { probes: this.#probes, failures: this.#failures, transitions: { ...this.#transitions } };
  }

  close(): void {
    for (const id of this.tasks) this.unwatch(id);
  }

  #schedule(watched: Watched, delayMs: number): void {
    watched.timer = this.#options.clock.schedule(delayMs, () => {
      this.#waiting.push(watched);
      this.#startWaiting();
    });
  }

  #startWaiting(): void {
    while (this.#inFlight < this.#concurrency) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      if (this.#watched.get(next.task.id) === next) void this.#probe(next);
    }
  }

  async #probe(watched: Watched): Promise<void> {
    const { clock, random } = this.#options;
    const begun = clock.now();
    this.#inFlight++;
    this.#probes++;
    const result = await this.#runWithTimeout(watched);
    this.#inFlight--;
    if (this.#watched.get(watched.task.id) === watched) {
      this.#apply(watched, result);
      const elapsed = clock.now() - begun;
      this.#schedule(watched, Math.max(0, probeInterval(watched.state, watched.plan.check, random.unit()) - elapsed));
    }
    this.#startWaiting();
  }

  /** Resolves no later than the timeout, whatever the probe does with its signal. */
  #runWithTimeout(watched: Watched): Promise<ProbeResult> {
    const { plan, task } = watched;
    const { timeoutMs } = plan.check;
    const running = new AbortController();
    watched.running = running;
    return new Promise((resolve) => {
      const finish = (result: ProbeResult) => {
        timer.cancel();
        running.signal.removeEventListener('abort', giveUp);
        watched.running = undefined;
        resolve(result);
      };
      const giveUp = () =>
        finish({ ok: false, reason: `no answer from ${formatTarget(plan.target)} within ${timeoutMs} ms` });
      const timer = this.#options.clock.schedule(timeoutMs, () => running.abort());
      running.signal.addEventListener('abort', giveUp);
      if (plan.target.kind === 'missing') return finish({ ok: false, reason: plan.target.reason });
      this.#options
        .probe(task.id, plan, running.signal)
        .then(finish, (error: unknown) => finish({ ok: false, reason: String(error) }));
    });
  }

  #apply(watched: Watched, result: ProbeResult): void {
    if (!result.ok) {
      this.#failures++;
      watched.reason = result.reason;
    }
    const { state, transition } = applyResult(watched.state, watched.plan.check, result, this.#options.clock.now());
    watched.state = state;
    if (transition !== undefined) {
      this.#transitions[transition.to]++;
      const { id, name: task, service } = watched.task;
      const target = formatTarget(watched.plan.target);
      const fields = { service, task, id, from: transition.from, probe: watched.plan.check.probe.kind, target };
      if (transition.to === 'healthy') this.#options.log.info('task is healthy', fields);
      else this.#options.log.warn('task is unhealthy', { ...fields, reason: watched.reason });
    }
    if (!watched.reporting) void this.#report(watched);
  }

  /** `starting` is never reported: until the first verdict what is on record stands. */
  async #report(watched: Watched): Promise<void> {
    watched.reporting = true;
    try {
      while (watched.state.status !== 'starting' && watched.state.status !== watched.reported) {
        const { status } = watched.state;
        await this.#options.report(watched.task.id, status);
        watched.reported = status;
      }
    } catch (error) {
      const { name: task, service, id } = watched.task;
      this.#options.log.error('health was not recorded; the next probe tries again', { service, task, id, error });
    } finally {
      watched.reporting = false;
    }
  }
}
