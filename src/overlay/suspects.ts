// Where the kernel may not be as planned any more: gathered for a moment, because changes come in groups, and then looked at together.
import type { NetworkId } from '../model/network.ts';
import { settleMs } from './settling.ts';

/** `node`: the node's own namespace. Of nftables another part of it tells than of links; of these, some may be all that is to be looked at. */
export type Suspect = NetworkId | 'node' | `rules of ${NetworkId | 'node'}` | `link ${string} of ${NetworkId | 'node'}`;

/** The links of a namespace that are suspects, by their names. */
export function linksOf(suspects: ReadonlySet<Suspect>, where: NetworkId | 'node'): ReadonlySet<string> {
  const [begin, end] = ['link ', ` of ${where}`];
  const found = [...suspects].filter((one) => one.startsWith(begin) && one.endsWith(end));
  return new Set(found.map((one) => one.slice(begin.length, -end.length)));
}

/** Until what failed is tried again: twice as long each time. */
const RETRY_MS = { first: 1000, longest: 60_000 } as const;

export class Suspects {
  readonly #look: (suspects: ReadonlySet<Suspect>) => Promise<number>;
  readonly #found = new Set<Suspect>();
  #timer: NodeJS.Timeout | undefined;
  /** How long the last look took. */
  #lookedMs = 0;
  #retry: NodeJS.Timeout | undefined;
  #retryMs: number = RETRY_MS.first;
  #isClosed = false;

  /** `look` never rejects, and resolves with how long it took, in milliseconds. */
  constructor(look: (suspects: ReadonlySet<Suspect>) => Promise<number>) {
    this.#look = look;
  }

  add(where: Suspect): void {
    if (this.#isClosed) return;
    this.#found.add(where);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#lookAtAll();
    }, settleMs(this.#lookedMs)).unref();
  }

  /** What failed may have been in use, or have had a reason outside that has gone by. */
  retryLater(problems: () => readonly NetworkId[]): void {
    const isAllWell = problems().length === 0;
    if (isAllWell) this.#retryMs = RETRY_MS.first;
    if (this.#isClosed || this.#retry !== undefined || isAllWell) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      for (const id of problems()) this.add(id);
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.longest);
  }

  /** Nothing is looked at any more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
  }

  async #lookAtAll(): Promise<void> {
    const suspects = new Set(this.#found);
    this.#found.clear();
    this.#lookedMs = await this.#look(suspects);
  }
}
