// What is to be said about a file, collected while it is read, so that one reading reports everything.
import { suggestion } from './near-miss.ts';
import type { Place } from './tree.ts';

/** Enough to mend a file in one go; a file with more is broken in one place that repeats. */
export const MAX_ERRORS = 20;

interface Remark extends Place {
  readonly message: string;
}

export class Diagnostics {
  readonly #file: string;
  readonly #errors: Remark[] = [];
  readonly #warnings: Remark[] = [];
  /** By `FILE:LINE:COLUMN`. */
  readonly #unset = new Map<string, string>();
  readonly #unused = new Map<string, Remark>();

  constructor(file: string) {
    this.#file = file;
  }

  error(place: Place, message: string): void {
    this.#errors.push({ ...place, message });
  }

  warn(place: Place, message: string): void {
    this.#warnings.push({ ...place, message });
  }

  /** A variable that counts as empty; where that leads to an error, the error names it too. */
  unset(place: Place, variable: string): void {
    const key = this.at(place);
    if (!this.#unset.has(key)) this.#unset.set(key, variable);
  }

  /** A key that has a meaning for others and none here; kept once, at its first place. */
  unused(place: Place, path: string): void {
    const known = this.#unused.get(path);
    if (known === undefined || order(place, known) < 0) {
      this.#unused.set(path, { ...place, message: `${path} is accepted and not used` });
    }
  }

  /** Guessing what was meant takes time, and is worth it for the errors that will be shown. */
  hint(word: string, candidates: Iterable<string>): string {
    return this.#errors.length < 10 * MAX_ERRORS ? suggestion(word, candidates) : '';
  }

  get failed(): boolean {
    return this.#errors.length > 0;
  }

  /** `FILE:LINE:COLUMN: MESSAGE`, in the order of the file, each once, at most MAX_ERRORS. */
  errors(): readonly string[] {
    const explained = this.#errors.map((remark) => {
      const variable = this.#unset.get(this.at(remark));
      return variable === undefined
        ? remark
        : { ...remark, message: `${remark.message} (variable ${variable} is not set)` };
    });
    return this.#render(explained).slice(0, MAX_ERRORS);
  }

  warnings(): readonly string[] {
    return this.#render(this.#warnings);
  }

  unusedKeys(): readonly string[] {
    return this.#render([...this.#unused.values()]);
  }

  /** A place as messages name it. */
  at(place: Place): string {
    return `${this.#file}:${place.line}:${place.column}`;
  }

  #render(remarks: readonly Remark[]): readonly string[] {
    const lines = [...remarks].sort(order).map((remark) => `${this.at(remark)}: ${remark.message}`);
    return [...new Set(lines)];
  }
}

/** A user's text inside a message: quoted, without control characters, and never longer than a line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}

function order(a: Place, b: Place): number {
  return a.line - b.line || a.column - b.column;
}
