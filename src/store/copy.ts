// Keeps a copy of what the store holds on this node's disk: a listing, and every commit after it. A commit costs one line,
// written within a second together with its neighbours and without waiting for the disk; a listing is written in parts. Nothing
// of this can fail anybody: what the disk does not take is said once, and tried again with a new listing.
import type { Clock, Scheduled } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { CopyDisk, CopyFile } from './copy-disk.ts';
import {
  type CopyContent,
  CopyReader,
  encodeCommit,
  encodeContact,
  encodeListing,
  encodeTitle,
  type Listing,
} from './copy-format.ts';
import type { CommitEvent, Revision } from './store.ts';

export interface CopyOptions {
  readonly disk: CopyDisk;
  /** Which cluster it is a copy of. */
  readonly identity: string;
  readonly log: Log;
  readonly clock: Clock;
  /** Asks the store for everything, when the copy is to be begun anew. */
  list(): Promise<Listing>;
}

/** So much of the newest is lost at worst when the process is killed. */
const WRITE_AFTER_MS = 1000;

/** In quiet times: how wrong the age of a copy may be. One line of 40 bytes. */
const CONTACT_EVERY_MS = 30_000;

/** Until a disk that has refused is tried again. */
const RETRY_MS = 60_000;

/** From this length on, a copy whose commits are longer than its listing is begun anew. */
const SMALLEST_RENEWAL_BYTES = 4 * 2 ** 20;

/** With so much unwritten, the disk is taken for stuck. A stack of 2,000 services is about 3 MB. */
const MOST_PENDING_BYTES = 64 * 2 ** 20;

export class Copy {
  readonly #options: CopyOptions;
  /** What the lines so far lead to; undefined: there is no copy to go on with. */
  #revision: Revision | undefined;
  /** A listing that is to be written. */
  #listing: Listing | undefined;
  #lines: Buffer[] = [];
  #pendingBytes = 0;
  #file: CopyFile | undefined;
  /** Bytes of the file that is gone on with, as long as it was not opened. */
  #resumeAt: number | undefined;
  #listingBytes = 0;
  #commitBytes = 0;
  #at = 0;
  #working: Promise<void> | undefined;
  #timer: Scheduled | undefined;
  #renewal: Scheduled | undefined;
  /** Commits that were heard of since a new listing was asked for. */
  #since: (readonly [at: Revision, event: CommitEvent])[] | undefined;
  #failure: string | undefined;
  #unusable: string | undefined;
  #isReading = true;
  #closed = false;

  constructor(options: CopyOptions) {
    this.#options = options;
  }

