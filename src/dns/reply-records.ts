// Takes a message of an upstream apart, record by record, with every name in it written out: what a resolver must look at
// before it believes a message (RFC 9267 tells what goes wrong otherwise). PURE.
import {
  CLASS_IN,
  HEADER_BYTES,
  LOWER,
  MAX_LABEL_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NAME_BYTES,
  RECORD_FIXED_BYTES,
  readU16,
  TYPE_A,
  TYPE_AAAA,
  TYPE_OPT,
  TYPE_PTR,
  TYPE_SOA,
  writeU16,
} from './wire.ts';

export type Section = 'answer' | 'authority' | 'additional';

export interface ReplyRecord {
  readonly section: Section;
  readonly type: number;
  readonly isInternet: boolean;
  /** Its name as a key: see lowerKey. */
  readonly owner: string;
  /** The names in its data, as keys, in order. */
  readonly names: readonly string[];
  /** Of the record in the message. */
  readonly at: number;
  /** Behind its name. */
  readonly fixedAt: number;
  readonly end: number;
}

export interface ExpandedName {
  /** On the wire without compression, root byte included. */
  readonly name: Uint8Array;
  /** Behind the name or its pointer, in the message. */
  readonly end: number;
  /** Behind the labels that stand here, before the root byte or the pointer. */
  readonly inlineEnd: number;
}

/** How the data of a type begins: fixed bytes, then strings (length and text), then names; `rest`: bytes behind those. */
interface Layout {
  readonly fixed: number;
  readonly strings: number;
  readonly names: number;
  readonly rest: number | 'any';
}

const NAME: Layout = { fixed: 0, strings: 0, names: 1, rest: 0 };
const TWO_NAMES: Layout = { fixed: 0, strings: 0, names: 2, rest: 0 };
const PREFERENCE_AND_NAME: Layout = { fixed: 2, strings: 0, names: 1, rest: 0 };
const SIGNATURE: Layout = { fixed: 18, strings: 0, names: 1, rest: 'any' };
const SERVICE_BINDING: Layout = { fixed: 2, strings: 0, names: 1, rest: 'any' };

/** Types with names in their data (RFC 1035 section 3.3, RFC 3597 section 4 and what came later), and the two addresses. */
const LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  [TYPE_A, { fixed: 4, strings: 0, names: 0, rest: 0 }],
  [TYPE_AAAA, { fixed: 16, strings: 0, names: 0, rest: 0 }],
  // NS, MD, MF, CNAME, MB, MG, MR, DNAME
  ...[2, 3, 4, 5, 7, 8, 9, TYPE_PTR, 39].map((type): [number, Layout] => [type, NAME]),
  [TYPE_SOA, { fixed: 0, strings: 0, names: 2, rest: 20 }],
  // MINFO, RP
  ...[14, 17].map((type): [number, Layout] => [type, TWO_NAMES]),
  // MX, AFSDB, RT, KX
  ...[15, 18, 21, 36].map((type): [number, Layout] => [type, PREFERENCE_AND_NAME]),
  // PX
  [26, { fixed: 2, strings: 0, names: 2, rest: 0 }],
  // SRV, NAPTR
  [33, { fixed: 6, strings: 0, names: 1, rest: 0 }],
  [35, { fixed: 4, strings: 3, names: 1, rest: 0 }],
  // SIG, RRSIG
  ...[24, 46].map((type): [number, Layout] => [type, SIGNATURE]),
  // NSEC
  [47, { fixed: 0, strings: 0, names: 1, rest: 'any' }],
  // SVCB, HTTPS
  ...[64, 65].map((type): [number, Layout] => [type, SERVICE_BINDING]),
]);

/** All records behind the question, which ends at `from`; undefined when one of them is malformed or missing. */
export function readReplyRecords(message: Uint8Array, from: number): readonly ReplyRecord[] | undefined {
  const [answers, authorities] = [readU16(message, 6), readU16(message, 8)];
  const total = answers + authorities + readU16(message, 10);
  const records: ReplyRecord[] = [];
  for (let i = 0, at = from; i < total; i++) {
    const section = i < answers ? 'answer' : i < answers + authorities ? 'authority' : 'additional';
    const record = readRecord(message, at, section);
    if (record === undefined) return undefined;
    records.push(record);
    at = record.end;
  }
  const options = records.filter(({ type }) => type === TYPE_OPT);
  // RFC 6891 section 6.1.1: at most one, in the additional section, owned by the root.
  const fine = options.every(({ section, owner }) => section === 'additional' && owner === ROOT);
  return options.length <= 1 && fine ? records : undefined;
}

const ROOT = '\0';

function readRecord(message: Uint8Array, at: number, section: Section): ReplyRecord | undefined {
  const owner = expandName(message, at, message.length);
  if (owner === undefined || owner.end + RECORD_FIXED_BYTES > message.length) return undefined;
  const fixedAt = owner.end;
  const type = readU16(message, fixedAt);
  const end = fixedAt + RECORD_FIXED_BYTES + readU16(message, fixedAt + 8);
  if (end > message.length) return undefined;
  const isInternet = readU16(message, fixedAt + 2) === CLASS_IN;
  const layout = isInternet ? LAYOUTS.get(type) : undefined;
  const names = layout === undefined ? [] : namesIn(message, fixedAt + RECORD_FIXED_BYTES, end, layout);
  if (names === undefined) return undefined;
  const keys = names.map(({ name }) => lowerKey(name));
  return { section, type, isInternet, owner: lowerKey(owner.name), names: keys, at, fixedAt, end };
}

