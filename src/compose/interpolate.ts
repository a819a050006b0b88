// `$NAME`, `${NAME}`, `${NAME:-default}` and their relatives, as the Compose specification has them. PURE.

export type Interpolation =
  | {
      readonly ok: true;
      readonly text: string /** Variables that were not set and had no default. */;
      readonly unset: readonly string[];
    }
  | { readonly ok: false; readonly problem: string };

export type Environment = Readonly<Record<string, string | undefined>>;

/** `${A:-${B:-…}}` deeper than this is a mistake or an attack on the stack. */
const MAX_DEPTH = 32;

/** One value grows to at most this many UTF-16 units, whatever the variables hold. */
const MAX_LENGTH = 1 << 20;

/**
 * `$$` is a dollar sign. `:-` and `-` give a default when the variable is unset (with `:`, or empty), `:+` and `+` replace a
 * value that is set, `:?` and `?` make it required. What stands behind the operator may hold variables itself.
 */
export function interpolate(text: string, environment: Environment): Interpolation {
  if (!text.includes('$')) return { ok: true, text, unset: [] };
  try {
    const scan = new Scan(text, environment);
    return { ok: true, text: scan.until(undefined, 0, true), unset: [...scan.unset] };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, problem: error.message };
    throw error;
  }
}

const UNCLOSED = `a "$\{" is never closed by "}"`;

class Refusal extends Error {}

class Scan {
  readonly unset = new Set<string>();
  readonly #text: string;
  readonly #environment: Environment;
  #at = 0;

  constructor(text: string, environment: Environment) {
    this.#text = text;
    this.#environment = environment;
  }

  /** Reads up to `end` (or the end of the text). `live` is false in a branch that will not be used. */
  until(end: '}' | undefined, depth: number, live: boolean): string {
    if (depth > MAX_DEPTH) throw new Refusal(`variables are nested more than ${MAX_DEPTH} deep`);
    let out = '';
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at];
      if (char === end) return out;
      out += char === '$' ? this.#dollar(depth, live) : char;
      if (char !== '$') this.#at++;
      if (out.length > MAX_LENGTH) throw new Refusal(`the value grows beyond ${MAX_LENGTH} characters`);
    }
    if (end !== undefined) throw new Refusal(UNCLOSED);
    return out;
  }

  #dollar(depth: number, live: boolean): string {
    this.#at++;
    if (this.#text[this.#at] === '$') {
      this.#at++;
      return '$';
    }
    const braced = this.#text[this.#at] === '{';
    if (braced) this.#at++;
    const name = this.#name();
    if (name === '') {
      throw new Refusal(`${braced ? '"${"' : '"$"'} is not followed by a name; write "$$" for a dollar sign itself`);
    }
    return braced ? this.#braced(name, depth, live) : this.#value(name, live);
  }

  #braced(name: string, depth: number, live: boolean): string {
    const operator = /^(?::?[-+?])?/.exec(this.#text.slice(this.#at, this.#at + 2))?.[0] ?? '';
    this.#at += operator.length;
    const known = this.#lookup(name);
    const present = operator.startsWith(':') ? known !== undefined && known !== '' : known !== undefined;
    const kind = operator.at(-1);
    if (this.#at >= this.#text.length) throw new Refusal(UNCLOSED);
    if (kind === undefined && this.#text[this.#at] !== '}') {
      throw new Refusal(`"\${${name}" is followed by neither "}" nor one of :- - :+ + :? ?`);
    }
    const word = this.until('}', depth + 1, live && (kind === '+' ? present : !present));
    this.#at++;
    if (kind === '-') return present ? (known ?? '') : word;
    if (kind === '+') return present ? word : '';
    if (kind === undefined) return this.#value(name, live);
    if (!present && live)
      throw new Refusal(`variable ${name} is required${word === '' ? ' and not set' : `: ${word}`}`);
    return known ?? '';
  }

  #value(name: string, live: boolean): string {
    const known = this.#lookup(name);
    if (known === undefined && live) this.unset.add(name);
    return known ?? '';
  }

  #lookup(name: string): string | undefined {
    return Object.hasOwn(this.#environment, name) ? this.#environment[name] : undefined;
  }

  #name(): string {
    const pattern = /[A-Za-z_][A-Za-z0-9_]*/y;
    pattern.lastIndex = this.#at;
    const name = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += name.length;
    return name;
  }
}
