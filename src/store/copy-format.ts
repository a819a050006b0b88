// The last known state as a file: lines, each with a checksum. A listing in parts of bounded size, then every commit that
// followed, and now and then the time at which the store was last heard of. Only the end of the file ever changes, so what a
// crash cuts off is the end: whatever lines are whole are a state that the store was in. PURE.
import { decodeRow, encodeRow } from './rows.ts';
import type { CommitEvent, Entry, Key, Revision } from './store.ts';

export interface Listing {
  readonly revision: Revision;
  readonly entries: readonly Entry[];
}

/** What a copy holds. */
export interface CopyContent extends Listing {
  /** Milliseconds since the epoch: when the store was last known to be in this state. */
  readonly at: number;
  /** Bytes of the file up to where its whole lines end; further lines belong there. */
  readonly length: number;
  /** Bytes of these that are not of the commits since the listing. */
  readonly listingLength: number;
}

/** `reason`: why it cannot be used, as the end of a sentence. */
export type CopyReading =
  | { readonly kind: 'state'; readonly content: CopyContent }
  | { readonly kind: 'none' }
  | { readonly kind: 'unusable'; readonly reason: string };

/** Raised when a version writes what older ones cannot read. */
const FORMAT = 1;
const TITLE = 'vipmesh last known state, format ';

/** Makes the checksums those of this file's lines, not of rows elsewhere. */
const ROW_KEY = 'last-known';

/** What the entries of one part of the listing have in bytes, about: half a millisecond of the thread that writes or reads it. */
const PART_BYTES = 65_536;

type Line =
  | { readonly identity: string }
  | { readonly part: number; readonly entries: readonly (readonly [Key, string, Revision])[] }
  | { readonly parts: number; readonly revision: Revision; readonly at: number }
  | {
      readonly after: Revision;
      readonly revision: Revision;
      readonly at: number;
      readonly writes: readonly (readonly [Key, string | null])[];
    }
  | { readonly at: number };

/** The first two lines. `identity`: which cluster it is a copy of, in any words. */
export function encodeTitle(identity: string): Buffer {
  return Buffer.concat([Buffer.from(`${TITLE}${FORMAT}\n`), encodeLine({ identity })]);
}

/** The lines of a listing, one at a time: between two of them the thread may do something else. */
export function* encodeListing({ revision, entries }: Listing, at: number): Iterable<Buffer> {
  let part = 0;
  let rows: (readonly [Key, string, Revision])[] = [];
  let bytes = 0;
  for (const entry of entries) {
    rows.push([entry.key, entry.value, entry.revision]);
    bytes += entry.key.length + entry.value.length;
    if (bytes < PART_BYTES) continue;
    yield encodeLine({ part: part++, entries: rows });
    rows = [];
    bytes = 0;
  }
  if (rows.length > 0) yield encodeLine({ part: part++, entries: rows });
  yield encodeLine({ parts: part, revision, at });
}

/** `after`: the revision that the lines before lead to. */
export function encodeCommit(after: Revision, event: CommitEvent, at: number): Buffer {
  return encodeLine({
    after,
    revision: event.revision,
    at,
    writes: event.writes.map(({ key, value }) => [key, value] as const),
  });
}

/** The store was heard of at that time, and nothing had changed. */
export function encodeContact(at: number): Buffer {
  return encodeLine({ at });
}

function encodeLine(line: Line): Buffer {
  return Buffer.concat([encodeRow(ROW_KEY, line), NEWLINE]);
}

const NEWLINE = Buffer.from('\n');

/** Reads a copy piece by piece, as the file comes. */
export class CopyReader {
  readonly #identity: string;
  readonly #entries = new Map<Key, Entry>();
  /** The beginning of a line whose end has not come yet. */
  #rest: Buffer[] = [];
  #lines = 0;
  #parts = 0;
  #length = 0;
  #listingLength = 0;
  #revision: Revision | undefined;
  #at = 0;
  #reason: string | undefined;

  constructor(identity: string) {
    this.#identity = identity;
  }

  /** False when no more is of interest. */
  take(piece: Buffer): boolean {
    let from = 0;
    while (this.#reason === undefined) {
      const end = piece.indexOf(0x0a, from);
      if (end < 0) break;
      const head = piece.subarray(from, end);
      const line = this.#rest.length === 0 ? head : Buffer.concat([...this.#rest, head]);
      this.#rest = [];
      this.#reason = this.#takeLine(line);
      this.#length += line.length + 1;
      if (this.#revision !== undefined && this.#listingLength === 0) this.#listingLength = this.#length;
      from = end + 1;
    }
    if (from < piece.length) this.#rest.push(piece.subarray(from));
    return this.#reason === undefined;
  }

  /** After the last piece. A line without an end was being written when the writer ended: it is passed over. */
  end(): CopyReading {
    if (this.#reason !== undefined) return { kind: 'unusable', reason: this.#reason };
    if (this.#lines === 0 && this.#rest.length === 0) return { kind: 'none' };
    if (this.#revision === undefined) return { kind: 'unusable', reason: 'it is damaged (it ends within its listing)' };
    const entries = [...this.#entries.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    return {
      kind: 'state',
      content: {
        revision: this.#revision,
        entries,
        at: this.#at,
        length: this.#length,
        listingLength: this.#listingLength,
      },
    };
  }

  /** Why the copy cannot be used. */
  #takeLine(bytes: Buffer): string | undefined {
    const number = ++this.#lines;
    if (number === 1) return titleProblem(bytes);
    const line = decodeRow(ROW_KEY, bytes) as Line | undefined;
    if (line === undefined) return `it is damaged (the checksum of line ${number} is wrong)`;
    if (number === 2) return this.#takeIdentity(line);
    if ('entries' in line) return this.#takePart(line, number);
    if ('parts' in line) return this.#takeEnd(line, number);
    if ('after' in line) return this.#takeCommit(line, number);
    if ('identity' in line || this.#revision === undefined) return outOfPlace(number);
    this.#at = line.at;
    return undefined;
  }

  #takeIdentity(line: Line): string | undefined {
    if (!('identity' in line)) return outOfPlace(2);
    return line.identity === this.#identity ? undefined : `it is of ${line.identity}, not of ${this.#identity}`;
  }

  #takePart({ part, entries }: Extract<Line, { part: number }>, number: number): string | undefined {
    if (part !== this.#parts || this.#revision !== undefined) return outOfPlace(number);
    this.#parts++;
    for (const [key, value, revision] of entries) this.#entries.set(key, { key, value, revision });
    return undefined;
  }

  #takeEnd(line: Extract<Line, { parts: number }>, number: number): string | undefined {
    if (line.parts !== this.#parts || this.#revision !== undefined) return outOfPlace(number);
    this.#revision = line.revision;
    this.#at = line.at;
    return undefined;
  }

  #takeCommit(line: Extract<Line, { after: Revision }>, number: number): string | undefined {
    if (line.after !== this.#revision) return outOfPlace(number);
    for (const [key, value] of line.writes) {
      if (value === null) this.#entries.delete(key);
      else this.#entries.set(key, { key, value, revision: line.revision });
    }
    this.#revision = line.revision;
    this.#at = line.at;
    return undefined;
  }
}

function titleProblem(bytes: Buffer): string | undefined {
  const text = bytes.toString('latin1');
  if (!text.startsWith(TITLE)) return 'it is damaged (its first line is wrong)';
  const format = text.slice(TITLE.length);
  return format === String(FORMAT) ? undefined : `it is of format ${format}, which this version does not know`;
}

function outOfPlace(number: number): string {
  return `it is damaged (line ${number} does not follow from those before)`;
}
