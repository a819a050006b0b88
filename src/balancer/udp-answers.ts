// The way back of a worker's UDP flows: answers are read from endpoints' sockets and leave together, those of one flow as one
// message that the kernel cuts.
import { MSG_DONTWAIT } from '../native/constants.ts';
import { DatagramBatch } from '../native/datagram-batch.ts';
import { EAGAIN, ECONNREFUSED, errno } from '../native/errno.ts';
import { type Fd, type Pointer, recv } from '../native/libc.ts';
import { TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import { NO_FLOW } from './flow-table.ts';
import { isRefusal } from './udp-forwarding.ts';
import { addTo, type UdpFlows } from './udp-flows.ts';

/** Answers read one by one from one endpoint before the others have their turn, when it refuses what comes next. */
const ANSWERS_PER_TURN = 32;
/** Answers read one by one, of an endpoint that answered in the last batch, too: two show that it has many. */
const ANSWERS_PER_LOOK = 2;
/** Room for the size of a message's datagrams. */
const CONTROL_BYTES = 32;

export interface UdpAnswersPort {
  readonly env: WorkerEnv;
  readonly flows: UdpFlows;
  /** Datagrams that one call takes at most. */
  readonly batch: number;
  /** Longer than any datagram. */
  readonly datagramBytes: number;
  now(): number;
  /** The flow's endpoint refused. */
  refused(flow: number): void;
  /** Ends a flow whose client is gone. */
  end(flow: number): void;
}

export class UdpAnswers {
  readonly #port: UdpAnswersPort;
  readonly #outbox: DatagramBatch;
  /** What the answers that wait leave by. */
  #fd: Fd = 0;
  #batch = 1;

  constructor(port: UdpAnswersPort) {
    this.#port = port;
    this.#outbox = new DatagramBatch({
      messages: port.batch,
      messageBytes: port.datagramBytes,
      controlBytes: CONTROL_BYTES,
      segments: true,
      coalesced: true,
    });
  }

  /** Takes what the flow's endpoint says on its socket: answers, or its refusal of an earlier datagram. */
  take(fd: Fd, flow: number): void {
    const { flows } = this.#port;
    const busy = flows.lastBatches[flow] === this.#batch - 1;
    flows.lastBatches[flow] = this.#batch;
    const many = flows.coalesces[flow] === 1 || (busy && flows.hasMany[flow] === 1);
    const way = (flows.clientFds[flow] as Fd) || (flows.listenerFds[flow] as Fd);
    if (many || way !== this.#fd) this.flush();
    if (flows.flowOf(fd) !== flow) return;
    this.#fd = way;
    const refused = many ? this.#takeMany(fd, flow) : this.#takeFew(fd, flow, busy ? ANSWERS_PER_LOOK : 1);
    if (refused && flows.flowOf(fd) === flow) this.#port.refused(flow);
  }

  /** Sends what waits. Anything that answers point to must stay until then. */
  flush(): void {
    if (this.#outbox.queued === 0) return;
    const fd = this.#fd;
    let isGone = false;
    for (let error = this.#outbox.send(fd); error !== 0; error = this.#outbox.send(fd)) {
      isGone ||= error === ECONNREFUSED;
      this.#outbox.skip();
      addTo(this.#port.env.counters.totals, TOTAL.udpDatagramsDropped, 1);
    }
    // A VIP's client whose own port is unreachable.
    const flow = this.#port.flows.flowOf(fd);
    if (isGone && flow !== NO_FLOW) this.#port.end(flow);
  }

  endBatch(): void {
    this.flush();
    this.#batch = (this.#batch + 1) | 0;
  }

  /** True when the endpoint refused. */
  #takeMany(fd: Fd, flow: number): boolean {
    const count = this.#outbox.receive(fd);
    if (count >= 0) {
      this.#addAll(fd, flow, count);
      return false;
    }
    // What was answered before the refusal is still there to be read.
    if (isRefusal(-count)) this.#addAll(fd, flow, this.#outbox.receive(fd));
    return isRefusal(-count);
  }

  /** What was just received. */
  #addAll(fd: Fd, flow: number, count: number): void {
    const { flows } = this.#port;
    const outbox = this.#outbox;
    flows.noteMany(flow, count);
    for (let i = 0; i < count; i++) {
      if (outbox.full) this.flush();
      // Its client has gone.
      if (flows.flowOf(fd) !== flow) return;
      this.#add(flow, outbox.arenaAddress + outbox.offset(i), outbox.length(i));
    }
    // What waits is then further up in the arena than as many answers, read one by one, would be: the next would overwrite it.
    if (count > outbox.messages) this.flush();
  }

  /** True when the endpoint refused. */
  #takeFew(fd: Fd, flow: number, most: number): boolean {
    const { flows, datagramBytes } = this.#port;
    const outbox = this.#outbox;
    let refused = false;
    let taken = 0;
    for (let left = most; left > 0; left--) {
      if (outbox.full) this.flush();
      if (flows.flowOf(fd) !== flow) return false;
      const room = outbox.roomFor(outbox.queued);
      const length = recv(fd, room, datagramBytes, MSG_DONTWAIT);
      if (length >= 0) {
        this.#add(flow, room, length);
        taken++;
        continue;
      }
      const error = errno();
      if (error === EAGAIN) break;
      // What was answered before the refusal is still there to be read.
      if (isRefusal(error) && !refused) left = ANSWERS_PER_TURN;
      refused ||= isRefusal(error);
    }
    flows.noteMany(flow, taken);
    return refused;
  }

  #add(flow: number, data: Pointer, length: number): void {
    const { env, flows } = this.#port;
    flows.table.answered(flow, this.#port.now());
    flows.count(flow, 'bytesToClient', length);
    addTo(env.counters.totals, TOTAL.udpDatagramsToClient, 1);
    if (flows.clientFds[flow] !== 0) {
      this.#outbox.queue(data, length, 0, 0);
      return;
    }
    const name = flows.namesAddress + flows.nameOffset(flow);
    const controlLength = flows.controlLengths[flow] as number;
    const control = controlLength > 0 ? flows.controlsAddress + flows.controlOffset(flow) : 0;
    this.#outbox.queue(data, length, name, flows.nameLengths[flow] as number, control, controlLength);
  }
}
