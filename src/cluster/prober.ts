// Asks every other node's agent whether it is there, answers the others, and says whom this node suspects. `suspicion` decides
// when and whom; this file holds the socket, the timer and what was asked.
import type { IpAddress } from '../model/address.ts';
import type { NodeId } from '../model/node.ts';
import type { PortNumber } from '../model/port.ts';
import type { Clock, Scheduled } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { Random } from '../runtime/random.ts';
import { type Answer, Asks, type Question } from './asks.ts';
import {
  type AppliedState,
  decodeMessage,
  encodeMessage,
  isProbeId,
  KEY_BYTES,
  type Nonce,
  newNonce,
  type ProbeAnswer,
  type ProbeRequest,
  type Unreadable,
} from './probe-message.ts';
import { type Peer, type PeerView, viewOf } from './peer.ts';
import { type Place, ProbeSocket } from './probe-socket.ts';
import { RecentSet } from './recent-set.ts';
import * as suspicion from './suspicion.ts';

/** Why a datagram was passed over. */
export type DropReason =
  | Unreadable
  /** Meant for another node, or from another node than was asked. */
  | 'misdirected'
  /** A request that was answered before. */
  | 'replayed'
  /** An answer to nothing that was asked, or asked too long ago, or answered before. */
  | 'stale'
  /** An answer from another address than was asked. */
  | 'wrong-source';

/** Since the start; for metrics. */
export interface ProberCounts {
  readonly requestsSent: number;
  readonly requestsAnswered: number;
  readonly answersReceived: number;
  readonly sendErrors: number;
  readonly suspicions: number;
  /** Times that this process stood still for longer than half a second, so that nothing could be held against anybody. */
  readonly stalls: number;
  readonly dropped: Readonly<Record<DropReason, number>>;
}

export interface ProberOptions {
  readonly nodeId: NodeId;
  /** 16 hexadecimal digits, others at every start of the agent. */
  readonly instance: string;
  /** 32 bytes, the same on all nodes. */
  readonly key: Buffer;
  /** One address of this machine, the one that others know it by: an answer from another is not believed. Port 0: any. */
  readonly bind: { readonly address: IpAddress; readonly port: number };
  readonly clock: Clock;
  /** Nonces come from it, so it must not be foreseeable. */
  readonly random: Random;
  readonly log: Log;
  /** What this node answers; called for every answer. */
  readonly applied: () => AppliedState;
  /** A peer has answered, from that address. */
  readonly onAnswer?: (address: IpAddress) => void;
  /** Never called from within a call of the prober. A suspected peer that is removed is no longer suspected. */
  readonly onSuspicion: (nodeId: NodeId, suspected: boolean) => void;
}

interface Asked {
  readonly at: number;
  readonly place: Place;
  readonly nodeId?: NodeId | undefined;
  readonly question?: Question | undefined;
}

/** An answer that comes later tells nothing of whether the node is there. */
const ASKED_MS = 5000;
/** A request seen again within this time is a replay. An older one is answered: that is one small datagram, and tells no secret. */
const REPLAY_MS = 30_000;
/** Nonces, in each half of the memory: 130 nodes asking at their usual rate. */
const REPLAY_LIMIT = 8192;
/** Of log lines for one reason. */
const LOG_INTERVAL_MS = 60_000;

