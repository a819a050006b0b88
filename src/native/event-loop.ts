// One thread's event loop on epoll(7), for code that makes its system calls itself. `run` blocks the thread: no promise,
// timer or message of Node's own makes progress while it does. Other threads wake it through an eventfd.
//
// A batch is what one epoll_wait returned. Per batch: handlers of ready descriptors, due timers, batch-end functions in
// the order they were added, then descriptors given to `close`. A descriptor number is therefore never reused within a
// batch, and an event never reaches the wrong owner.
import {
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLIN,
} from './constants.ts';
import { check, EINTR, errno, NativeError } from './errno.ts';
import { addressOf, close, type Fd, epollCreate, epollCtl, epollWait, eventfd, read, write } from './libc.ts';
import { descriptorLimit } from './rlimit.ts';
import { TimerHeap } from './timer-heap.ts';

export type Handler = (fd: Fd, events: number) => void;

/** So that a process that must exit never waits longer for a blocked thread. */
const LONGEST_WAIT_MS = 500;
/** Events taken at once. More would only make the first of a batch wait longer for its answer. */
const BATCH_EVENTS = 256;
// struct epoll_event is packed on x86-64 only: u32 events, u64 data.
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
const DATA_WORD = process.arch === 'x64' ? 1 : 2;

export interface EventLoopOptions {
  /** An eventfd of the caller's, who closes it. Absent: the loop makes and closes its own. */
  readonly wakeFd?: Fd;
  /** Told every descriptor that the loop watches, and when it no longer does: whoever cleans up after a crash. */
  readonly descriptors?: DescriptorLedger;
}

/** A byte per descriptor number, 1 while this thread owns it. Shared with the thread that closes them after a crash. */
export type DescriptorLedger = Uint8Array;

export class EventLoop {
  readonly wakeFd: Fd;
  readonly #epoll: Fd;
  readonly #ownsWakeFd: boolean;
  readonly #events = new Int32Array(BATCH_EVENTS * EVENT_WORDS);
  readonly #eventsAddress = addressOf(this.#events);
  readonly #change = new Int32Array(EVENT_WORDS);
  readonly #changeAddress = addressOf(this.#change);
  readonly #wakeCount = Buffer.alloc(8);
  // Descriptor → which handler, 0 for none. Handlers are few and shared, so the table costs two bytes per descriptor.
  readonly #handlerOf: Uint16Array;
  readonly #handlers = new HandlerTable();
  readonly #timers = new TimerHeap();
  readonly #batchEnds: (() => void)[] = [];
  readonly #toClose: Fd[] = [];
  readonly #ledger: DescriptorLedger | undefined;
  #onWake: () => void = () => {};
  #now = performance.now();
  #running = false;
  #polls = 0;
  #again = false;

