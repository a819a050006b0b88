// Asks upstreams for names that are not ours. Questions that are equal are asked once; answers are kept while they hold, and
// stand in for later ones that cannot be had; what is under way is bounded in number, because a dead upstream must not cost
// more than a few bytes per question.
import { NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import type { Random } from '../runtime/random.ts';
import { TOTAL, UPSTREAM } from '../runtime/worker-env.ts';
import { ANSWER_CACHE_LIMITS, AnswerCache, type Cached } from './answer-cache.ts';
import { SOURCE } from './answer-source.ts';
import { cacheKey, wireNameOfKey } from './cache-key.ts';
import { ClientShares } from './client-shares.ts';
import { isBelow, type KeptAnswers, listKept } from './cache-listing.ts';
import type { Upstream, UpstreamRoute } from './command.ts';
import type { Asked, Query } from './query.ts';
import { writeError } from './reply.ts';
import { type Response, writeResponse } from './response.ts';
import { NO_UPSTREAM, SentQuestions, sharedQuestions } from './sent-questions.ts';
import { UpstreamHealth } from './upstream-health.ts';
import { type Manner, type Step, TRY_MS, UpstreamQuery } from './upstream-query.ts';
import { UpstreamRoutes } from './upstream-routes.ts';
import { type Told, type UpstreamSocket, UpstreamSockets } from './upstream-socket.ts';
import { MAX_MESSAGE_BYTES, SERVFAIL } from './wire.ts';

export interface ForwarderLimits {
  /** Different questions under way. Each costs a descriptor per upstream that was asked. */
  readonly questions: number;
  /** Clients waiting, over all questions. */
  readonly clients: number;
}

/** One client alone gets half of it (client-shares.ts). */
export const FORWARDER_LIMITS: ForwarderLimits = { questions: 2000, clients: 4000 };

/** RFC 8767 section 5: a client is not kept waiting longer for what can be had stale. Most give up, or ask again, after 2 s. */
export const STALE_AFTER_MS = 1800;

/** What this process or machine has run out of: descriptors, memory, ports. */
const OF_OUR_OWN: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EADDRNOTAVAIL']);

/** Called with the finished message, which is valid only during the call, and where it came from (an index of ANSWER_SOURCES). */
export type Deliver = (message: Uint8Array, length: number, source: number) => void;

export interface Forwarding {
  readonly upstreams: readonly Upstream[];
  readonly routes?: readonly UpstreamRoute[];
  readonly cacheBytes?: number;
  readonly sentQuestions?: Int32Array;
}

interface Waiting {
  readonly client: number;
  readonly asked: Asked;
  readonly limit: number;
  readonly deliver: Deliver;
}

interface Pending {
  readonly key: string;
  readonly asked: Asked;
  readonly state: UpstreamQuery;
  waiting: Waiting[];
  /** Sockets by upstream, so that a late answer of one that was given up on still counts. */
  readonly sockets: Map<number, UpstreamSocket>;
  timer: number;
  /** What may stand in; whoever comes after it was given once gets it at once. */
  readonly stale: Response | undefined;
  staleGiven: boolean;
  staleTimer: number;
}

export class Forwarder {
  readonly #loop: EventLoop;
  readonly #limits: ForwarderLimits;
  readonly #totals: Float64Array;
  readonly #cache = new AnswerCache();
  readonly #sockets: UpstreamSockets;
  readonly #pending = new Map<string, Pending>();
  /** Of questions to silent upstreams for which nobody waits. */
  readonly #trials = new Map<UpstreamSocket, number>();
  readonly #out = new Uint8Array(MAX_MESSAGE_BYTES);
  #forwarding = '';
  #routes = new UpstreamRoutes([], []);
  #health = new UpstreamHealth(0);
  readonly #shares = new ClientShares();
  #sent = new SentQuestions(sharedQuestions());

  /** `random` must be unpredictable: query ids are made of it (RFC 5452 section 4.5). `totals` is indexed by TOTAL. */
  constructor(loop: EventLoop, random: Random, totals: Float64Array, limits: ForwarderLimits = FORWARDER_LIMITS) {
    this.#loop = loop;
    this.#totals = totals;
    this.#limits = limits;
    this.#sockets = new UpstreamSockets(loop, random);
  }

  /** Questions under way. */
  get pending(): number {
    return this.#pending.size;
  }

  /** From now on these are asked, in this order. Unless they are the same, what is under way fails and what was kept goes. */
  setUpstreams(forwarding: Forwarding): void {
    const { upstreams, routes = [], cacheBytes = ANSWER_CACHE_LIMITS.bytes, sentQuestions } = forwarding;
    const text = JSON.stringify([
      upstreams.map(placeOf),
      routes.map((one) => [one.suffix, one.upstreams.map(placeOf)]),
    ]);
    this.#cache.resize(cacheBytes);
    this.#countCache();
    if (text === this.#forwarding) return;
    this.#forwarding = text;
    if (sentQuestions !== undefined) this.#sent = new SentQuestions(sentQuestions);
    for (const pending of [...this.#pending.values()]) this.#end(pending, undefined);
    for (const trial of [...this.#trials.keys()]) this.#endTrial(trial);
    this.#routes = new UpstreamRoutes(upstreams, routes);
    this.#health = new UpstreamHealth(this.#routes.servers.length);
    this.#totals.fill(0, TOTAL.dnsUpstreams, TOTAL.dnsUpstreams + TOTAL.dnsUpstreamsMost * UPSTREAM.stride);
    this.flush();
  }

  /** Forgets what was answered about a name and those below it, or everything. */
  flush(below?: string): void {
    this.#cache.forget(isBelow(below));
    this.#countCache();
  }

  /** What is kept of this name and those below it, or of all. */
  list(below: string | undefined, atMost: number): KeptAnswers {
    return listKept(this.#cache.list(this.#loop.now()), below, atMost);
  }

  /** What is known already; undefined: it must be asked for. */
  known(query: Query): Cached | undefined {
    return this.#cache.get(cacheKey(query), this.#loop.now());
  }

  /**
   * Finds the answer and delivers it, exactly once, within DEADLINE_MS and a little; at once when it must fail. `client` is the number
   * of whoever asks.
   */
  ask(query: Query, client: number, limit: number, deliver: Deliver): void {
    const waiting: Waiting = { client, asked: query.keep(), limit, deliver };
    const echo = this.#sent.find(waiting.asked.bytes);
    if (echo !== NO_UPSTREAM) {
      // Whoever asks this was asked by us: were it to wait, it would wait for itself.
      this.#countUpstream(echo, UPSTREAM.loops);
      give(waiting, undefined, SOURCE.stale, this.#out);
      return;
    }
    const key = cacheKey(query);
    const known = this.#pending.get(key);
    if (known !== undefined) {
      this.#join(known, waiting);
      return;
    }
    const now = this.#loop.now();
    const upstreams = this.#routes.find(wireNameOfKey(key));
    const stale = this.#cache.stale(key, now);
    const room = Math.min(this.#room, this.#limits.questions - this.#pending.size);
    if (upstreams.length === 0 || !this.#mayWait(client, room)) {
      give(waiting, stale, SOURCE.stale, this.#out);
      return;
    }
    this.#shares.enter(client);
    const { asked } = waiting;
    const due = this.#health.takeDue(upstreams, now);
    const silent = upstreams.every((one) => this.#health.isSilent(one));
    const state = new UpstreamQuery(this.#health, upstreams, now, asked.hasEdns);
    const sockets = new Map<number, UpstreamSocket>();
    const [timer, staleTimer, staleGiven] = [0, 0, false];
    const pending = { key, asked, state, waiting: [waiting], sockets, timer, stale, staleGiven, staleTimer };
    this.#pending.set(key, pending);
    if (stale !== undefined && silent) this.#giveStale(pending);
    else if (stale !== undefined) {
      pending.staleTimer = this.#loop.setTimer(STALE_AFTER_MS, () => this.#giveStale(pending));
    }
    const first = state.start(now);
    for (const one of due) if (first.kind !== 'send' || one !== first.upstream) this.#try(one, asked);
    this.#perform(pending, first);
  }

  /** One client more for a question that is under way. */
  #join(pending: Pending, waiting: Waiting): void {
    if (pending.staleGiven || !this.#mayWait(waiting.client, this.#room)) {
      give(waiting, pending.stale, SOURCE.stale, this.#out);
    } else {
      this.#shares.enter(waiting.client);
      this.#count(TOTAL.dnsMerged);
      pending.waiting.push(waiting);
    }
  }

  /** How many clients more may wait. */
  get #room(): number {
    return this.#limits.clients - this.#shares.total;
  }

  /** One more of this client's, where there is room for so many of anybody's. Counts why not. */
  #mayWait(client: number, room: number): boolean {
    if (room > 0 && this.#shares.mayWait(client, room)) return true;
    this.#count(room > 0 ? TOTAL.dnsOverShare : TOTAL.dnsOverCap);
    return false;
  }

  /** Carries a step out; those that fail at once lead to the next one. */
  #perform(pending: Pending, first: Step): void {
    let step = first;
    while (step.kind === 'send') {
      const { upstream, manner } = step;
      try {
        this.#send(pending, upstream, manner);
        return;
      } catch (error) {
        if (!(error instanceof NativeError)) throw error;
        if (OF_OUR_OWN.has(error.code)) {
          // No upstream is to blame, and the next question may be more fortunate.
          this.#count(TOTAL.dnsOverCap);
          this.#end(pending, undefined);
          return;
        }
        step = pending.state.unreachable(upstream, manner.overTcp, this.#loop.now());
        this.#showHealth(upstream);
      }
    }
    if (step.kind === 'finish') this.#finish(pending, step.response);
    if (step.kind === 'fail') this.#finish(pending, undefined);
  }

  #send(pending: Pending, upstream: number, manner: Manner): void {
    this.#loop.clearTimer(pending.timer);
    pending.timer = this.#loop.setTimer(pending.state.patience(this.#loop.now()), () => {
      this.#perform(pending, pending.state.timeout(this.#loop.now()));
      this.#showHealth(upstream);
    });
    this.#countUpstream(upstream, UPSTREAM.asked);
    const used = pending.sockets.get(upstream);
    if (used !== undefined && !manner.overTcp && sameManner(used.manner, manner)) {
      used.send();
      return;
    }
    if (used !== undefined) this.#close(used);
    pending.sockets.delete(upstream);
    const socket = this.#sockets.ask(this.#server(upstream), pending.asked, manner, (heard, told) => {
      this.#heard(pending, upstream, heard, told);
    });
    pending.sockets.set(upstream, socket);
    if (manner.spelled) this.#sent.add(socket.question, upstream);
  }

  #close(socket: UpstreamSocket): void {
    this.#sent.remove(socket.question);
    this.#sockets.close(socket);
  }

  #heard(pending: Pending, upstream: number, socket: UpstreamSocket, told: Told): void {
    const { state, sockets } = pending;
    const now = this.#loop.now();
    if (told.kind === 'unreachable') {
      this.#close(socket);
      sockets.delete(upstream);
    } else {
      this.#countUpstream(upstream, UPSTREAM.answered);
    }
    const step = nextStep(state, upstream, socket.manner, told, now);
    this.#showHealth(upstream);
    this.#perform(pending, step);
  }

  /** Sends a question of somebody else's to a silent upstream as well: any answer says that it is there again. */
  #try(upstream: number, asked: Asked): void {
    const manner: Manner = { overTcp: false, edns: asked.hasEdns, spelled: true };
    try {
      const socket = this.#sockets.ask(this.#server(upstream), asked, manner, (heard, told) => {
        if (told.kind === 'unreachable') this.#health.silent(upstream, this.#loop.now());
        else this.#health.answered(upstream);
        this.#showHealth(upstream);
        this.#endTrial(heard);
      });
      this.#countUpstream(upstream, UPSTREAM.asked);
      this.#trials.set(
        socket,
        this.#loop.setTimer(TRY_MS, () => this.#endTrial(socket)),
      );
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
    }
  }

  #endTrial(socket: UpstreamSocket): void {
    this.#loop.clearTimer(this.#trials.get(socket) ?? 0);
    this.#trials.delete(socket);
    this.#sockets.close(socket);
  }

  #finish(pending: Pending, response: Response | undefined): void {
    const now = this.#loop.now();
    if (response !== undefined) this.#cache.put(pending.key, response, now);
    else this.#cache.fail(pending.key, now);
    this.#countCache();
    this.#end(pending, response);
  }

  #end(pending: Pending, response: Response | undefined): void {
    this.#pending.delete(pending.key);
    this.#loop.clearTimer(pending.timer);
    this.#loop.clearTimer(pending.staleTimer);
    for (const socket of pending.sockets.values()) this.#close(socket);
    const { waiting } = pending;
    for (const { client } of waiting) this.#shares.leave(client);
    for (const one of waiting) {
      if (response === undefined) give(one, pending.stale, SOURCE.stale, this.#out);
      else give(one, response, SOURCE.forwarded, this.#out);
    }
  }

  /** The question goes on, so that the next client finds its answer. */
  #giveStale(pending: Pending): void {
    const { waiting } = pending;
    for (const { client } of waiting) this.#shares.leave(client);
    pending.waiting = [];
    pending.staleGiven = true;
    for (const one of waiting) give(one, pending.stale, SOURCE.stale, this.#out);
  }

  #server(upstream: number): Upstream {
    const server = this.#routes.servers[upstream];
    if (server === undefined) throw new RangeError(`there is no upstream ${upstream}`);
    return server;
  }

  #count(counter: number): void {
    this.#totals[counter] = (this.#totals[counter] as number) + 1;
  }

  #countUpstream(upstream: number, what: number): void {
    if (upstream < TOTAL.dnsUpstreamsMost) this.#count(TOTAL.dnsUpstreams + upstream * UPSTREAM.stride + what);
  }

  #showHealth(upstream: number): void {
    if (upstream >= TOTAL.dnsUpstreamsMost) return;
    const silent = this.#health.isSilent(upstream) ? 1 : 0;
    this.#totals[TOTAL.dnsUpstreams + upstream * UPSTREAM.stride + UPSTREAM.silent] = silent;
  }

  #countCache(): void {
    this.#totals[TOTAL.dnsCacheEntries] = this.#cache.size;
    this.#totals[TOTAL.dnsCacheBytes] = this.#cache.bytes;
  }
}

/** Written into `out`. Without a response it is SERVFAIL, whatever the source. */
function give(
  { asked, limit, deliver }: Waiting,
  response: Response | undefined,
  source: number,
  out: Uint8Array,
): void {
  if (response === undefined) deliver(out, writeError(asked, SERVFAIL, out, 0), SOURCE.failed);
  else deliver(out, writeResponse(response, 0, asked, out, 0, limit), source);
}

function nextStep(state: UpstreamQuery, upstream: number, manner: Manner, told: Told, nowMs: number): Step {
  switch (told.kind) {
    case 'answer':
      return state.response(upstream, told.response, manner, told.sameCase, nowMs);
    case 'useless':
      return state.useless(upstream, nowMs);
    case 'miscased':
      return state.miscased(upstream, nowMs);
    case 'unreachable':
      return state.unreachable(upstream, manner.overTcp, nowMs);
  }
}

function sameManner(a: Manner, b: Manner): boolean {
  return a.overTcp === b.overTcp && a.edns === b.edns && a.spelled === b.spelled;
}

function placeOf({ address, port }: Upstream): string {
  return `${address} ${port}`;
}