export class Prober {
  readonly #options: ProberOptions;
  readonly #clock: Clock;
  #key: Buffer;
  #socket: ProbeSocket | undefined;
  readonly #peers = new Map<NodeId, Peer>();
  /** By nonce, in order of time. */
  readonly #asked = new Map<Nonce, Asked>();
  readonly #asks: Asks;
  readonly #requests: RecentSet<Nonce>;
  /** Whom the owner knows to be suspected. */
  readonly #told = new Set<NodeId>();
  readonly #logged = new Map<string, number>();
  #timer: Scheduled | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #telling: Scheduled | undefined;
  #judging: Scheduled | undefined;
  #closed = false;
  #counts = { requestsSent: 0, requestsAnswered: 0, answersReceived: 0, sendErrors: 0, suspicions: 0, stalls: 0 };
  readonly #dropped: Record<DropReason, number> = {
    malformed: 0,
    'other-version': 0,
    'wrong-key': 0,
    misdirected: 0,
    replayed: 0,
    stale: 0,
    'wrong-source': 0,
  };

  /** Answers from then on; asks nobody until it is told whom. Rejects with ClusterError. */
  static async open(options: ProberOptions): Promise<Prober> {
    const prober = new Prober(options);
    prober.#socket = await prober.#bind(options.bind.address, options.bind.port);
    return prober;
  }

  private constructor(options: ProberOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#key = checkedKey(options.key);
    this.#asks = new Asks(options.clock);
    this.#requests = new RecentSet(REPLAY_MS, REPLAY_LIMIT);
  }

  /** Where it really listens. */
  get place(): Place {
    return this.#socket?.place ?? { address: this.#options.bind.address, port: this.#options.bind.port as PortNumber };
  }

  /** Asks and answers at another of this machine's addresses, at the same port. Rejects with ClusterError, and then goes on as before. */
  async moveTo(address: IpAddress): Promise<void> {
    if (address === this.place.address) return;
    const former = this.#socket;
    const next = await this.#bind(address, this.place.port);
    this.#socket = next;
    await former?.close();
    if (this.#closed) await next.close();
  }

  #bind(address: IpAddress, port: number): Promise<ProbeSocket> {
    return ProbeSocket.open(address, port, {
      onMessage: (bytes, source) => this.#receive(bytes, source),
      onError: (error) => {
        this.#counts.sendErrors++;
        this.#logSeldom('probe not sent', { error });
      },
    });
  }

  get counts(): ProberCounts {
    return { ...this.#counts, dropped: { ...this.#dropped } };
  }

  /** From now on messages are written and read with this key only. */
  setKey(key: Buffer): void {
    this.#key = checkedKey(key);
  }

  /** All other nodes; this one, when it is among them, is passed over. A peer that is new has 2 s to answer before it is suspected. */
  setPeers(peers: ReadonlyMap<NodeId, Place>): void {
    const now = this.#clock.now();
    for (const id of [...this.#peers.keys()]) {
      if (peers.has(id)) continue;
      this.#peers.delete(id);
      this.#asks.giveUp(id);
    }
    for (const [id, place] of peers) {
      if (id === this.#options.nodeId) continue;
      if (!isProbeId(id)) {
        this.#logSeldom('node with an unusable id is not probed', { node: id });
        continue;
      }
      const peer = this.#peers.get(id);
      if (peer === undefined) {
        this.#peers.set(id, { place, watch: suspicion.beginWatch(now, this.#options.random.unit()) });
      } else if (!samePlace(peer.place, place)) {
        // It was started anew: whether it answers there is yet to be seen.
        const watch = { ...suspicion.beginWatch(now, 0), suspected: peer.watch.suspected };
        this.#peers.set(id, { place, watch });
      }
    }
    this.#tellSoon();
    this.#arm();
  }

  peers(): ReadonlyMap<NodeId, PeerView> {
    return new Map([...this.#peers].map(([id, peer]) => [id, viewOf(peer)]));
  }

  /** What a node answers now; undefined when it does not in time, or is no peer. */
  ask(nodeId: NodeId, timeoutMs: number, signal?: AbortSignal): Promise<Answer | undefined> {
    return this.#askNode(nodeId, () => true, timeoutMs, signal);
  }

  /** Whether another agent of this cluster is there, and which. This agent itself, found under that address, does not count. */
  askAddress(
    address: IpAddress,
    port: PortNumber,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Answer | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    const accept = ({ instance }: Answer) => instance !== this.#options.instance;
    const send = (question: Question) => this.#request({ address, port }, undefined, question);
    return this.#asks.ask({ accept, send, timeoutMs, signal });
  }

  /**
   * Waits until those nodes have that revision of the store in effect, and resolves with the ones that have not said so: when all
   * have, `deadlineMs` from now, or when the signal is aborted. A node that is no peer, or ceases to be one, is not waited for.
   */
  async waitApplied(
    nodeIds: Iterable<NodeId>,
    revision: number,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<NodeId[]> {
    const waits = [...new Set(nodeIds)].map(async (nodeId) => {
      const answer = await this.#askNode(nodeId, ({ applied }) => applied.revision >= revision, deadlineMs, signal);
      return answer === undefined ? [nodeId] : [];
    });
    return (await Promise.all(waits)).flat();
  }

  /** Whoever waits for an answer is told that there is none; nobody is told of suspicions any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of [this.#timer, this.#telling, this.#judging]) timer?.cancel();
    this.#asks.close();
    this.#peers.clear();
    this.#asked.clear();
    await this.#socket?.close();
  }

  #askNode(
    nodeId: NodeId,
    accept: Question['accept'],
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Answer | undefined> {
    const { nodeId: self, instance, applied } = this.#options;
    if (this.#closed || (nodeId !== self && !this.#peers.has(nodeId))) return Promise.resolve(undefined);
    const send = (question: Question) => {
      const peer = this.#peers.get(nodeId);
      if (peer !== undefined) this.#request(peer.place, nodeId, question);
      else this.#asks.hear({ nodeId: self, instance, applied: applied() });
    };
    return this.#asks.ask({ nodeId, accept, send, timeoutMs, signal });
  }

  #request(place: Place, nodeId?: NodeId, question?: Question): void {
    const at = this.#clock.now();
    const nonce = newNonce(this.#options.random);
    this.#forget(at);
    this.#asked.set(nonce, { at, place, nodeId, question });
    const from = this.#options.nodeId;
    const request: ProbeRequest = { kind: 'request', from, nonce, ...(nodeId === undefined ? {} : { to: nodeId }) };
    this.#counts.requestsSent++;
    this.#socket?.send(encodeMessage(request, this.#key), place);
  }

  #receive(bytes: Buffer, source: Place): void {
    const problem = this.#closed ? undefined : this.#take(bytes, source);
    if (problem === undefined) return;
    this.#dropped[problem]++;
    this.#logSeldom('probe passed over', { reason: problem, source: source.address, port: source.port });
  }

  #take(bytes: Buffer, source: Place): DropReason | undefined {
    // Port 0 can be written into a datagram, but nothing can be sent there.
    if (source.port === 0) return 'wrong-source';
    const message = decodeMessage(bytes, this.#key);
    if (typeof message === 'string') return message;
    return message.kind === 'request' ? this.#answer(message, source) : this.#learn(message, source);
  }

  #answer(request: ProbeRequest, source: Place): DropReason | undefined {
    const { nodeId, instance, applied } = this.#options;
    const now = this.#clock.now();
    if (request.to !== undefined && request.to !== nodeId) return 'misdirected';
    if (!this.#requests.add(request.nonce, now)) return 'replayed';
    const answer = { kind: 'answer', from: nodeId, to: request.from, nonce: request.nonce, instance } as const;
    this.#socket?.send(encodeMessage({ ...answer, applied: applied() }, this.#key), source);
    this.#counts.requestsAnswered++;
    const peer = this.#peers.get(request.from);
    if (peer?.watch.suspected) {
      peer.watch = suspicion.heard(peer.watch, now);
      this.#arm();
    }
    return undefined;
  }

  #learn(message: ProbeAnswer, source: Place): DropReason | undefined {
    const asked = this.#asked.get(message.nonce);
    const now = this.#clock.now();
    if (asked === undefined || now - asked.at > ASKED_MS) return 'stale';
    if (!samePlace(asked.place, source)) return 'wrong-source';
    if (message.to !== this.#options.nodeId || (asked.nodeId ?? message.from) !== message.from) return 'misdirected';
    this.#asked.delete(message.nonce);
    this.#counts.answersReceived++;
    const answer: Answer = { nodeId: message.from, instance: message.instance, applied: message.applied };
    const peer = this.#peers.get(answer.nodeId);
    if (peer !== undefined && samePlace(peer.place, source)) {
      if (peer.watch.suspected) this.#tellSoon();
      peer.watch = suspicion.answered(peer.watch, now, now - asked.at);
      peer.lastAnswerAt = now;
      peer.answer = answer;
      this.#options.onAnswer?.(source.address);
    }
    this.#asks.hear(answer, asked.question);
    return undefined;
  }

  /** One timer for all peers, at the time of whichever is due first. */
  #arm(): void {
    if (this.#closed) return;
    let first = Number.POSITIVE_INFINITY;
    for (const { watch } of this.#peers.values()) first = Math.min(first, suspicion.nextStep(watch));
    if (first === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = first;
    if (first === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.schedule(Math.max(0, first - this.#clock.now()), () => this.#tick());
  }

  #tick(): void {
    const now = this.#clock.now();
    const late = now - this.#timerAt;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const stalled = late > suspicion.STALL_MS;
    if (stalled) this.#counts.stalls++;
    const silent: [NodeId, Peer][] = [];
    for (const [id, peer] of this.#peers) {
      if (stalled) peer.watch = suspicion.excuse(peer.watch, now, late);
      const due = suspicion.dueProbes(peer.watch, now);
      peer.watch = due.watch;
      for (let probe = 0; probe < due.probes; probe++) this.#request(peer.place, id);
      if (suspicion.isSilent(peer.watch, now)) silent.push([id, peer]);
    }
    if (silent.length > 0) this.#judgeSoon(silent);
    else this.#arm();
  }

  /** Timers run before sockets are read: an answer that has arrived is read first. */
  #judgeSoon(silent: readonly [NodeId, Peer][]): void {
    this.#judging?.cancel();
    this.#judging = this.#clock.schedule(0, () => {
      const now = this.#clock.now();
      for (const [id, peer] of silent) {
        if (this.#peers.get(id) !== peer || !suspicion.isSilent(peer.watch, now)) continue;
        peer.watch = suspicion.suspect(peer.watch, now);
        this.#counts.suspicions++;
      }
      this.#tellSoon();
      this.#arm();
    });
  }

  #forget(now: number): void {
    for (const [nonce, { at }] of this.#asked) {
      if (now - at <= ASKED_MS) return;
      this.#asked.delete(nonce);
    }
  }

  /** The owner may be changing something while it calls us, so it is told afterwards, and only what has become of it. */
  #tellSoon(): void {
    if (this.#closed) return;
    this.#telling ??= this.#clock.schedule(0, () => {
      this.#telling = undefined;
      const suspected = new Set([...this.#peers].flatMap(([id, { watch }]) => (watch.suspected ? [id] : [])));
      for (const id of [...this.#told]) if (!suspected.has(id)) this.#tell(id, false);
      for (const id of suspected) if (!this.#told.has(id)) this.#tell(id, true);
    });
  }

  #tell(id: NodeId, suspected: boolean): void {
    if (suspected) this.#told.add(id);
    else this.#told.delete(id);
    this.#options.onSuspicion(id, suspected);
  }

  /** Whoever can send us datagrams must not be able to fill the log. */
  #logSeldom(message: string, fields: Readonly<Record<string, unknown>>): void {
    const now = this.#clock.now();
    const which = `${message} ${String(fields.reason)}`;
    const last = this.#logged.get(which);
    if (last !== undefined && now - last < LOG_INTERVAL_MS) return;
    this.#logged.set(which, now);
    if (fields.reason === 'stale') this.#options.log.debug(message, fields);
    else this.#options.log.warn(message, fields);
  }
}

function checkedKey(key: Buffer): Buffer {
  if (key.length !== KEY_BYTES) throw new RangeError(`the probes' key has ${key.length} bytes, not ${KEY_BYTES}`);
  return key;
}

function samePlace(a: Place, b: Place): boolean {
  return a.address === b.address && a.port === b.port;
}