  constructor(options: EventLoopOptions = {}) {
    this.#handlerOf = new Uint16Array(descriptorLimit());
    this.#ledger = options.descriptors;
    this.#epoll = check(epollCreate(EPOLL_CLOEXEC), 'epoll_create1', 'event loop');
    this.own(this.#epoll);
    this.#ownsWakeFd = options.wakeFd === undefined;
    this.wakeFd = options.wakeFd ?? createEventfd();
    this.add(this.wakeFd, EPOLLIN | EPOLLET, () => {
      read(this.wakeFd, this.#wakeCount, 8);
      this.#onWake();
    });
  }

  /** Monotonic milliseconds with a fraction, from an arbitrary start, read once per batch. */
  now(): number {
    return this.#now;
  }

  /** Timers that are set. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Watches a descriptor that is not watched yet. `events` are EPOLL* bits; level-triggered unless EPOLLET is among them. */
  add(fd: Fd, events: number, handler: Handler): void {
    if (fd >= this.#handlerOf.length) throw new RangeError(`descriptor ${fd} is above the limit known at start`);
    this.#control(EPOLL_CTL_ADD, fd, events);
    this.#handlerOf[fd] = this.#handlers.retain(handler);
  }

  modify(fd: Fd, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events);
  }

  /** Stops watching. Events of the current batch that were not handled yet are dropped. The descriptor stays open. */
  remove(fd: Fd): void {
    this.#forget(fd);
    this.#control(EPOLL_CTL_DEL, fd, 0);
  }

  /** Marks a descriptor as this thread's, to be closed by others if the thread dies. `close` ends it. */
  own(fd: Fd): void {
    if (this.#ledger !== undefined) this.#ledger[fd] = 1;
  }

  /** Stops watching now (if it was watched) and closes at the end of the batch, or at once when the loop does not run. */
  close(fd: Fd): void {
    this.#forget(fd);
    if (this.#running) this.#toClose.push(fd);
    else this.#closeNow(fd);
  }

  /** Calls `fn` once, `delayMs` from now. The result names it for clearTimer. */
  setTimer(delayMs: number, fn: () => void): number {
    return this.#timers.add((this.#running ? this.#now : performance.now()) + delayMs, fn);
  }

  /** Nothing happens when it has already fired. */
  clearTimer(id: number): void {
    this.#timers.remove(id);
  }

  /** Called at the end of every batch, for work that is better done in phases. */
  onBatchEnd(fn: () => void): void {
    this.#batchEnds.push(fn);
  }

  /** Called when another thread wrote to `wakeFd`. */
  onWake(fn: () => void): void {
    this.#onWake = fn;
  }

  /** Look for events this many times before the next wait sleeps: cheaper than sleeping when some are about to come. */
  pollBeforeSleep(times: number): void {
    this.#polls = times;
  }

  /** There is work left that waits for no event: the next batch comes without sleeping. */
  again(): void {
    this.#again = true;
  }

  /** Blocks until `stop`. An exception of a handler ends it and is thrown on. */
  run(): void {
    this.#running = true;
    try {
      while (this.#running) this.#batch();
    } finally {
      this.#running = false;
      for (const fd of this.#toClose) this.#closeNow(fd);
    }
  }

  /** Lets `run` return at the end of the current batch. */
  stop(): void {
    this.#running = false;
  }

  /** Closes what the loop itself opened. */
  destroy(): void {
    if (this.#ownsWakeFd) close(this.wakeFd);
    this.#closeNow(this.#epoll);
  }

  #batch(): void {
    const count = this.#wait();
    this.#now = performance.now();
    const events = this.#events;
    for (let i = 0, word = 0; i < count; i++, word += EVENT_WORDS) {
      const fd = events[word + DATA_WORD] as number;
      const handler = this.#handlers.at(this.#handlerOf[fd] as number);
      if (handler !== undefined) handler(fd, events[word] as number);
    }
    if (this.#timers.size > 0) this.#timers.fire(this.#now);
    for (const fn of this.#batchEnds) fn();
    if (this.#toClose.length > 0) {
      for (const fd of this.#toClose) this.#closeNow(fd);
      this.#toClose.length = 0;
    }
  }

  #wait(): number {
    for (; this.#polls > 0; this.#polls--) {
      const count = epollWait(this.#epoll, this.#eventsAddress, BATCH_EVENTS, 0);
      if (count > 0) {
        this.#polls = 0;
        return count;
      }
    }
    let timeout = this.#again ? 0 : LONGEST_WAIT_MS;
    this.#again = false;
    // Rounded up: a timer that is a fraction of a millisecond away must not make the loop spin.
    if (this.#timers.size > 0) {
      timeout = Math.min(timeout, Math.max(0, Math.ceil(this.#timers.nextAt - performance.now())));
    }
    const count = epollWait(this.#epoll, this.#eventsAddress, BATCH_EVENTS, timeout);
    if (count >= 0) return count;
    if (errno() === EINTR) return 0;
    throw new NativeError(errno(), 'epoll_wait', 'event loop');
  }

  #control(operation: number, fd: Fd, events: number): void {
    this.#change[0] = events;
    this.#change[DATA_WORD] = fd;
    if (epollCtl(this.#epoll, operation, fd, this.#changeAddress) < 0) {
      throw new NativeError(errno(), 'epoll_ctl', `descriptor ${fd}`);
    }
  }

  #forget(fd: Fd): void {
    this.#handlers.release(this.#handlerOf[fd] as number);
    this.#handlerOf[fd] = 0;
  }

  #closeNow(fd: Fd): void {
    // The ledger first: a number that is cleared too early leaks one descriptor after a crash, too late closes a stranger's.
    if (this.#ledger !== undefined) this.#ledger[fd] = 0;
    close(fd);
  }
}

/** Makes the eventfd of a loop. */
export function createEventfd(): Fd {
  return check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), 'eventfd', 'wake-up');
}

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** Wakes the loop that waits on this eventfd; from any thread. */
export function wake(wakeFd: Fd): void {
  write(wakeFd, ONE, 8);
}

/** Handlers by small number, counted, so that one shared by thousands of descriptors is held once. */
class HandlerTable {
  readonly #handlers: (Handler | undefined)[] = [undefined];
  readonly #uses: number[] = [0];
  readonly #numbers = new Map<Handler, number>();
  readonly #free: number[] = [];

  at(number: number): Handler | undefined {
    return this.#handlers[number];
  }

  retain(handler: Handler): number {
    let number = this.#numbers.get(handler);
    if (number === undefined) {
      number = this.#free.pop() ?? this.#handlers.length;
      if (number > 0xffff) throw new RangeError('more than 65,535 different handlers: share one between descriptors');
      this.#handlers[number] = handler;
      this.#uses[number] = 0;
      this.#numbers.set(handler, number);
    }
    (this.#uses[number] as number)++;
    return number;
  }

  release(number: number): void {
    if (number === 0) return;
    const uses = (this.#uses[number] as number) - 1;
    this.#uses[number] = uses;
    if (uses > 0) return;
    this.#numbers.delete(this.#handlers[number] as Handler);
    this.#handlers[number] = undefined;
    this.#free.push(number);
  }
}
