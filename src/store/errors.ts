// Everything that can go wrong in the store, by a code that stays the same.

export type StoreErrorCode =
  /** Another process has the store open. */
  | 'locked'
  /** What is on the disk is not what was written, or was written by a newer version. */
  | 'damaged'
  /** The file system has no room; nothing of the commit was kept. */
  | 'full'
  /** The state directory may not be read or written. */
  | 'no-access'
  /** The disk failed; the store takes no more commits until it is opened anew. */
  | 'io'
  /** The store does not answer, or not in time; whether a commit was done is not known, unless `nothingDone` says so. */
  | 'unavailable'
  /** The store answers, but not to this agent: its certificate, its user or its rights. */
  | 'refused'
  | 'closed'
  /** A caller's mistake: a key or a commit that cannot be. */
  | 'invalid'
  /** The lease has ended. */
  | 'lease-ended'
  /** One record does not hold what its key says. */
  | 'bad-record';

/** The message names the file or the key, says why it is so in all likelihood, and what to do. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  /** `unavailable`, and certainly nothing was done: it never reached the store. */
  readonly nothingDone: boolean;

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions & { readonly nothingDone?: boolean }) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
    this.nothingDone = options?.nothingDone ?? false;
  }
}

/** `what`: what was found, as a clause. */
export function damaged(path: string, what: string, cause?: unknown): StoreError {
  return new StoreError(
    'damaged',
    `${path} is damaged (${what}). It was left as it is: put a copy back, or move the directory away to begin anew`,
    { cause },
  );
}
