// This node's lease: everything that goes with the node lies under it. It is kept alive as long as the agent runs, and when it has
// ended (the node was cut off, the machine slept, the store was lost) another is taken and everything is put under that.
import type { Presence } from '../model/node.ts';
import { type Clock, type Scheduled, sleep } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { LeaseId, Store } from '../store/store.ts';

/** A node whose agent has gone is out of the store after this. Shorter, and a busy store would lose nodes that are well. */
export const LEASE_MS = 10_000;
/** Three chances within the lease. */
const KEEP_ALIVE_MS = LEASE_MS / 4;
const RETRY_MS = 500;
/** How often somebody else's lease is looked at. */
const LOOK_MS = 100;

export interface MembershipOptions {
  readonly store: Pick<Store, 'grantLease' | 'keepAlive' | 'revokeLease'>;
  readonly clock: Clock;
  readonly log: Log;
  /** As it is now. */
  readonly presence: () => Presence;
  /** Puts all that is this node's under a lease; resolves with what cannot come back. */
  announce(presence: Presence, lease: LeaseId): Promise<readonly string[]>;
  /** Something was changed that the store has not been told. */
  hasUnsaid(): boolean;
}

export class Membership {
  readonly #options: MembershipOptions;
  #lease: LeaseId | undefined;
  #establishing: Promise<void> | undefined;
  #timer: Scheduled | undefined;
  /** Everything of this node lies under the lease. */
  #isAnnounced = false;
  #isAway = false;
  #closed = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /** Undefined until the store has granted one. */
  get current(): LeaseId | undefined {
    return this.#lease;
  }

  /** Takes a lease and announces this node. False when the store does not answer: it is tried again from then on. */
  async join(): Promise<boolean> {
    try {
      await this.renew();
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  /** The lease has ended, or there is none yet. Rejects when the store does not answer. */
  renew(): Promise<void> {
    this.#establishing ??= this.#establish().finally(() => {
      this.#establishing = undefined;
    });
    return this.#establishing;
  }

  /** Somebody has seen that what lay under the lease is gone. */
  lost(): void {
    if (this.#closed || this.#establishing !== undefined) return;
    this.#options.log.warn('the lease of this node has ended; what is on it is put on record again');
    this.#isAnnounced = false;
    this.#schedule(0);
  }

  /** This node's presence has become another. Told when the store answers. */
  changed(): void {
    if (this.#closed || this.#lease === undefined) return;
    this.#isAnnounced = false;
    this.#schedule(0);
  }

  /** `leave`: nothing of this node is to stay on record; otherwise its lease runs out, unless an agent is back by then. */
  async close(leave: boolean): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    if (!leave || this.#lease === undefined) return;
    try {
      await this.#options.store.revokeLease(this.#lease);
    } catch (error) {
      this.#options.log.warn('this node stays on record until its lease has ended', { error });
    }
  }

  async #establish(): Promise<void> {
    const { store, announce, presence, log } = this.#options;
    this.#isAnnounced = false;
    const lease = await store.grantLease(LEASE_MS);
    this.#lease = lease;
    for (const what of await announce(presence(), lease)) log.error('not put on record again', { what });
    this.#isAnnounced = true;
    if (this.#isAway) log.info('this node is on record again');
    this.#isAway = false;
    this.#schedule(KEEP_ALIVE_MS);
  }

  async #keepAlive(): Promise<void> {
    const { store, hasUnsaid } = this.#options;
    try {
      const alive = this.#isAnnounced && this.#lease !== undefined && (await store.keepAlive(this.#lease));
      if (!alive || hasUnsaid()) await this.renew();
      else this.#schedule(KEEP_ALIVE_MS);
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    if (!this.#isAway) this.#options.log.warn('this node cannot keep itself on record; trying on', { error });
    this.#isAway = true;
    this.#schedule(RETRY_MS);
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#closed) this.#timer = this.#options.clock.schedule(delayMs, () => void this.#keepAlive());
  }
}

/** Waits for something of somebody else's to go. Resolves with whether it did. */
export async function waitUntilGone(isThere: () => boolean, clock: Clock, atMostMs: number): Promise<boolean> {
  const deadline = clock.now() + atMostMs;
  while (isThere() && clock.now() < deadline) await sleep(clock, LOOK_MS);
  return !isThere();
}
