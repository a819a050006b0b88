// PURE: small dense numbers for things that the data path keeps in arrays.

/** Hands out the lowest numbers that are free; a number that was given back rests until `mayReuse` says that nobody needs it. */
export class Slots<Key> {
  readonly #numbers = new Map<Key, number>();
  /** Who had each number last. */
  readonly #owners: Key[] = [];
  readonly #resting: number[] = [];
  readonly #capacity: number;
  readonly #mayReuse: (number: number) => boolean;
  readonly #onTaken: (number: number) => void;
  #next = 0;

  /** `onTaken`: a number has got a new owner. */
  constructor(
    capacity: number,
    mayReuse: (number: number) => boolean = () => true,
    onTaken: (number: number) => void = () => {},
  ) {
    this.#capacity = capacity;
    this.#mayReuse = mayReuse;
    this.#onTaken = onTaken;
  }

  get(key: Key): number | undefined {
    return this.#numbers.get(key);
  }

  /** The key's number, new if it had none. Undefined when all are taken. */
  take(key: Key): number | undefined {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#free();
    if (number === undefined) return undefined;
    this.#numbers.set(key, number);
    this.#owners[number] = key;
    this.#onTaken(number);
    return number;
  }

  /** Who has this number, or had it last; undefined when nobody ever did. */
  owner(number: number): Key | undefined {
    return this.#owners[number];
  }

  release(key: Key): number | undefined {
    const number = this.#numbers.get(key);
    if (number === undefined) return undefined;
    this.#numbers.delete(key);
    this.#resting.push(number);
    return number;
  }

  entries(): IterableIterator<[Key, number]> {
    return this.#numbers.entries();
  }

  #free(): number | undefined {
    const rested = this.#resting.findIndex((number) => this.#mayReuse(number));
    if (rested >= 0) return this.#resting.splice(rested, 1)[0];
    return this.#next < this.#capacity ? this.#next++ : undefined;
  }
}
