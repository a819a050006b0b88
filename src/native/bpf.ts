// eBPF: an assembler for small programs, and the calls of bpf(2) that load and feed them.
// Encoding: RFC 9669. Layout of the calls' arguments: union bpf_attr in linux/bpf.h.
import { release } from 'node:os';
import { SYSCALL } from './constants.ts';
import { EINVAL, ENOENT, EPERM, errno, NativeError } from './errno.ts';
import { addressOf, type Fd, syscall } from './libc.ts';

/** r0 is the result; r1-r5 are arguments, lost by every call; r6-r9 are kept; r10 is the frame, 512 bytes below it. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
/** 1, 2, 4 or 8 bytes. */
export type Width = 1 | 2 | 4 | 8;
export type Condition = 'eq' | 'ne';

const INSTRUCTION_BYTES = 8;
const LOAD: Readonly<Record<Width, number>> = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 };
const STORE: Readonly<Record<Width, number>> = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b };
const STORE_CONSTANT: Readonly<Record<Width, number>> = { 1: 0x72, 2: 0x6a, 4: 0x62, 8: 0x7a };
const OP = { add: 0x07, move: 0xbf, set: 0xb7, loadMap: 0x18, jump: 0x05, call: 0x85, exit: 0x95 } as const;
const JUMP_IF: Readonly<Record<Condition, number>> = { eq: 0x15, ne: 0x55 };
/** Says that the constant is the descriptor of a map. */
const PSEUDO_MAP_FD = 1;

interface Jump {
  readonly at: number;
  readonly label: string;
}

/** Collects instructions; jumps go to labels, which may be set before or after them. Methods chain. */
export class Assembler {
  readonly #instructions: Buffer[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: Jump[] = [];

  /** target = constant */
  set(target: Register, constant: number): this {
    return this.#emit(OP.set, target, 0, 0, constant);
  }

  /** target = source */
  move(target: Register, source: Register): this {
    return this.#emit(OP.move, target, source, 0, 0);
  }

  /** target += constant */
  add(target: Register, constant: number): this {
    return this.#emit(OP.add, target, 0, 0, constant);
  }

  /** target = the bytes at base + offset */
  load(width: Width, target: Register, base: Register, offset: number): this {
    return this.#emit(LOAD[width], target, base, offset, 0);
  }

  /** the bytes at base + offset = source */
  store(width: Width, base: Register, offset: number, source: Register): this {
    return this.#emit(STORE[width], base, source, offset, 0);
  }

  /** the bytes at base + offset = constant, a signed number of 32 bits */
  storeConstant(width: Width, base: Register, offset: number, constant: number): this {
    return this.#emit(STORE_CONSTANT[width], base, 0, offset, constant);
  }

  /** target = the map */
  loadMap(target: Register, map: Fd): this {
    return this.#emit(OP.loadMap, target, PSEUDO_MAP_FD as Register, 0, map).#emit(0, 0, 0, 0, 0);
  }

  /** r0 = the helper function called with r1-r5 */
  call(helper: number): this {
    return this.#emit(OP.call, 0, 0, 0, helper);
  }

  exit(): this {
    return this.#emit(OP.exit, 0, 0, 0, 0);
  }

  jump(label: string): this {
    this.#jumps.push({ at: this.#instructions.length, label });
    return this.#emit(OP.jump, 0, 0, 0, 0);
  }

  jumpIf(condition: Condition, register: Register, constant: number, label: string): this {
    this.#jumps.push({ at: this.#instructions.length, label });
    return this.#emit(JUMP_IF[condition], register, 0, 0, constant);
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new RangeError(`the label "${name}" is set twice`);
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** The program's bytes. Throws RangeError when a jump leads nowhere. */
  assemble(): Buffer {
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new RangeError(`the label "${label}" is not set`);
      // Counted from the instruction after the jump.
      this.#instructions[at]?.writeInt16LE(target - at - 1, 2);
    }
    return Buffer.concat(this.#instructions);
  }

  #emit(code: number, target: Register, source: Register, offset: number, constant: number): this {
    const bytes = Buffer.alloc(INSTRUCTION_BYTES);
    bytes.writeUInt8(code, 0);
    bytes.writeUInt8(target | (source << 4), 1);
    bytes.writeInt16LE(offset, 2);
    bytes.writeInt32LE(constant, 4);
    this.#instructions.push(bytes);
    return this;
  }
}

export const MAP_TYPE = { hash: 1, sockmap: 15 } as const;
/** Memory for an element is taken when it is put in, not in advance. */
export const MAP_NO_PREALLOC = 1;
export const PROGRAM_TYPE = { skLookup: 30 } as const;
export const ATTACH_TYPE = { skLookup: 36 } as const;

const COMMAND = { mapCreate: 0, mapUpdate: 2, mapDelete: 3, programLoad: 5, linkCreate: 28 } as const;
const ATTRIBUTE_BYTES = 128;
/** Characters of a name that `bpftool` shows (BPF_OBJ_NAME_LEN less its NUL). */
const NAME_LENGTH = 15;
const LOG_BYTES = 64 * 1024;
/** Nothing in these programs needs a helper that is for GPL programs only. */
const LICENSE = Buffer.from('Proprietary\0');

