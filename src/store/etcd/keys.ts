// Our keys among all keys of an etcd: everything of ours lies under one prefix. PURE.
import { isKey } from '../rows.ts';
import type { Key } from '../store.ts';

export interface KeyRange {
  readonly key: Buffer;
  /** Not included. */
  readonly rangeEnd: Buffer;
}

export class KeySpace {
  readonly #start: string;

  /** `prefix` as in EtcdAddress. */
  constructor(prefix: string) {
    this.#start = `${prefix}/`;
  }

  encode(key: Key): Buffer {
    return Buffer.from(this.#start + key);
  }

  /** Undefined for what lies under our prefix but is none of our keys: a marker, or what somebody else has put there. */
  decode(bytes: Buffer): Key | undefined {
    const key = bytes.toString('utf8').slice(this.#start.length);
    return isKey(key) ? key : undefined;
  }

  /** All keys that begin with `prefix`; with '', all of ours. */
  range(prefix: string): KeyRange {
    const key = Buffer.from(this.#start + prefix);
    const rangeEnd = Buffer.from(key);
    // UTF-8 has no byte 255, so there is always a next one.
    rangeEnd.writeUInt8((rangeEnd.at(-1) as number) + 1, rangeEnd.length - 1);
    return { key, rangeEnd };
  }

  /** Written to see a watch come past it. No key holds a space, so it meets none. */
  get marker(): Buffer {
    return Buffer.from(`${this.#start} marker`);
  }

  /** A key that is never written; another one for each number. */
  absent(number: number): Buffer {
    return Buffer.from(`${this.#start} absent ${number}`);
  }
}
