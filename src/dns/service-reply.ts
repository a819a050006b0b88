// Writes SRV answers: the targets of a port, and in the additional section their addresses, so that a client need not ask again.
// PURE, except that several targets turn their order.
import type { AnswerTable, NamedPort } from './answer-table.ts';
import type { Asked } from './query.ts';
import { writeOpt, writeStart } from './reply.ts';
import { targetsAt } from './service-ports.ts';
import {
  CLASS_IN,
  FLAG_AA,
  FLAG_TC,
  NOERROR,
  OPT_BYTES,
  QUESTION_POINTER,
  RECORD_FIXED_BYTES,
  readU16,
  TYPE_SRV,
  writeU16,
  writeU32,
} from './wire.ts';

const POINTER_BYTES = 2;
/** Priority, weight and port, before the target's name. */
const SRV_FIXED_BYTES = 6;
/** Offsets from here on do not fit a compression pointer (RFC 1035 section 4.1.4). */
const POINTER_REACH = 0x4000;

/** The message's length. Targets that do not fit `limit` set TC; addresses that do not fit are left out (RFC 2181 section 9). */
export function writeServices(
  query: Asked,
  table: AnswerTable,
  port: NamedPort,
  out: Uint8Array,
  at: number,
  limit: number,
): number {
  const room = at + limit - (query.hasEdns ? OPT_BYTES : 0);
  const targets = targetsAt(port.bytes, port.targetsAt);
  const written: { readonly target: number; readonly nameAt: number }[] = [];
  let end = writeStart(query, FLAG_AA, NOERROR, out, at);
  for (let i = 0; i < targets.length; i++) {
    const target = targets[(i + port.turn) % targets.length] as number;
    const nameAt = end + POINTER_BYTES + RECORD_FIXED_BYTES + SRV_FIXED_BYTES;
    const next = nameAt + (port.bytes[target + 2] as number) + port.domain.length + 1;
    if (next > room) break;
    writeTarget(port, target, targets.length, out, end, next);
    written.push({ target, nameAt });
    end = next;
  }
  writeU16(out, at + 6, written.length);
  if (written.length < targets.length) writeU16(out, at + 2, readU16(out, at + 2) | FLAG_TC);
  for (const { target, nameAt } of written) {
    if (nameAt - at >= POINTER_REACH) break;
    end = writeAddresses(table, port, target, nameAt - at, out, at, end, room);
  }
  return writeOpt(query, NOERROR, out, at, end) - at;
}

/** RFC 2782: the target's name is not compressed, and the weight is 0 where there is nothing to choose. */
function writeTarget(port: NamedPort, target: number, of: number, out: Uint8Array, at: number, end: number): void {
  const { bytes, domain } = port;
  writeU16(out, at, QUESTION_POINTER);
  writeU16(out, at + 2, TYPE_SRV);
  writeU16(out, at + 4, CLASS_IN);
  writeU32(out, at + 6, port.ttl);
  writeU16(out, at + 10, end - at - POINTER_BYTES - RECORD_FIXED_BYTES);
  writeU16(out, at + 12, 0);
  writeU16(out, at + 14, of > 1 ? 1 : 0);
  writeU16(out, at + 16, readU16(bytes, target));
  const length = bytes[target + 2] as number;
  const nameAt = at + 18;
  for (let i = 0; i < length; i++) out[nameAt + i] = bytes[target + 3 + i] as number;
  for (let i = 0; i < domain.length; i++) out[nameAt + length + i] = domain[i] as number;
  out[end - 1] = 0;
}

/** All addresses of a target, or none of a family: part of them would hide that there are more. */
function writeAddresses(
  table: AnswerTable,
  port: NamedPort,
  target: number,
  name: number,
  out: Uint8Array,
  at: number,
  from: number,
  room: number,
): number {
  const { bytes, network } = port;
  const row = table.findLabels(network, bytes.subarray(target + 3, target + 3 + (bytes[target + 2] as number)));
  if (row < 0) return from;
  let end = from;
  for (const set of [0, 1]) {
    const [count, size] = [table.recordCount(row, set), table.recordBytes(row, set)];
    if (count === 0 || end + count * size > room) continue;
    const first = end;
    end = table.copyRecords(row, set, count, out, end);
    for (let record = first; record < end; record += size) writeU16(out, record, 0xc000 | name);
    writeU16(out, at + 10, readU16(out, at + 10) + count);
  }
  return end;
}
