// One question on its way to the upstreams: whom to ask next, and when to give up. PURE: a decision comes back from each
// event, and forwarder.ts carries it out.
import type { Response } from './response.ts';
import { FLAG_TC, FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL } from './wire.ts';

/** An upstream that has not answered for this long is not waited for alone any more. Most answer in a tenth of it. */
export const TRY_MS = 1000;
/** In all. Stub resolvers ask again, or give up, after 5 s: they must hear SERVFAIL before that. */
export const DEADLINE_MS = 4000;
/** How long an upstream that was silent is asked only after the others. */
export const DOWN_MS = 10_000;

export type Step =
  | { readonly kind: 'send'; readonly upstream: number; readonly edns: boolean }
  | { readonly kind: 'send-tcp'; readonly upstream: number; readonly edns: boolean }
  | { readonly kind: 'finish'; readonly response: Response }
  | { readonly kind: 'fail' }
  | { readonly kind: 'wait' };

/** Which upstreams were silent lately. */
export class UpstreamHealth {
  readonly #downUntil: number[];

  constructor(count: number) {
    this.#downUntil = new Array<number>(count).fill(0);
  }

  /** In the configured order, the silent ones last. */
  order(nowMs: number): readonly number[] {
    const all = this.#downUntil.keys();
    const isDown = (upstream: number): number => ((this.#downUntil[upstream] ?? 0) > nowMs ? 1 : 0);
    return [...all].sort((a, b) => isDown(a) - isDown(b) || a - b);
  }

  silent(upstream: number, nowMs: number): void {
    this.#downUntil[upstream] = nowMs + DOWN_MS;
  }

  answered(upstream: number): void {
    this.#downUntil[upstream] = 0;
  }
}

export class UpstreamQuery {
  readonly #order: readonly number[];
  readonly #health: UpstreamHealth;
  readonly #startedAt: number;
  /** These said that they cannot answer, or cannot be reached: no use asking again. */
  readonly #failed = new Set<number>();
  /** These did not understand EDNS. */
  readonly #plain = new Set<number>();
  readonly #edns: boolean;
  #turn = -1;

  /** `edns`: the question goes with an OPT record, because the client's came with one. */
  constructor(health: UpstreamHealth, nowMs: number, edns: boolean) {
    this.#health = health;
    this.#order = health.order(nowMs);
    this.#startedAt = nowMs;
    this.#edns = edns;
  }

  /** How long to wait for what was sent before calling `timeout`, in milliseconds. */
  patience(nowMs: number): number {
    return Math.max(0, Math.min(TRY_MS, this.#startedAt + DEADLINE_MS - nowMs));
  }

  start(): Step {
    return this.#next();
  }

  /** `patience` has run out since the last `send`. */
  timeout(nowMs: number): Step {
    const silent = this.#current();
    if (silent !== undefined) this.#health.silent(silent, nowMs);
    return nowMs - this.#startedAt >= DEADLINE_MS ? { kind: 'fail' } : this.#next();
  }

  /** The upstream cannot be reached: no route, an ICMP answer, a TCP connection that failed. */
  unreachable(upstream: number, nowMs: number): Step {
    this.#health.silent(upstream, nowMs);
    return this.#giveUpOn(upstream);
  }

  /** A message that is surely the upstream's answer to this question. */
  response(upstream: number, response: Response, overTcp: boolean): Step {
    this.#health.answered(upstream);
    const edns = this.#edns && !this.#plain.has(upstream);
    switch (response.rcode) {
      case NOERROR:
      case NXDOMAIN:
        if ((response.flags & FLAG_TC) === 0) return { kind: 'finish', response };
        return overTcp ? this.#giveUpOn(upstream) : { kind: 'send-tcp', upstream, edns };
      case FORMERR:
      case NOTIMP:
        // What servers from before EDNS say to it (RFC 6891 section 7).
        if (!edns) return this.#giveUpOn(upstream);
        this.#plain.add(upstream);
        return { kind: 'send', upstream, edns: false };
      case SERVFAIL:
      case REFUSED:
        return this.#giveUpOn(upstream);
      default:
        return response.rcode > 0xf ? this.#giveUpOn(upstream) : { kind: 'finish', response };
    }
  }

  #giveUpOn(upstream: number): Step {
    this.#failed.add(upstream);
    if (this.#failed.size === this.#order.length) return { kind: 'fail' };
    return upstream === this.#current() ? this.#next() : { kind: 'wait' };
  }

  #current(): number | undefined {
    return this.#order[this.#turn % this.#order.length];
  }

  #next(): Step {
    for (let i = 0; i < this.#order.length; i++) {
      this.#turn++;
      const upstream = this.#current();
      if (upstream !== undefined && !this.#failed.has(upstream)) {
        return { kind: 'send', upstream, edns: this.#edns && !this.#plain.has(upstream) };
      }
    }
    return { kind: 'fail' };
  }
}
