// How entries, commits and leases lie in the embedded store's file: one row each, with a checksum over key and text, because
// LMDB has none and a flipped bit in an address would otherwise be believed. PURE.
import type { Key, Revision } from './store.ts';

/** Raised when a version writes what older ones cannot read. */
export const ROW_FORMAT = 1;

/** The one row that says what the others must add up to. */
export interface Summary {
  readonly format: number;
  readonly revision: Revision;
  /** How many entries there are: a lost page is seen by it. */
  readonly entries: number;
}

export interface EntryRow {
  readonly value: string;
  readonly revision: Revision;
  readonly lease?: string;
}

export const SUMMARY_KEY = 'summary';
const ENTRY = 'entry/';
const COMMIT = 'commit/';
const LEASE = 'lease/';
/** Sorts after every character that a key may hold. */
const AFTER_ALL = '\x7f';

export interface RowRange {
  readonly start: string;
  readonly end: string;
}

export function entryKey(key: Key): string {
  return ENTRY + key;
}

export function keyOfEntry(rowKey: string): Key {
  return rowKey.slice(ENTRY.length);
}

export function entryRange(prefix: string): RowRange {
  return { start: ENTRY + prefix, end: ENTRY + prefix + AFTER_ALL };
}

/** 16 digits hold every safe integer, so rows sort as their revisions do. */
export function commitKey(revision: number): string {
  return COMMIT + String(revision).padStart(16, '0');
}

/** The commits before `revision`. */
export function commitsBefore(revision: number): RowRange {
  return { start: COMMIT, end: commitKey(Math.max(0, revision)) };
}

export function leaseKey(lease: string): string {
  return LEASE + lease;
}

export function leaseOfKey(rowKey: string): string {
  return rowKey.slice(LEASE.length);
}

export const LEASE_RANGE: RowRange = { start: LEASE, end: LEASE + AFTER_ALL };

/** Printable ASCII without space, so that every store orders keys alike; 512 is well below LMDB's limit of 1,978 bytes. */
const KEY = /^[\x21-\x7e]{1,512}$/;

export function isKey(key: string): boolean {
  return KEY.test(key);
}

/** `content` as JSON, without line breaks, behind a checksum that knows the key. */
export function encodeRow(rowKey: string, content: object): Buffer {
  const row = Buffer.from(`${' '.repeat(CHECKSUM_BYTES)}${JSON.stringify(content)}`);
  row.write(checksum(rowKey, row), 0, 'latin1');
  return row;
}

/** What was encoded under that key; undefined when it is damaged. */
export function decodeRow(rowKey: string, row: Buffer): unknown {
  return isSound(rowKey, row) ? JSON.parse(row.toString('utf8', CHECKSUM_BYTES)) : undefined;
}

/** False when what stands under a key is damaged. */
export function isSound(rowKey: string, row: Buffer): boolean {
  return row.toString('latin1', 0, CHECKSUM_BYTES) === checksum(rowKey, row);
}

/** 8 hexadecimal digits. */
const CHECKSUM_BYTES = 8;

/** CRC-32 (ISO 3309, as in zip) of the key, a zero and the row's text. */
function checksum(rowKey: string, row: Buffer): string {
  let crc = 0xffffffff;
  // Keys are ASCII.
  for (let at = 0; at < rowKey.length; at++) crc = crcStep(crc, rowKey.charCodeAt(at));
  crc = crcStep(crc, 0);
  for (let at = CHECKSUM_BYTES; at < row.length; at++) crc = crcStep(crc, row[at] as number);
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(CHECKSUM_BYTES, '0');
}

function crcStep(crc: number, byte: number): number {
  return (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});
