// YAML text → Tree: places, anchors, merge keys, and the limits that keep a hostile file cheap. The only importer of `yaml`.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  Scalar,
  visit,
  type YAMLParseError,
} from 'yaml';
import { type Diagnostics, quote } from './diagnostics.ts';
import type { Entry, Place, Tree } from './tree.ts';

/** Real stack files have a few kilobytes; the largest public ones stay below 200 KiB. */
export const MAX_FILE_BYTES = 1 << 20;

/** Values that come out of aliases, all together. A file that needs more is an alias bomb. */
const MAX_ALIASED_VALUES = 100_000;

/** A stack file needs about ten levels. What is behind an alias counts as standing there. */
const MAX_DEPTH = 100;

const TOO_DEEP = `maps and lists are nested more than ${MAX_DEPTH} deep`;

/** Reads a file's one document. Undefined when it is no usable YAML, which `diagnostics` then says. */
export function readDocument(text: string, diagnostics: Diagnostics): Tree | undefined {
  const start = { line: 1, column: 1 };
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_FILE_BYTES) {
    diagnostics.error(start, `the file has ${bytes} bytes; a stack file may have ${MAX_FILE_BYTES}`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parse(text, lines);
  if (document instanceof Error) {
    diagnostics.error(start, `not readable as YAML: ${firstLine(document.message)}`);
    return undefined;
  }
  if (document.errors.length > 0) {
    reportSyntax(document, lines, diagnostics);
    return undefined;
  }
  for (const warning of document.warnings) diagnostics.warn(placeAt(lines, warning.pos[0]), firstLine(warning.message));
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    diagnostics.error(start, 'the file is empty; a stack file begins with `services:`');
    return undefined;
  }
  try {
    return new TreeBuilder(document, lines, diagnostics).build(document.contents);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    diagnostics.error(error.place, error.message);
    return undefined;
  }
}

/** Errors are collected by the parser; what it throws all the same is a bug of the parser, and the file's problem here. */
function parse(text: string, lineCounter: LineCounter): Document.Parsed | Error {
  try {
    // Duplicate keys and merge keys are the builder's work, which knows both places.
    return parseDocument(text, {
      lineCounter,
      prettyErrors: false,
      uniqueKeys: false,
      merge: false,
      logLevel: 'error',
    });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The first in the file: the others mostly follow from it, and in what is no YAML at all there is no end of them. */
function reportSyntax(document: Document.Parsed, lines: LineCounter, diagnostics: Diagnostics): void {
  const [first, ...more] = document.errors
    .map((error) => ({ error, place: placeAt(lines, error.pos[0]) }))
    .sort((a, b) => a.error.pos[0] - b.error.pos[0]);
  if (first === undefined) return;
  const others = new Set(more.map(({ place }) => place.line).filter((line) => line !== first.place.line)).size;
  const rest =
    others === 0 ? '' : `; ${others} more ${others === 1 ? 'line is' : 'lines are'} wrong, perhaps because of it`;
  diagnostics.error(first.place, `${syntaxMessage(first.error)}${rest}`);
}

function syntaxMessage(error: YAMLParseError): string {
  if (error.code === 'MULTIPLE_DOCS') return 'a stack file holds one YAML document; here a second one begins';
  if (error.code === 'RESOURCE_EXHAUSTION') return TOO_DEEP;
  return firstLine(error.message);
}

/**
 * What each alias stands for: the nearest anchor of its name before it. One pass over the file, where asking each alias (`resolve`)
 * walks the file from its start every time.
 */
function aliasTargets(document: Document.Parsed): ReadonlyMap<Node, Node> {
  const anchors = new Map<string, Node>();
  const targets = new Map<Node, Node>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) {
        anchors.set(node.anchor, node);
      }
    },
  });
  return targets;
}

class Refused extends Error {
  readonly place: Place;

  constructor(place: Place, message: string) {
    super(message);
    this.place = place;
  }
}

class TreeBuilder {
  readonly #lines: LineCounter;
  readonly #diagnostics: Diagnostics;
  readonly #targets: ReadonlyMap<Node, Node>;
  /** Aliases that are being followed: meeting one again means that it contains itself. */
  readonly #following: Node[] = [];
  #aliased = 0;
  #depth = 0;

  constructor(document: Document.Parsed, lines: LineCounter, diagnostics: Diagnostics) {
    this.#targets = aliasTargets(document);
    this.#lines = lines;
    this.#diagnostics = diagnostics;
  }

