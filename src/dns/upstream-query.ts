// One question on its way to the upstreams: whom to ask next, how, and when to give up. PURE: a decision comes back from each
// event, and forwarder.ts carries it out.
import type { Response } from './response.ts';
import type { UpstreamHealth } from './upstream-health.ts';
import { FLAG_TC, FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL } from './wire.ts';

/** An upstream that has not answered for this long is not waited for alone any more. Most answer in a tenth of it. */
export const TRY_MS = 1000;
/** In all. Stub resolvers ask again, or give up, after 5 s: they must hear SERVFAIL before that. */
export const DEADLINE_MS = 4000;

/** How a question goes out. */
export interface Manner {
  readonly overTcp: boolean;
  /** With an OPT record. */
  readonly edns: boolean;
  /** In letters of random case, which an answer must repeat (draft-vixie-dnsext-dns0x20). */
  readonly spelled: boolean;
}

export type Step =
  | { readonly kind: 'send'; readonly upstream: number; readonly manner: Manner }
  | { readonly kind: 'finish'; readonly response: Response }
  | { readonly kind: 'fail' }
  | { readonly kind: 'wait' };

export class UpstreamQuery {
  readonly #order: readonly number[];
  readonly #health: UpstreamHealth;
  readonly #startedAt: number;
  /** These said that they cannot answer, or cannot be reached: no use asking again. */
  readonly #failed = new Set<number>();
  /** These sent something that may have been forged, and are asked where nobody can forge. */
  readonly #doubted = new Set<number>();
  readonly #edns: boolean;
  #turn = -1;

  /**
   * `upstreams`: who may be asked, the preferred one first. `edns`: the question goes with an OPT record, because the client's
   * came with one.
   */
  constructor(health: UpstreamHealth, upstreams: readonly number[], nowMs: number, edns: boolean) {
    this.#health = health;
    this.#order = health.order(upstreams);
    this.#startedAt = nowMs;
    this.#edns = edns;
  }

  /** How long to wait for what was sent before calling `timeout`, in milliseconds. */
  patience(nowMs: number): number {
    return Math.max(0, Math.min(TRY_MS, this.#startedAt + DEADLINE_MS - nowMs));
  }

  start(nowMs: number): Step {
    return this.#next(nowMs);
  }

  /** `patience` has run out since the last `send`. */
  timeout(nowMs: number): Step {
    const silent = this.#current();
    if (silent !== undefined) {
      this.#health.silent(silent, nowMs);
      if (this.#doubted.has(silent)) this.#health.changesCase(silent, nowMs);
    }
    return nowMs - this.#startedAt >= DEADLINE_MS ? { kind: 'fail' } : this.#next(nowMs);
  }

  /** The upstream cannot be reached so: no route, an ICMP answer, a TCP connection that failed. */
  unreachable(upstream: number, overTcp: boolean, nowMs: number): Step {
    if (overTcp && this.#doubted.has(upstream)) {
      // It answers by UDP alone, in its own spelling: better believed than not used at all.
      this.#doubted.delete(upstream);
      this.#health.changesCase(upstream, nowMs);
      return this.#send(upstream, false, nowMs);
    }
    if (!overTcp) this.#health.silent(upstream, nowMs);
    return this.#giveUpOn(upstream, nowMs);
  }

  /** A message that would be the upstream's answer, but spells the question in another way than ours. */
  miscased(upstream: number, nowMs: number): Step {
    if (this.#doubted.has(upstream)) return { kind: 'wait' };
    this.#doubted.add(upstream);
    return this.#send(upstream, true, nowMs);
  }

  /** A message that is surely the upstream's, and cannot be used. */
  useless(upstream: number, nowMs: number): Step {
    this.#health.answered(upstream);
    return this.#giveUpOn(upstream, nowMs);
  }

  /** A message that is surely the upstream's answer to this question, asked in this manner; `sameCase`: it repeats our spelling. */
  response(upstream: number, response: Response, { overTcp, edns }: Manner, sameCase: boolean, nowMs: number): Step {
    this.#health.answered(upstream);
    if (overTcp && !sameCase) this.#health.changesCase(upstream, nowMs);
    switch (response.rcode) {
      case NOERROR:
      case NXDOMAIN:
        if ((response.flags & FLAG_TC) === 0) return { kind: 'finish', response };
        return overTcp ? this.#giveUpOn(upstream, nowMs) : this.#send(upstream, true, nowMs);
      case FORMERR:
      case NOTIMP:
        // What servers from before EDNS say to it (RFC 6891 section 7).
        if (!edns) return this.#giveUpOn(upstream, nowMs);
        this.#health.lacksEdns(upstream, nowMs);
        return this.#send(upstream, overTcp, nowMs);
      case SERVFAIL:
      case REFUSED:
        return this.#giveUpOn(upstream, nowMs);
      default:
        return response.rcode > 0xf ? this.#giveUpOn(upstream, nowMs) : { kind: 'finish', response };
    }
  }

  #send(upstream: number, overTcp: boolean, nowMs: number): Step {
    const edns = this.#edns && this.#health.knowsEdns(upstream, nowMs);
    const spelled = this.#health.keepsCase(upstream, nowMs);
    return { kind: 'send', upstream, manner: { overTcp, edns, spelled } };
  }

  #giveUpOn(upstream: number, nowMs: number): Step {
    this.#failed.add(upstream);
    if (this.#failed.size === this.#order.length) return { kind: 'fail' };
    return upstream === this.#current() ? this.#next(nowMs) : { kind: 'wait' };
  }

  #current(): number | undefined {
    return this.#order[this.#turn % this.#order.length];
  }

  #next(nowMs: number): Step {
    for (let i = 0; i < this.#order.length; i++) {
      this.#turn++;
      const upstream = this.#current();
      if (upstream !== undefined && !this.#failed.has(upstream)) {
        return this.#send(upstream, false, nowMs);
      }
    }
    return { kind: 'fail' };
  }
}