  /** What is wrong with the copy, as whole sentences. */
  get problems(): readonly string[] {
    return [this.#unusable, this.#failure].flatMap((problem) => problem ?? []);
  }

  /** What an earlier process has left; undefined when there is nothing, or nothing that can be used, which is then said. */
  async read(): Promise<CopyContent | undefined> {
    const { disk, identity, log } = this.#options;
    const reader = new CopyReader(identity);
    let reason: string;
    try {
      for await (const piece of disk.read()) if (!this.#isReading || !reader.take(piece)) break;
      if (!this.#isReading) return undefined;
      const reading = reader.end();
      if (reading.kind === 'state') return reading.content;
      if (reading.kind === 'none') return undefined;
      reason = reading.reason;
    } catch (error) {
      reason = `it cannot be read (${(error as Error).message})`;
    }
    this.#unusable = `the copy of the last known state, ${disk.path}, is not used: ${reason}. It is written anew when the store answers`;
    log.warn('copy of the last known state not used', { path: disk.path, reason });
    return undefined;
  }

  /** The store has answered: what was left is of no interest any more. */
  stopReading(): void {
    this.#isReading = false;
  }

  /** Goes on with what was read. */
  resume(content: CopyContent): void {
    this.#revision = content.revision;
    this.#at = content.at;
    this.#resumeAt = content.length;
    this.#listingBytes = content.listingLength;
    this.#commitBytes = content.length - content.listingLength;
  }

  /** Begins anew with what the store holds. */
  replace(listing: Listing): void {
    if (this.#closed) return;
    this.#since = undefined;
    this.#renewal?.cancel();
    this.#renewal = undefined;
    this.#listing = listing;
    this.#revision = listing.revision;
    this.#at = this.#options.clock.wallTime();
    this.#dropLines();
    this.#work();
  }

  /** `after`: everything up to there was heard of before, on the same watch. What the copy has already is passed over. */
  append(after: Revision, event: CommitEvent): void {
    this.#since?.push([after, event]);
    // With a hole before it, it would make a state in which the store never was.
    if (this.#revision === undefined || after > this.#revision || event.revision <= this.#revision) return;
    const at = this.#options.clock.wallTime();
    this.#at = at;
    this.#push(encodeCommit(this.#revision, event, at));
    this.#revision = event.revision;
  }

  /** The store was heard of. */
  contact(): void {
    if (this.#revision === undefined) return;
    const at = this.#options.clock.wallTime();
    if (Math.abs(at - this.#at) < CONTACT_EVERY_MS) return;
    this.#at = at;
    this.#push(encodeContact(at));
  }

  /** It is of something else than what the store holds now; the next listing begins anew. */
  forget(): void {
    this.#revision = undefined;
    this.#dropLines();
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#isReading = false;
    this.#timer?.cancel();
    this.#renewal?.cancel();
    while (this.#isUnwritten || this.#working !== undefined) {
      this.#work();
      await this.#working;
    }
    await this.#closeFile();
  }

  #push(line: Buffer): void {
    if (this.#closed) return;
    this.#lines.push(line);
    this.#pendingBytes += line.length;
    if (this.#pendingBytes > MOST_PENDING_BYTES) {
      this.#fail(new Error('the disk takes nothing'));
      return;
    }
    this.#schedule();
  }

  get #isUnwritten(): boolean {
    return this.#listing !== undefined || this.#lines.length > 0;
  }

  #schedule(): void {
    this.#timer ??= this.#options.clock.schedule(WRITE_AFTER_MS, () => {
      this.#timer = undefined;
      this.#work();
    });
  }

  #dropLines(): void {
    this.#lines = [];
    this.#pendingBytes = 0;
  }

  #work(): void {
    this.#working ??= this.#write().finally(() => {
      this.#working = undefined;
      if (this.#isUnwritten && !this.#closed) this.#schedule();
    });
  }

  async #write(): Promise<void> {
    try {
      while (this.#listing !== undefined) await this.#writeListing(this.#listing);
      if (this.#lines.length > 0) await this.#writeLines();
    } catch (error) {
      await this.#closeFile();
      this.#fail(error as Error);
    }
  }

  async #writeListing(listing: Listing): Promise<void> {
    this.#listing = undefined;
    const { disk, identity, log } = this.#options;
    const at = this.#at;
    const file = await disk.create();
    let bytes = 0;
    try {
      for (const lines of [[encodeTitle(identity)], encodeListing(listing, at)]) {
        for (const line of lines) {
          await file.append([line]);
          bytes += line.length;
          // A newer one has come.
          if (this.#listing !== undefined) return await file.close();
        }
      }
      await file.finish();
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
    await this.#closeFile();
    this.#file = file;
    this.#resumeAt = undefined;
    this.#listingBytes = bytes;
    this.#commitBytes = 0;
    this.#unusable = undefined;
    if (this.#failure !== undefined) log.info('last known state kept again', { path: disk.path });
    this.#failure = undefined;
  }

  async #writeLines(): Promise<void> {
    const lines = this.#lines;
    const bytes = this.#pendingBytes;
    this.#dropLines();
    if (this.#file === undefined) {
      if (this.#resumeAt === undefined) return;
      this.#file = await this.#options.disk.resume(this.#resumeAt);
      this.#resumeAt = undefined;
    }
    await this.#file.append(lines);
    this.#commitBytes += bytes;
    const isLong = this.#commitBytes > Math.max(SMALLEST_RENEWAL_BYTES, this.#listingBytes);
    if (isLong) this.#renewAfter(0);
  }

  #fail(error: Error): void {
    const { disk, log } = this.#options;
    this.#revision = undefined;
    this.#resumeAt = undefined;
    this.#listing = undefined;
    this.#dropLines();
    if (this.#failure === undefined) log.warn('last known state not kept', { path: disk.path, error });
    this.#failure = `the last known state is not kept in ${disk.path}: ${error.message}. An agent that starts while the store is away would have none, or an old one; it is tried again every minute`;
    this.#renewAfter(RETRY_MS);
  }

  #renewAfter(delayMs: number): void {
    if (this.#closed || this.#renewal !== undefined) return;
    this.#renewal = this.#options.clock.schedule(delayMs, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const since: (readonly [Revision, CommitEvent])[] = [];
    this.#since = since;
    try {
      const listing = await this.#options.list();
      // Somebody else's listing has come meanwhile, or the end.
      if (this.#since !== since || this.#closed) return;
      this.replace(listing);
      for (const [after, event] of since) this.append(after, event);
    } catch {
      // The store is away, so nothing changes meanwhile that the copy could miss.
      if (this.#since !== since) return;
      this.#since = undefined;
      this.#renewal = undefined;
      this.#renewAfter(RETRY_MS);
    }
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
  }
}