/** The names in a record's data, written out; undefined when it is not laid out as its type wants. */
function namesIn(message: Uint8Array, from: number, end: number, layout: Layout): readonly ExpandedName[] | undefined {
  let at = from + layout.fixed;
  for (let i = 0; i < layout.strings; i++) at += 1 + (message[at] ?? 0);
  const names: ExpandedName[] = [];
  for (let i = 0; i < layout.names; i++) {
    const name = expandName(message, at, end);
    if (name === undefined) return undefined;
    names.push(name);
    at = name.end;
  }
  if (at > end || (layout.rest !== 'any' && end - at !== layout.rest)) return undefined;
  return names;
}

const expanded = new Uint8Array(MAX_NAME_BYTES);

/**
 * The name at `at`, whose own bytes end before `end`. Undefined when it is malformed: a label above 63 bytes, 256 bytes in all,
 * or a pointer that does not lead back to before the labels it follows, which is how loops are made.
 */
export function expandName(message: Uint8Array, at: number, end: number): ExpandedName | undefined {
  let [length, next, limit, before] = [0, at, end, at];
  let [behind, inlineEnd] = [-1, -1];
  for (;;) {
    if (next >= limit) return undefined;
    const size = message[next] as number;
    if (size === 0) break;
    if (size >= POINTER) {
      if (next + 2 > limit) return undefined;
      const target = readU16(message, next) & POINTER_MASK;
      if (target < HEADER_BYTES || target >= before) return undefined;
      if (behind < 0) [behind, inlineEnd] = [next + 2, next];
      limit = message.length;
      [next, before] = [target, target];
      continue;
    }
    // The root byte has to follow.
    if (size > MAX_LABEL_BYTES || next + 1 + size >= limit || length + 1 + size >= MAX_NAME_BYTES) return undefined;
    for (let i = 0; i <= size; i++) expanded[length++] = message[next + i] as number;
    next += 1 + size;
  }
  expanded[length++] = 0;
  if (behind < 0) [behind, inlineEnd] = [next + 1, next];
  return { name: expanded.slice(0, length), end: behind, inlineEnd };
}

const POINTER = 0xc0;
const POINTER_MASK = 0x3fff;

/** A written-out name as a string to compare by: lower case, a character a byte. */
export function lowerKey(name: Uint8Array): string {
  return Buffer.from(name.map((byte) => LOWER[byte] as number)).toString('latin1');
}

/** Whether the first key is the second one, or a name below it. */
export function isAtOrBelow(name: string, above: string): boolean {
  if (!name.endsWith(above)) return false;
  // What precedes must be whole labels: text that ends the same may begin in the middle of one.
  let at = 0;
  while (at < name.length - above.length) at += 1 + name.charCodeAt(at);
  return at === name.length - above.length;
}

/** The message with these of its records, and no compressed name; undefined when that is longer than a message can be. */
export function rebuild(
  message: Uint8Array,
  questionEnd: number,
  records: readonly ReplyRecord[],
): Uint8Array | undefined {
  const parts: Uint8Array[] = [message.subarray(0, questionEnd)];
  for (const record of records) parts.push(...writtenOut(message, record));
  const bytes = Uint8Array.from(Buffer.concat(parts));
  if (bytes.length > MAX_MESSAGE_BYTES) return undefined;
  for (const [i, section] of (['answer', 'authority', 'additional'] as const).entries()) {
    writeU16(bytes, 6 + 2 * i, records.filter((record) => record.section === section).length);
  }
  return bytes;
}

function writtenOut(message: Uint8Array, { type, isInternet, at, fixedAt, end }: ReplyRecord): Uint8Array[] {
  const owner = expandName(message, at, message.length)?.name ?? new Uint8Array(1);
  const fixed = Uint8Array.from(message.subarray(fixedAt, fixedAt + RECORD_FIXED_BYTES));
  const from = fixedAt + RECORD_FIXED_BYTES;
  const layout = isInternet ? LAYOUTS.get(type) : undefined;
  const names = layout === undefined ? [] : (namesIn(message, from, end, layout) ?? []);
  const [last] = names.slice(-1);
  const firstAt = names.length === 0 ? end : nameStart(message, from, layout);
  const data = [
    message.subarray(from, firstAt),
    ...names.map(({ name }) => name),
    message.subarray(last?.end ?? end, end),
  ];
  writeU16(
    fixed,
    8,
    data.reduce((sum, { length }) => sum + length, 0),
  );
  return [owner, fixed, ...data];
}

function nameStart(message: Uint8Array, from: number, layout: Layout | undefined): number {
  let at = from + (layout?.fixed ?? 0);
  for (let i = 0; i < (layout?.strings ?? 0); i++) at += 1 + (message[at] ?? 0);
  return at;
}