  build(node: Node | null): Tree {
    if (node === null) return nothing({ line: 1, column: 1 });
    const place = this.#place(node);
    if (this.#following.length > 0 && ++this.#aliased > MAX_ALIASED_VALUES) {
      throw new Refused(
        place,
        `aliases unfold to more than ${MAX_ALIASED_VALUES} values; write the file without so many`,
      );
    }
    if (isScalar(node)) return this.#scalar(node, place);
    if (++this.#depth > MAX_DEPTH) throw new Refused(place, TOO_DEEP);
    const tree = this.#nested(node, place);
    this.#depth--;
    return tree;
  }

  #nested(node: Node, place: Place): Tree {
    if (isAlias(node)) return this.#follow(node.source, this.#targets.get(node), place);
    if (isMap(node)) {
      return { kind: 'map', place, entries: this.#entries(node.items as Pair<Node, Node | null>[], place) };
    }
    if (isSeq(node)) return { kind: 'list', place, items: node.items.map((item) => this.build(item as Node | null)) };
    return nothing(place);
  }

  #follow(name: string, target: Node | undefined, place: Place): Tree {
    if (target === undefined) throw new Refused(place, `no anchor &${name} stands before this alias`);
    if (this.#following.includes(target)) throw new Refused(place, `the alias *${name} contains itself`);
    this.#following.push(target);
    const tree = this.build(target);
    this.#following.pop();
    return tree;
  }

  #scalar(node: Scalar, place: Place): Tree {
    const { value } = node;
    const source = node.source ?? String(value);
    const known = value === null || ['string', 'number', 'boolean'].includes(typeof value);
    return { kind: 'scalar', place, value: known ? (value as string | number | boolean | null) : source, source };
  }

  #entries(pairs: readonly Pair<Node, Node | null>[], mapPlace: Place): readonly Entry[] {
    const own = new Map<string, Entry>();
    const merges: Tree[] = [];
    for (const { key, value } of pairs) {
      const keyPlace = key === null ? mapPlace : this.#place(key);
      const name = keyName(key);
      if (name === undefined) {
        this.#diagnostics.error(keyPlace, 'a key must be a plain word here');
        continue;
      }
      const tree = isEmpty(value) ? nothing(keyPlace) : this.build(value);
      const before = own.get(name);
      if (before !== undefined) {
        const first = this.#diagnostics.at(before.keyPlace);
        this.#diagnostics.error(keyPlace, `the key ${quote(name)} stands twice in this map, first at ${first}`);
        continue;
      }
      own.set(name, { key: name, keyPlace, value: tree });
      if (isMergeKey(key)) merges.push(...(tree.kind === 'list' ? tree.items : [tree]));
    }
    if (merges.length === 0) return [...own.values()];
    own.delete('<<');
    return this.#merge(own, merges);
  }

  /** The map's own keys win, then the earlier of the merged maps (yaml.org/type/merge.html). */
  #merge(own: Map<string, Entry>, merges: readonly Tree[]): readonly Entry[] {
    for (const tree of merges) {
      if (tree.kind !== 'map') {
        this.#diagnostics.error(tree.place, '`<<` merges a map or a list of maps');
        continue;
      }
      this.#aliased += tree.entries.length;
      for (const entry of tree.entries) if (!own.has(entry.key)) own.set(entry.key, entry);
    }
    return [...own.values()];
  }

  #place(node: Node): Place {
    return placeAt(this.#lines, node.range?.[0] ?? 0);
  }
}

function isMergeKey(key: Node | null): boolean {
  return isScalar(key) && key.value === '<<' && key.type === Scalar.PLAIN;
}

/** Numbers and booleans are words too, where a key is wanted (`80:`, `true:`). */
function keyName(key: Node | null): string | undefined {
  if (!isScalar(key) || key.value === null) return undefined;
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
}

/** `key:` and nothing behind it; the key's place is then the better one to name. */
function isEmpty(value: Node | null): value is null {
  return value === null || (isScalar(value) && value.value === null && value.source === '');
}

function nothing(place: Place): Tree {
  return { kind: 'scalar', place, value: null, source: '' };
}

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

function firstLine(message: string): string {
  const line = message.split('\n', 1)[0] ?? '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a log.
  return line.replace(/[\u0000-\u001f\u007f]/g, '?').slice(0, 200);
}
