// The ports behind a name in bytes, for SRV: a hundred thousand services cost no objects, and a question is compared as it came.
// PURE.
import type { ServicePort } from './command.ts';
import type { Query } from './query.ts';
import { encodeLabels, LOWER, MAX_LABEL_BYTES, readU16, writeU16 } from './wire.ts';

const UNDERSCORE = 0x5f;

/** True for `_PORT._PROTO.NAME`. */
export function isServiceName({ bytes, start, labelAt, labelCount }: Query): boolean {
  return (
    labelCount >= 3 &&
    bytes[start + (labelAt[0] as number) + 1] === UNDERSCORE &&
    bytes[start + (labelAt[1] as number) + 1] === UNDERSCORE
  );
}

const PROTOCOLS = ['\x04_tcp', '\x04_udp'].map((label) => [...Buffer.from(label, 'latin1')]);

/** True for `_tcp.NAME` and `_udp.NAME`, below which all of NAME's ports are. */
export function isProtocolName({ bytes, start, labelAt, labelCount }: Query): boolean {
  if (labelCount < 2) return false;
  const from = start + (labelAt[0] as number);
  return PROTOCOLS.some((label) => label.every((byte, i) => LOWER[bytes[from + i] as number] === byte));
}

/**
 * For each port: bytes of the whole entry (16 bits), the protocol as a label, the count of labels and those, the count of
 * targets (16 bits) and of each its port (16 bits), the bytes of its labels, and those. As text of a character a byte.
 */
export function encodePorts(ports: readonly ServicePort[]): string {
  const bytes = Buffer.alloc(ports.reduce((sum, port) => sum + mostBytes(port), 0));
  let at = 0;
  for (const { protocol, labels, targets } of ports) {
    const entry = at;
    at = writeLabel(bytes, at + 2, protocol);
    const countAt = at++;
    for (const label of labels) {
      if (label.length === 0 || label.length >= MAX_LABEL_BYTES) continue;
      at = writeLabel(bytes, at, label);
      bytes[countAt] = (bytes[countAt] as number) + 1;
    }
    const targetsAt = at;
    at += 2;
    let count = 0;
    for (const { name, port } of targets) {
      const encoded = encodeLabels(name);
      if (encoded === undefined) continue;
      writeU16(bytes, at, port);
      bytes[at + 2] = encoded.length;
      bytes.set(encoded, at + 3);
      at += 3 + encoded.length;
      count++;
    }
    writeU16(bytes, targetsAt, count);
    writeU16(bytes, entry, at - entry);
  }
  return bytes.toString('latin1', 0, at);
}

/** Of an entry, when nothing of it is left out. */
function mostBytes({ protocol, labels, targets }: ServicePort): number {
  const named = labels.reduce((sum, label) => sum + 1 + label.length, 0);
  return targets.reduce((sum, { name }) => sum + 4 + name.length, 2 + 1 + protocol.length + 1 + named + 2);
}

function writeLabel(bytes: Uint8Array, at: number, text: string): number {
  bytes[at] = text.length;
  for (let i = 0; i < text.length; i++) bytes[at + 1 + i] = text.charCodeAt(i);
  return at + 1 + text.length;
}

/** Where the targets of the port that the question names begin among `bytes[from, end)`; -1 when no port is called that. */
export function findTargets(bytes: Uint8Array, from: number, end: number, query: Query): number {
  for (let entry = from; entry < end; entry += readU16(bytes, entry)) {
    let at = entry + 2;
    const isProtocol = names(query, 1, bytes, at);
    at += 1 + (bytes[at] as number);
    let isPort = false;
    for (let left = bytes[at++] as number; left > 0; left--) {
      isPort ||= names(query, 0, bytes, at);
      at += 1 + (bytes[at] as number);
    }
    if (isProtocol && isPort) return at;
  }
  return -1;
}

/** Of each target the offset of its port; `at` is what findTargets gave. */
export function targetsAt(bytes: Uint8Array, at: number): readonly number[] {
  const offsets: number[] = [];
  let next = at + 2;
  for (let left = readU16(bytes, at); left > 0; left--) {
    offsets.push(next);
    next += 3 + (bytes[next + 2] as number);
  }
  return offsets;
}

/** The question's label number `label` is an underscore and the label at `at`, in any case. */
function names(query: Query, label: number, bytes: Uint8Array, at: number): boolean {
  const asked = query.start + (query.labelAt[label] as number);
  const length = bytes[at] as number;
  if (query.bytes[asked] !== length + 1) return false;
  for (let i = 1; i <= length; i++) {
    if (LOWER[query.bytes[asked + 1 + i] as number] !== bytes[at + i]) return false;
  }
  return true;
}
