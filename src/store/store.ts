// The store port: what is desired, durably. `embedded` implements it on one node, `etcd` in a cluster; test/contract/store.ts
// is the suite that every implementation passes.

declare const revisionBrand: unique symbol;
/** Counts the store's commits; every commit has one, larger than all before it. 0: before the first. */
export type Revision = number & { readonly [revisionBrand]: true };

/** `NOUN/ID`, such as `service/4k2…`; store/record knows all of them. 1 to 512 printable ASCII characters without space. */
export type Key = string;

export interface Entry {
  readonly key: Key;
  readonly value: string;
  /** The commit that last wrote this key. */
  readonly revision: Revision;
}

/** Write a key, or remove it (`value: null`); removing what is not there changes nothing. */
export interface Write {
  readonly key: Key;
  readonly value: string | null;
  /** The key goes when this lease ends, unless it was written again without it. `keep`: it stays under the one that it is under. */
  readonly lease?: LeaseId | 'keep';
}

/** The key must still stand at this revision (0: must not exist), or nothing of the commit is done. */
export interface Expectation {
  readonly key: Key;
  readonly revision: Revision;
}

declare const leaseBrand: unique symbol;
export type LeaseId = string & { readonly [leaseBrand]: true };

export type CommitResult =
  | { readonly committed: true; readonly revision: Revision }
  /** Nothing was written; `key` is the first expectation that did not hold. */
  | { readonly committed: false; readonly key: Key; readonly revision: Revision };

/** All writes of one commit, in order of key. `value: null`: removed. */
export interface CommitEvent {
  readonly revision: Revision;
  readonly writes: readonly { readonly key: Key; readonly value: string | null }[];
}

export interface Store {
  get(key: Key): Promise<Entry | undefined>;
  /** All entries whose key begins with `prefix`, ordered by key, and the revision at which that was so. */
  list(prefix: string): Promise<{ readonly revision: Revision; readonly entries: readonly Entry[] }>;
  /**
   * All writes or none, no key twice. Resolves when they are durable. A commit that changes nothing, because it only removes
   * what is not there, is no commit: its result has the newest revision, and no watcher hears of it.
   */
  commit(writes: readonly Write[], expectations?: readonly Expectation[]): Promise<CommitResult>;
  /**
   * Calls `onCommit` for every commit after `after`, in order, each once, until `close`. When the store no longer has them all
   * (compaction), `onGap` is called instead: list again, and watch from there.
   */
  watch(after: Revision, handlers: { onCommit(event: CommitEvent): void; onGap(): void }): { close(): void };
  /**
   * A lease that ends `ttlMs` after it was last kept alive; its keys are then removed in one commit. When the store was away
   * meanwhile, it has its whole time again.
   */
  grantLease(ttlMs: number): Promise<LeaseId>;
  /** False when it has ended. */
  keepAlive(lease: LeaseId): Promise<boolean>;
  revokeLease(lease: LeaseId): Promise<void>;
  /** Finishes what was accepted; afterwards everything rejects with `closed`. */
  close(): Promise<void>;
}
