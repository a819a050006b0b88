// The way to the endpoints of a worker's UDP flows: the datagrams of one received batch are sorted by flow, so that those of
// each leave together, as one message that the kernel cuts.
import { MSG_DONTWAIT, MSG_NOSIGNAL } from '../native/constants.ts';
import type { DatagramBatch } from '../native/datagram-batch.ts';
import { ECONNREFUSED, EHOSTUNREACH, EINTR, EMSGSIZE, ENETUNREACH, errno } from '../native/errno.ts';
import { type Fd, type Pointer, send } from '../native/libc.ts';
import { TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import { addTo, type UdpFlows } from './udp-flows.ts';
import type { UdpPlacement } from './udp-placement.ts';

export interface UdpForwardingPort {
  readonly env: WorkerEnv;
  readonly flows: UdpFlows;
  readonly placement: UdpPlacement;
  /** What was received. Its queue is used for sending. */
  readonly inbox: DatagramBatch;
  /** Flows at once. */
  readonly capacity: number;
  now(): number;
  end(flow: number): void;
}

export class UdpForwarding {
  readonly #port: UdpForwardingPort;
  /** Flow → its pile + 1; 0: nothing of it waits. */
  readonly #pileOf: Int32Array;
  /** Of each pile: its flow, its first and last datagram, and how many. */
  readonly #flowOf: Int32Array;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #count: Int32Array;
  /** Datagram → the next one of its pile. */
  readonly #next: Int32Array;
  #piles = 0;

  constructor(port: UdpForwardingPort) {
    const most = port.inbox.capacity;
    this.#port = port;
    this.#pileOf = new Int32Array(port.capacity);
    this.#flowOf = new Int32Array(most);
    this.#first = new Int32Array(most);
    this.#last = new Int32Array(most);
    this.#count = new Int32Array(most);
    this.#next = new Int32Array(most);
  }

  /** Received datagram i is for the flow's endpoint. It goes with `flush`. */
  add(flow: number, i: number): void {
    const known = (this.#pileOf[flow] as number) - 1;
    if (known >= 0) {
      this.#next[this.#last[known] as number] = i;
      this.#last[known] = i;
      this.#count[known] = (this.#count[known] as number) + 1;
      return;
    }
    const pile = this.#piles++;
    this.#pileOf[flow] = pile + 1;
    this.#flowOf[pile] = flow;
    this.#first[pile] = i;
    this.#last[pile] = i;
    this.#count[pile] = 1;
  }

  flush(): void {
    for (let pile = 0; pile < this.#piles; pile++) {
      const flow = this.#flowOf[pile] as number;
      // It ended meanwhile.
      if (this.#pileOf[flow] !== pile + 1) continue;
      this.#pileOf[flow] = 0;
      this.#sendPile(flow, this.#first[pile] as number, this.#count[pile] as number);
    }
    this.#piles = 0;
  }

  /** The flow is about to end: what waits for its endpoint is lost. */
  forget(flow: number): void {
    const pile = (this.#pileOf[flow] as number) - 1;
    if (pile < 0) return;
    this.#pileOf[flow] = 0;
    this.#drop(this.#count[pile] as number);
  }

  #sendPile(flow: number, first: number, count: number): void {
    const { flows, inbox, placement } = this.#port;
    if (!placement.keep(flow)) {
      this.#drop(count);
      this.#port.end(flow);
      return;
    }
    flows.table.touch(flow, this.#port.now());
    let i = first;
    let left = count;
    // The first one for an endpoint goes alone, so that its refusal is heard while the others are still here.
    if (left === 1 || flows.unproven[flow] === 1) {
      left--;
      if (!this.#sendOne(flow, inbox.arenaAddress + inbox.offset(i), inbox.length(i))) {
        this.#drop(left);
        return;
      }
      i = this.#next[i] as number;
    }
    while (left > 0) {
      let queued = 0;
      let bytes = 0;
      for (; left > 0 && !inbox.full; left--, queued++) {
        const length = inbox.length(i);
        inbox.queue(inbox.arenaAddress + inbox.offset(i), length, 0, 0);
        bytes += length;
        i = this.#next[i] as number;
      }
      if (this.#sendQueue(flow, queued, bytes)) continue;
      this.#drop(left);
      return;
    }
  }

  /**
   * Sends what waits in the inbox's queue; when the endpoint refuses, the rest goes once to another. False when there is none, and
   * the flow has ended.
   */
  #sendQueue(flow: number, count: number, bytes: number): boolean {
    const { env, flows, inbox, placement } = this.#port;
    let lost = 0;
    let moved = false;
    let ended = false;
    for (let error = -1; error !== 0; ) {
      error = inbox.send(flows.endpointFds[flow] as Fd);
      if (error === 0) break;
      if (!isRefusal(error) || moved) {
        inbox.skip();
        lost++;
        continue;
      }
      moved = true;
      placement.avoid(flow);
      ended = !placement.move(flow);
      if (ended) lost += inbox.clear();
    }
    addTo(env.counters.totals, TOTAL.udpDatagramsToEndpoint, count - lost);
    this.#drop(lost);
    if (ended) this.#port.end(flow);
    else flows.count(flow, 'bytesToEndpoint', bytes);
    return !ended;
  }

  /** Sends to the flow's endpoint; when that refuses, once to another. False when the flow has ended. */
  #sendOne(flow: number, data: Pointer, length: number): boolean {
    const { env, flows, placement } = this.#port;
    for (let attempt = 0; attempt < 2; attempt++) {
      const fd = flows.endpointFds[flow] as Fd;
      let error = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno() : 0;
      if (error === 0 && flows.unproven[flow] === 1) {
        // An endpoint on this machine has refused by now, while the datagram is still at hand.
        flows.unproven[flow] = 0;
        const answer = flows.takeError(fd);
        if (isRefusal(answer)) error = answer;
      }
      if (error === 0) {
        flows.count(flow, 'bytesToEndpoint', length);
        addTo(env.counters.totals, TOTAL.udpDatagramsToEndpoint, 1);
        return true;
      }
      if (isRefusal(error)) {
        placement.avoid(flow);
        if (attempt === 0 && placement.move(flow)) continue;
        this.#drop(1);
        this.#port.end(flow);
        return false;
      }
      // The answer to an earlier datagram, such as a path's MTU, is told once, and this datagram was not sent.
      if (error !== EMSGSIZE && error !== EINTR) break;
    }
    this.#drop(1);
    return true;
  }

  #drop(datagrams: number): void {
    addTo(this.#port.env.counters.totals, TOTAL.udpDatagramsDropped, datagrams);
  }
}

/** Errors after which an endpoint is not worth another datagram. */
export function isRefusal(error: number): boolean {
  return error === ECONNREFUSED || error === EHOSTUNREACH || error === ENETUNREACH;
}
