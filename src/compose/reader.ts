// Typed values out of a Tree. Every method reports what is wrong with its place and then returns undefined, so that reading
// goes on and a file's mistakes are all found at once.
import { type Diagnostics, quote } from './diagnostics.ts';
import { MAX_DURATION_MS, parseDuration } from './duration.ts';
import { type Environment, interpolate } from './interpolate.ts';
import { nearest } from './near-miss.ts';
import { type Entry, isNull, kindOf, type ListTree, type MapTree, type Place, type Tree } from './tree.ts';

/** The keys of one kind of map: what is read, and what is accepted and unused. */
export interface KnownKeys {
  /** Where this map stands, as unused keys are named: `services.*`, '' for the file itself. */
  readonly path: string;
  readonly used: readonly string[];
  readonly unused: readonly string[];
  /** Keys of others that cannot be ignored without surprise → why, as the end of a sentence. */
  readonly refused?: Readonly<Record<string, string>>;
}

export class Reader {
  readonly diagnostics: Diagnostics;
  readonly #environment: Environment;
  /** Values that several readers look at (an anchor, a list read twice) warn of a variable once. */
  readonly #warned = new Set<string>();
  /** What variables have added to the file so far; see MAX_EXPANDED. */
  #expanded = 0;

  #rangePorts = 0;

  constructor(diagnostics: Diagnostics, environment: Environment) {
    this.diagnostics = diagnostics;
    this.#environment = environment;
  }

  /** The values of a map's known keys; null where nothing is written counts as absent. */
  fields(tree: Tree, what: string, keys: KnownKeys): ReadonlyMap<string, Entry> | undefined {
    const map = this.map(tree, what);
    if (map === undefined) return undefined;
    const fields = new Map<string, Entry>();
    for (const entry of map.entries) {
      if (this.#isKnown(entry, what, keys) && !isNull(entry.value)) fields.set(entry.key, entry);
    }
    return fields;
  }

  #isKnown({ key, keyPlace }: Entry, what: string, keys: KnownKeys): boolean {
    if (keys.used.includes(key)) return true;
    if (keys.unused.includes(key)) {
      this.diagnostics.unused(keyPlace, keys.path === '' ? key : `${keys.path}.${key}`);
      return false;
    }
    const refused = keys.refused !== undefined && Object.hasOwn(keys.refused, key) ? keys.refused[key] : undefined;
    if (refused !== undefined) {
      this.diagnostics.error(keyPlace, `${what}: "${key}" ${refused}`);
    } else if (!key.startsWith('x-')) {
      const known = [...keys.used, ...keys.unused].filter((one) => !one.startsWith('x-'));
      this.diagnostics.error(keyPlace, `${what}: unknown key ${quote(key)}${this.diagnostics.hint(key, known)}`);
    } else if (nearest(key, [EXTENSION]) !== undefined) {
      const place = keys.used.includes(EXTENSION)
        ? `did you mean "${EXTENSION}"?`
        : `"${EXTENSION}" belongs into a service`;
      this.diagnostics.warn(keyPlace, `${what}: ${quote(key)} is not read here; ${place}`);
    }
    return false;
  }

  map(tree: Tree, what: string): MapTree | undefined {
    return tree.kind === 'map' ? tree : this.#wrong(tree, what, 'a map');
  }

  list(tree: Tree, what: string): ListTree | undefined {
    return tree.kind === 'list' ? tree : this.#wrong(tree, what, 'a list');
  }

  /** A text, variables filled in; numbers and booleans are taken as they are written. */
  text(tree: Tree, what: string): string | undefined {
    if (tree.kind !== 'scalar' || tree.value === null) return this.#wrong(tree, what, 'a text');
    if (typeof tree.value !== 'string') return /^[-+]?\d+$/.test(tree.source) ? tree.source : String(tree.value);
    return this.#interpolated(tree.value, tree.place, what);
  }

  /** A whole number from 0 up to `max`; a text that holds one will do, since that is what variables give. */
  integer(tree: Tree, what: string, max: number): number | undefined {
    const text = tree.kind === 'scalar' ? this.text(tree, what) : undefined;
    if (text === undefined && tree.kind === 'scalar') return undefined;
    const value = text !== undefined && /^\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;
    if (value !== undefined && value <= max) return value;
    const found = text === undefined ? kindOf(tree) : quote(text);
    this.diagnostics.error(tree.place, `${what} must be a whole number from 0 to ${max}, not ${found}`);
    return undefined;
  }

