// Asks upstreams for names that are not ours. Questions that are equal are asked once; answers are kept while they hold;
// what is under way is bounded in number, because a dead upstream must not cost more than a few bytes per question.
import { NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { AnswerCache } from './answer-cache.ts';
import type { Random } from '../runtime/random.ts';
import type { Upstream } from './command.ts';
import type { Asked, Query } from './query.ts';
import { type Response, writeResponse } from './response.ts';
import { type Step, UpstreamHealth, UpstreamQuery } from './upstream-query.ts';
import { type UpstreamSocket, UpstreamSockets } from './upstream-socket.ts';
import { writeError } from './reply.ts';
import { FLAG_CD, HEADER_BYTES, LOWER, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, SERVFAIL } from './wire.ts';

export interface ForwarderLimits {
  /** Different questions under way. Each costs a descriptor per upstream that was asked. */
  readonly questions: number;
  /** Clients waiting, over all questions. */
  readonly clients: number;
}

export const FORWARDER_LIMITS: ForwarderLimits = { questions: 1000, clients: 4000 };

/** Called with the finished message; it is valid only during the call. `failed`: it is our SERVFAIL. */
export type Deliver = (message: Uint8Array, length: number, failed: boolean) => void;

interface Waiting {
  readonly asked: Asked;
  readonly limit: number;
  readonly deliver: Deliver;
}

interface Pending {
  readonly key: string;
  readonly asked: Asked;
  readonly state: UpstreamQuery;
  readonly waiting: Waiting[];
  /** UDP sockets by upstream, so that a late answer of one that was given up on still counts. */
  readonly sockets: Map<number, UpstreamSocket>;
  timer: number;
}

export class Forwarder {
  readonly #loop: EventLoop;
  readonly #limits: ForwarderLimits;
  readonly #cache = new AnswerCache();
  readonly #sockets: UpstreamSockets;
  readonly #pending = new Map<string, Pending>();
  readonly #out = new Uint8Array(MAX_MESSAGE_BYTES);
  #upstreams: readonly Upstream[] = [];
  #health = new UpstreamHealth(0);
  #clients = 0;

  /** `random` must be unpredictable: query ids are made of it (RFC 5452 section 4.5). */
  constructor(loop: EventLoop, random: Random, limits: ForwarderLimits = FORWARDER_LIMITS) {
    this.#loop = loop;
    this.#limits = limits;
    this.#sockets = new UpstreamSockets(loop, random);
  }

  /** Questions under way. */
  get pending(): number {
    return this.#pending.size;
  }

  /** From now on these are asked, in this order. Unless they are the same, what is under way fails and what was kept goes. */
  setUpstreams(upstreams: readonly Upstream[]): void {
    if (sameUpstreams(upstreams, this.#upstreams)) return;
    for (const pending of [...this.#pending.values()]) this.#finish(pending, undefined);
    this.#upstreams = upstreams;
    this.#health = new UpstreamHealth(upstreams.length);
    this.#cache.clear();
  }

  /** Writes what is known already, within `limit` bytes, and returns its length; 0 when it must be asked for. */
  fromCache(query: Query, out: Uint8Array, at: number, limit: number): number {
    const cached = this.#cache.get(cacheKey(query), this.#loop.now());
    return cached === undefined ? 0 : writeResponse(cached.response, cached.ageS, query, out, at, limit);
  }

  /** Finds the answer and delivers it, exactly once, within DEADLINE_MS and a little; at once when it must fail. */
  ask(query: Query, limit: number, deliver: Deliver): void {
    const waiting: Waiting = { asked: query.keep(), limit, deliver };
    const key = cacheKey(query);
    const known = this.#pending.get(key);
    if (
      this.#clients >= this.#limits.clients ||
      (known === undefined && this.#pending.size >= this.#limits.questions)
    ) {
      this.#deliver(waiting, undefined);
      return;
    }
    this.#clients++;
    if (known !== undefined) {
      known.waiting.push(waiting);
      return;
    }
    const { asked } = waiting;
    const state = new UpstreamQuery(this.#health, this.#loop.now(), asked.hasEdns);
    const pending: Pending = { key, asked, state, waiting: [waiting], sockets: new Map(), timer: 0 };
    this.#pending.set(key, pending);
    this.#perform(pending, state.start());
  }

  /** Carries a step out; those that fail at once lead to the next one. */
  #perform(pending: Pending, first: Step): void {
    let step = first;
    while (step.kind === 'send' || step.kind === 'send-tcp') {
      const { upstream } = step;
      try {
        this.#send(pending, upstream, step.edns, step.kind === 'send-tcp');
        return;
      } catch (error) {
        if (!(error instanceof NativeError)) throw error;
        step = pending.state.unreachable(upstream, this.#loop.now());
      }
    }
    if (step.kind === 'finish') this.#finish(pending, step.response);
    if (step.kind === 'fail') this.#finish(pending, undefined);
  }

  #send(pending: Pending, upstream: number, edns: boolean, overTcp: boolean): void {
    this.#loop.clearTimer(pending.timer);
    pending.timer = this.#loop.setTimer(pending.state.patience(this.#loop.now()), () => {
      this.#perform(pending, pending.state.timeout(this.#loop.now()));
    });
    const { bytes, flags, dnssecOk, hasEdns } = pending.asked;
    const used = pending.sockets.get(upstream);
    if (used !== undefined && !used.overTcp && !overTcp && edns === hasEdns) {
      used.send();
      return;
    }
    if (used !== undefined) this.#sockets.close(used);
    pending.sockets.delete(upstream);
    const address = this.#upstreams[upstream];
    if (address === undefined) return;
    const question = { bytes, flags, dnssecOk, edns };
    const socket = this.#sockets.ask(address, question, overTcp, (heard, response) => {
      this.#heard(pending, upstream, heard, response);
    });
    pending.sockets.set(upstream, socket);
  }

  #heard(pending: Pending, upstream: number, socket: UpstreamSocket, response: Response | undefined): void {
    if (response !== undefined) {
      this.#perform(pending, pending.state.response(upstream, response, socket.overTcp));
      return;
    }
    this.#sockets.close(socket);
    pending.sockets.delete(upstream);
    this.#perform(pending, pending.state.unreachable(upstream, this.#loop.now()));
  }

  #finish(pending: Pending, response: Response | undefined): void {
    this.#pending.delete(pending.key);
    this.#loop.clearTimer(pending.timer);
    for (const socket of pending.sockets.values()) this.#sockets.close(socket);
    if (response !== undefined) this.#cache.put(pending.key, response, this.#loop.now());
    this.#clients -= pending.waiting.length;
    for (const waiting of pending.waiting) this.#deliver(waiting, response);
  }

  #deliver({ asked, limit, deliver }: Waiting, response: Response | undefined): void {
    const out = this.#out;
    const failed = response === undefined;
    const length = failed ? writeError(asked, SERVFAIL, out, 0) : writeResponse(response, 0, asked, out, 0, limit);
    deliver(out, length, failed);
  }
}

function sameUpstreams(a: readonly Upstream[], b: readonly Upstream[]): boolean {
  return a.length === b.length && a.every(({ address, port }, i) => b[i]?.address === address && b[i]?.port === port);
}

const lowered = Buffer.alloc(MAX_NAME_BYTES);

/** Questions that have the same answer: name without case, type, and the two flags that change what comes back. */
function cacheKey(query: Query): string {
  const { bytes, start, questionEnd } = query;
  const length = questionEnd - 4 - HEADER_BYTES;
  for (let i = 0; i < length; i++) lowered[i] = LOWER[bytes[start + HEADER_BYTES + i] as number] as number;
  const flags = (query.dnssecOk ? 'D' : '') + ((query.flags & FLAG_CD) === 0 ? '' : 'C');
  return `${flags}${query.type}${lowered.toString('latin1', 0, length)}`;
}
