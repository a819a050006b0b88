// Netlink messages and attributes as bytes, in the machine's byte order, which is little-endian on every platform that is
// supported (x86-64, arm64). PURE. Layout: linux/netlink.h; RFC 3549 section 2.3.

/** Flags of a message header (linux/netlink.h). */
export const FLAG = {
  request: 0x1,
  ack: 0x4,
  dump: 0x300,
  /** With a NEW request: replace what exists. */
  replace: 0x100,
  /** With a NEW request: fail with EEXIST when it exists. */
  exclusive: 0x200,
  /** With a NEW request: create what does not exist. */
  create: 0x400,
  append: 0x800,
} as const;

export const MESSAGE_ERROR = 2;
const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
/** The two upper bits of an attribute's type say "nested" and "network byte order"; the rest is the type. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const NESTED = 0x8000;

/** A request without its header: the socket adds sequence number and port. */
export interface Request {
  readonly type: number;
  /** Beside `request` and `ack`, which every request has. */
  readonly flags: number;
  readonly body: Buffer;
}

export interface Message {
  readonly type: number;
  readonly seq: number;
  readonly body: Buffer;
}

/** One attribute, padded to four bytes. */
export function attribute(type: number, data: Uint8Array): Buffer {
  const length = ATTRIBUTE_HEADER_BYTES + data.length;
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(data, ATTRIBUTE_HEADER_BYTES);
  return bytes;
}

export function nested(type: number, attributes: readonly Buffer[]): Buffer {
  return attribute(type | NESTED, Buffer.concat(attributes));
}

export function u8(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value));
}

export function u32(type: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value >>> 0);
  return attribute(type, data);
}

/** 16 bits in network byte order. */
export function be16(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value >>> 8, value & 0xff));
}

/** 32 bits in network byte order, as nf_tables wants its numbers; negative ones as two's complement. */
export function be32(type: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value >>> 0);
  return attribute(type, data);
}

/** Text with its closing NUL. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`, 'latin1'));
}

export type Attributes = ReadonlyMap<number, Buffer>;

/**
 * The attributes of a message or of a nested attribute, all or those of some types; of a repeated one the last. A cut-off one is left
 * out. A link has more than fifty, which are costly to take apart.
 */
export function readAttributes(bytes: Buffer, offset = 0, types?: ReadonlySet<number>): Attributes {
  const result = new Map<number, Buffer>();
  for (let at = offset; at + ATTRIBUTE_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > bytes.length) break;
    const type = bytes.readUInt16LE(at + 2) & ATTRIBUTE_TYPE_MASK;
    if (types === undefined || types.has(type))
      result.set(type, bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += align(length);
  }
  return result;
}

/** Text up to its first NUL. */
export function readText(data: Buffer | undefined): string | undefined {
  if (data === undefined) return undefined;
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end < 0 ? data.length : end);
}

export function readU32(data: Buffer | undefined): number | undefined {
  return data === undefined || data.length < 4 ? undefined : data.readUInt32LE(0);
}

/** A whole message with its header, for batches that are written by hand. */
export function frame(request: Request, seq: number): Buffer {
  const bytes = Buffer.alloc(align(HEADER_BYTES + request.body.length));
  bytes.writeUInt32LE(HEADER_BYTES + request.body.length, 0);
  bytes.writeUInt16LE(request.type, 4);
  bytes.writeUInt16LE(request.flags | FLAG.request, 6);
  bytes.writeUInt32LE(seq, 8);
  bytes.set(request.body, HEADER_BYTES);
  return bytes;
}

/** What an ERROR message says: 0 is the acknowledgement, else a positive errno. */
export function readError(body: Buffer): number {
  return body.length < 4 ? 0 : -body.readInt32LE(0);
}

function align(length: number): number {
  return (length + 3) & ~3;
}