  boolean(tree: Tree, what: string): boolean | undefined {
    if (tree.kind === 'scalar' && typeof tree.value === 'boolean') return tree.value;
    const text = tree.kind === 'scalar' && typeof tree.value === 'string' ? this.text(tree, what) : undefined;
    if (text === undefined && tree.kind === 'scalar' && typeof tree.value === 'string') return undefined;
    const word = text?.toLowerCase() ?? '';
    if (TRUE_WORDS.includes(word)) return true;
    if (FALSE_WORDS.includes(word)) return false;
    this.diagnostics.error(
      tree.place,
      `${what} must be true or false, not ${text === undefined ? kindOf(tree) : quote(text)}`,
    );
    return undefined;
  }

  /** Milliseconds. */
  duration(tree: Tree, what: string): number | undefined {
    const text = tree.kind === 'scalar' ? this.text(tree, what) : undefined;
    if (text === undefined && tree.kind === 'scalar') return undefined;
    const value = text === undefined ? undefined : parseDuration(text.trim());
    if (value !== undefined) return value;
    const found = text === undefined ? kindOf(tree) : quote(text);
    const hint = text !== undefined && /^\d+$/.test(text) ? `; did you mean "${text.slice(0, 15)}s"?` : '';
    const longest = `${Math.floor(MAX_DURATION_MS / 86_400_000)} days`;
    this.diagnostics.error(
      tree.place,
      `${what} must be a duration such as 500ms, 10s or 1m30s, at most ${longest}, not ${found}${hint}`,
    );
    return undefined;
  }

  /** One of several words. */
  word<const T extends string>(tree: Tree, what: string, words: readonly T[]): T | undefined {
    const text = this.text(tree, what);
    if (text === undefined) return undefined;
    const found = words.find((one) => one === text);
    if (found === undefined) {
      const choice = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
      this.diagnostics.error(
        tree.place,
        `${what} is ${choice}, not ${quote(text)}${this.diagnostics.hint(text, words)}`,
      );
    }
    return found;
  }

  /** `{a: b}` or `[a=b]`, as labels and options are written. A key without value has the empty one. */
  record(tree: Tree, what: string): Readonly<Record<string, string>> {
    if (tree.kind === 'map') {
      return Object.fromEntries(
        tree.entries.map(({ key, value }) => [
          key,
          isNull(value) ? '' : (this.text(value, `${what} ${quote(key)}`) ?? ''),
        ]),
      );
    }
    if (tree.kind !== 'list') return this.#wrong(tree, what, 'a map or a list of NAME=VALUE') ?? {};
    const pairs: (readonly [string, string])[] = [];
    for (const item of tree.items) {
      const text = this.text(item, what);
      if (text === undefined) continue;
      const equals = text.indexOf('=');
      const pair = equals < 0 ? ([text, ''] as const) : ([text.slice(0, equals), text.slice(equals + 1)] as const);
      if (pair[0] === '') this.diagnostics.error(item.place, `${what}: ${quote(text)} has no name before "="`);
      else pairs.push(pair);
    }
    return Object.fromEntries(pairs);
  }

  /** Whether a range of so many ports still fits the file; MAX_RANGE_PORTS says why it may not. */
  takeRange(ports: number): boolean {
    this.#rangePorts += ports - 1;
    return this.#rangePorts <= MAX_RANGE_PORTS;
  }

  #interpolated(text: string, place: Place, what: string): string | undefined {
    const result = interpolate(text, this.#environment);
    if (!result.ok) {
      this.diagnostics.error(place, `${what}: ${result.problem}`);
      return undefined;
    }
    this.#expanded += Math.max(0, result.text.length - text.length);
    if (this.#expanded > MAX_EXPANDED) {
      this.diagnostics.error(place, `${what}: variables make the file larger than ${MAX_EXPANDED} characters`);
      return undefined;
    }
    for (const name of result.unset) this.#warnUnset(name, place);
    return result.text;
  }

  #warnUnset(name: string, place: Place): void {
    this.diagnostics.unset(place, name);
    if (this.#warned.has(name)) return;
    this.#warned.add(name);
    this.diagnostics.warn(
      place,
      `variable ${name} is not set; it is taken as empty (write \${${name}:-DEFAULT} to give it a value)`,
    );
  }

  #wrong(tree: Tree, what: string, wanted: string): undefined {
    this.diagnostics.error(tree.place, `${what} must be ${wanted}, not ${kindOf(tree)}`);
    return undefined;
  }
}

/** The one extension that is read. */
export const EXTENSION = 'x-vipmesh';

/** What variables may add to one file, in characters: as much as the file itself may have. */
const MAX_EXPANDED = 1 << 20;

/**
 * What port ranges may add to one file. Each port costs every worker a socket, and a short text can ask for all of them many
 * times over; a node has about 20,000 descriptors.
 */
export const MAX_RANGE_PORTS = 4096;

/** Docker's own lists (YAML 1.1 counted them as booleans, and variables give only texts). */
const TRUE_WORDS: readonly string[] = ['true', 'y', 'yes', 'on'];
const FALSE_WORDS: readonly string[] = ['false', 'n', 'no', 'off'];