export interface MapOptions {
  readonly type: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly maxEntries: number;
  readonly flags?: number;
}

/** `name`: letters, digits, `_` and `.`, at most 15. Throws NativeError. The caller closes the descriptor. */
export function createMap(name: string, options: MapOptions): Fd {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES);
  attributes.writeUInt32LE(options.type, 0);
  attributes.writeUInt32LE(options.keyBytes, 4);
  attributes.writeUInt32LE(options.valueBytes, 8);
  attributes.writeUInt32LE(options.maxEntries, 12);
  attributes.writeUInt32LE(options.flags ?? 0, 16);
  attributes.write(name.slice(0, NAME_LENGTH), 28, 'latin1');
  return bpfOrThrow(COMMAND.mapCreate, attributes, `map ${name}`);
}

/** Puts an element in or replaces it. Throws NativeError, E2BIG when the map is full. */
export function updateMap(map: Fd, key: Uint8Array, value: Uint8Array): void {
  if (element(COMMAND.mapUpdate, map, key, value) >= 0) return;
  throw new NativeError(errno(), 'bpf', `map element of descriptor ${map}${hint(errno())}`);
}

/** False when there was none. */
export function deleteFromMap(map: Fd, key: Uint8Array): boolean {
  if (element(COMMAND.mapDelete, map, key) >= 0) return true;
  // A sockmap answers EINVAL for a slot that is empty.
  if (errno() === ENOENT || errno() === EINVAL) return false;
  throw new NativeError(errno(), 'bpf', `map element of descriptor ${map}`);
}

export interface ProgramOptions {
  readonly type: number;
  readonly attachType: number;
}

/** Loads a program; when the kernel refuses it, the error ends with what its verifier says. The caller closes it. */
export function loadProgram(name: string, instructions: Buffer, options: ProgramOptions): Fd {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES);
  attributes.writeUInt32LE(options.type, 0);
  attributes.writeUInt32LE(instructions.length / INSTRUCTION_BYTES, 4);
  attributes.write(name.slice(0, NAME_LENGTH), 48, 'latin1');
  attributes.writeUInt32LE(options.attachType, 68);
  const pointers: Pointers = [
    [8, instructions],
    [16, LICENSE],
  ];
  const fd = bpf(COMMAND.programLoad, attributes, pointers);
  if (fd >= 0) return fd;
  const refusal = errno();
  // Asked for only now, because writing it makes loading slower.
  const log = Buffer.alloc(LOG_BYTES);
  attributes.writeUInt32LE(1, 24);
  attributes.writeUInt32LE(log.length, 28);
  const second = bpf(COMMAND.programLoad, attributes, [...pointers, [32, log]]);
  if (second >= 0) return second;
  const said = log.toString('latin1', 0, Math.max(0, log.indexOf(0))).trim();
  const verifier = said === '' ? '' : `; the verifier says: ${said}`;
  throw new NativeError(refusal, 'bpf', `program ${name}${hint(refusal)}${verifier}`);
}

/** Attaches a program to a network namespace, for as long as the returned descriptor is open. Throws NativeError. */
export function attachToNetns(program: Fd, netns: Fd, attachType: number): Fd {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES);
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(netns, 4);
  attributes.writeUInt32LE(attachType, 8);
  return bpfOrThrow(COMMAND.linkCreate, attributes, `link to network namespace descriptor ${netns}`);
}

function element(command: number, map: Fd, key: Uint8Array, value?: Uint8Array): number {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES);
  attributes.writeUInt32LE(map, 0);
  return bpf(
    command,
    attributes,
    value === undefined
      ? [[8, key]]
      : [
          [8, key],
          [16, value],
        ],
  );
}

function bpfOrThrow(command: number, attributes: Buffer, object: string): number {
  const result = bpf(command, attributes, []);
  if (result < 0) throw new NativeError(errno(), 'bpf', `${object}${hint(errno())}`);
  return result;
}

/** Where in the attributes the addresses of which memory belong. */
type Pointers = readonly (readonly [offset: number, memory: Uint8Array])[];

/** What the kernel reads or writes during the call: known by its number alone, the collector might take it away. */
const inUse: unknown[] = [];

function bpf(command: number, attributes: Buffer, pointers: Pointers): number {
  inUse.push(attributes, pointers);
  for (const [offset, memory] of pointers) attributes.writeBigUInt64LE(BigInt(addressOf(memory)), offset);
  const result = syscall(SYSCALL.bpf, command, addressOf(attributes), attributes.length, 0, 0, 0);
  inUse.length = 0;
  return result;
}

function hint(number: number): string {
  if (number === EPERM) return ' (needs CAP_BPF and CAP_NET_ADMIN, and before Linux 5.11 a larger `ulimit -l`)';
  if (number === EINVAL) return ` (sk_lookup programs need Linux 5.9; this is ${release()})`;
  return '';
}
