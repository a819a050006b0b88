// What the store of rows needs of a database. `embedded` implements it on LMDB; tests implement it in memory, to fail on demand.

export interface Row {
  readonly key: string;
  readonly row: Buffer;
}

/** What the store needs of a database: ordered rows of bytes and durable transactions. Everything throws StoreError. */
export interface Database {
  get(key: string): Buffer | undefined;
  /** Ordered by key, `end` not included; what it gives is as of the call. */
  range(start: string, end: string): Iterable<Row>;
  /** Runs `action`, whose puts and removals are on the disk together when this returns; when it throws, none of them is. */
  transaction<T>(action: (write: Writer) => T): T;
  close(): Promise<void>;
}

export interface Writer {
  put(key: string, row: Buffer): void;
  remove(key: string): void;
}
