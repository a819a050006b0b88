// Timers of one event loop: a binary heap by due time. PURE: the time comes in with each call.

interface Timer {
  readonly at: number;
  readonly id: number;
  readonly fn: () => void;
}

export class TimerHeap {
  readonly #heap: Timer[] = [];
  // Cleared timers stay in the heap until they come to the top; only what is in here still counts.
  readonly #live = new Set<number>();
  #lastId = 0;

  get size(): number {
    return this.#live.size;
  }

  /** When the next one is due; Infinity when none is set. */
  get nextAt(): number {
    this.#dropCleared();
    return this.#heap[0]?.at ?? Infinity;
  }

  add(at: number, fn: () => void): number {
    const id = ++this.#lastId;
    this.#live.add(id);
    this.#heap.push({ at, id, fn });
    this.#up(this.#heap.length - 1);
    return id;
  }

  remove(id: number): void {
    this.#live.delete(id);
    // Bounds the heap when timers are set and cleared for every request.
    if (this.#heap.length > 64 && this.#heap.length > 4 * this.#live.size) this.#rebuild();
  }

  /** Calls what is due at `now`, earliest first. Timers that these set are left for the next call. */
  fire(now: number): void {
    const newest = this.#lastId;
    const later: Timer[] = [];
    while (this.nextAt <= now) {
      const timer = this.#pop();
      if (timer.id > newest) {
        later.push(timer);
      } else if (this.#live.delete(timer.id)) {
        timer.fn();
      }
    }
    for (const timer of later) {
      this.#heap.push(timer);
      this.#up(this.#heap.length - 1);
    }
  }

  #dropCleared(): void {
    while (this.#heap.length > 0 && !this.#live.has((this.#heap[0] as Timer).id)) this.#pop();
  }

  #rebuild(): void {
    const live = this.#heap.filter((timer) => this.#live.has(timer.id)).sort((a, b) => a.at - b.at || a.id - b.id);
    this.#heap.splice(0, this.#heap.length, ...live);
  }

  #pop(): Timer {
    const heap = this.#heap;
    const top = heap[0] as Timer;
    const last = heap.pop() as Timer;
    if (heap.length > 0) {
      heap[0] = last;
      this.#down(0);
    }
    return top;
  }

  #up(start: number): void {
    const heap = this.#heap;
    for (let i = start; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i] as Timer, heap[parent] as Timer)) return;
      swap(heap, i, parent);
      i = parent;
    }
  }

  #down(start: number): void {
    const heap = this.#heap;
    for (let i = start; ; ) {
      const left = 2 * i + 1;
      let least = i;
      if (left < heap.length && before(heap[left] as Timer, heap[least] as Timer)) least = left;
      if (left + 1 < heap.length && before(heap[left + 1] as Timer, heap[least] as Timer)) least = left + 1;
      if (least === i) return;
      swap(heap, i, least);
      i = least;
    }
  }
}

/** Equal times fire in the order they were set. */
function before(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.id < b.id);
}

function swap(heap: Timer[], i: number, j: number): void {
  const timer = heap[i] as Timer;
  heap[i] = heap[j] as Timer;
  heap[j] = timer;
}
