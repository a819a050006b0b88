// What every local name answers, as ready bytes. Names of all networks share one index; a row has up to two record sets: A
// and AAAA, or PTR. Updating one name costs work for that name alone. PURE.
import { ipToBytes, parseIp, parseSubnet } from '../model/address.ts';
import type { NameRecord, PointerRecord } from './command.ts';
import { addressRecord, pointerRecord } from './message.ts';
import { doubled, NameIndex } from './name-index.ts';
import type { Query } from './query.ts';
import { type AddressRange, rangeOf, reverseName } from './reverse.ts';
import { findTargets, isProtocolName, isServiceName } from './service-ports.ts';
import {
  encodeLabels,
  hashLabels,
  LOWER,
  QUESTION_POINTER,
  readU16,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_PTR,
  writeU16,
} from './wire.ts';

/**
 * How long a client may keep an answer unless the service or its network says otherwise, in seconds. Short, because endpoints come and go within a second and a client that
 * asks again costs microseconds; not zero, because some stub resolvers take that for "ask for every packet". Docker's 600
 * is what makes its users connect to endpoints that are gone.
 */
export const ANSWER_TTL_S = 5;

/** No such row. */
export const NO_ROW = -1;
/** The row has no records of the type that was asked for. */
export const NO_RECORDS = -1;

const POINTER_BYTES = 2;
/** `_PORT` and `_PROTO`. */
const SERVICE_LABELS = 2;
/** So far the turn of a name's targets counts before it begins anew. */
const MAX_TURN = 0xffff;
const NO_BYTES = new Uint8Array(0);
const NO_NETWORKS: readonly number[] = [];

interface Zone {
  readonly name: string;
  /** The labels of the names that may stand behind its own: the network's, and its short one. */
  readonly domains: readonly { readonly labels: Uint8Array; readonly count: number }[];
  readonly subnets: readonly AddressRange[];
  /** Seconds, of names that have no TTL of their own. */
  readonly ttl: number;
}

/** Columns by row of one record set. */
class RecordSets {
  at = new Int32Array(32);
  count = new Int32Array(32);
  /** Bytes of each record of the set: all have the same. */
  size = new Int32Array(32);
  /** Which record the next answer begins with. */
  turn = new Int32Array(32);

  grow(): void {
    this.at = doubled(this.at);
    this.count = doubled(this.count);
    this.size = doubled(this.size);
    this.turn = doubled(this.turn);
  }
}

/** The port that a question `_PORT._PROTO.NAME` names, as service-reply.ts writes it. */
export interface NamedPort {
  readonly network: number;
  /** Seconds. */
  readonly ttl: number;
  readonly bytes: Uint8Array;
  /** Offset in `bytes` of what `findTargets` found. */
  readonly targetsAt: number;
  /** Which target goes first. */
  readonly turn: number;
  /** The labels behind the targets' names. */
  readonly domain: Uint8Array;
}

/** Columns by row of the ports behind a name, as encodePorts writes them. */
class PortLists {
  at = new Int32Array(32);
  length = new Int32Array(32);
  /** Seconds. */
  ttl = new Int32Array(32);
  turn = new Int32Array(32);

  grow(): void {
    this.at = doubled(this.at);
    this.length = doubled(this.length);
    this.ttl = doubled(this.ttl);
    this.turn = doubled(this.turn);
  }
}

export class AnswerTable {
  readonly #index = new NameIndex();
  /** First set: A, or PTR in the rows of addresses. Second: AAAA. */
  readonly #sets = [new RecordSets(), new RecordSets()] as const;
  readonly #ports = new PortLists();
  /** Set when the name itself exists, not only names below it. */
  #exists = new Int32Array(32);
  /** How many existing names are below this one (RFC 8020: it is then an empty non-terminal, not NXDOMAIN). */
  #below = new Int32Array(32);
  readonly #zones: (Zone | undefined)[] = [];
  /** Which networks are called by some labels, by their hash. */
  readonly #byDomain = new Map<number, number[]>();
  /** Labels of the longest name of a network that there ever was. */
  #longestDomain = 0;

  /** Names that exist and empty non-terminals, over all networks. */
  get size(): number {
    return this.#index.size;
  }

  /** Begins a network anew, without names. */
  addZone(
    network: number,
    name: string,
    shortName: string | undefined,
    subnets: readonly string[],
    ttl = ANSWER_TTL_S,
  ): void {
    this.removeZone(network);
    const domains = [name, ...(shortName === undefined ? [] : [shortName])].flatMap((domain) => {
      const labels = encodeLabels(domain);
      return labels === undefined ? [] : [{ labels, count: domain.split('.').length }];
    });
    const ranges = subnets.flatMap((text) => {
      const subnet = parseSubnet(text);
      return subnet === undefined ? [] : [rangeOf(subnet)];
    });
    this.#zones[network] = { name, domains, subnets: ranges, ttl };
    for (const { labels, count } of domains) {
      this.#countBelow(network, labels, 1);
      const hash = hashLabels(labels);
      this.#byDomain.set(hash, [...(this.#byDomain.get(hash) ?? []), network]);
      this.#longestDomain = Math.max(this.#longestDomain, count);
    }
  }

  removeZone(network: number): void {
    for (const { labels } of this.#zones[network]?.domains ?? []) {
      const hash = hashLabels(labels);
      const rest = (this.#byDomain.get(hash) ?? []).filter((other) => other !== network);
      if (rest.length === 0) this.#byDomain.delete(hash);
      else this.#byDomain.set(hash, rest);
    }
    this.#zones[network] = undefined;
    for (let row = 0; row < this.#index.rows; row++) {
      if (!this.#index.inUse(row)) continue;
      const space = this.#index.spaceOf(row);
      if (space === network || space === ~network) this.#drop(row);
    }
  }

  /** Takes over what a name means now. Names that the DNS cannot carry are left out. */
  setName(network: number, record: NameRecord): void {
    const labels = encodeLabels(record.name);
    const zone = this.#zones[network];
    if (labels === undefined || zone === undefined) return;
    const ttl = record.ttl ?? zone.ttl;
    const hash = hashLabels(labels);
    const known = this.#index.find(network, hash, labels, 0, labels.length);
    if (!record.exists) {
      if (known >= 0) this.#forget(network, known, labels);
      return;
    }
    const row = known >= 0 ? known : this.#add(network, hash, labels);
    if (this.#exists[row] === 0) this.#countBelow(network, labels, 1);
    this.#exists[row] = 1;
    const v6 = record.addresses.filter((address) => address.includes(':'));
    const v4 = record.addresses.filter((address) => !address.includes(':'));
    this.#setRecords(
      row,
      0,
      v4.map((address) => addressRecord(address, ttl)),
    );
    this.#setRecords(
      row,
      1,
      v6.map((address) => addressRecord(address, ttl)),
    );
    this.#setPorts(row, record.ports === undefined ? NO_BYTES : Buffer.from(record.ports, 'latin1'), ttl);
  }

  /** Takes over which name an address has now. */
  setPointer(network: number, record: PointerRecord): void {
    const address = parseIp(record.address);
    const zone = this.#zones[network];
    const labels = address === undefined ? undefined : encodeLabels(reverseName(ipToBytes(address)));
    if (labels === undefined || zone === undefined) return;
    const hash = hashLabels(labels);
    const known = this.#index.find(~network, hash, labels, 0, labels.length);
    const target = record.name === null ? undefined : `${record.name}.${zone.name}`;
    if (target === undefined || encodeLabels(target) === undefined) {
      if (known >= 0) this.#drop(known);
      return;
    }
    const row = known >= 0 ? known : this.#add(~network, hash, labels);
    this.#exists[row] = 1;
    this.#setRecords(row, 0, [pointerRecord(target, record.ttl ?? zone.ttl)]);
  }

  /** The row of the question's name on a network, `NAME` or `NAME.NETWORK`; NO_ROW. It may be an empty non-terminal. */
  findName(network: number, query: Query): number {
    const count = query.labelCount;
    if (count === 0) return NO_ROW;
    const row = this.#find(network, query, count);
    if (row >= 0 && this.#exists[row] === 1) return row;
    const own = this.domainLabels(network, query);
    if (own === 0 || own === count) return row;
    const below = this.#find(network, query, count - own);
    return below >= 0 ? below : row;
  }

  /**
   * The row of NAME in the question `_PORT._PROTO.NAME` or `_PORT._PROTO.NAME.NETWORK`; NO_ROW when there is no such name. `before`:
   * how many labels stand before NAME.
   */
  findServed(network: number, query: Query, before = SERVICE_LABELS): number {
    const own = this.domainLabels(network, query);
    for (const last of own === 0 ? [query.labelCount] : [query.labelCount, query.labelCount - own]) {
      if (last <= before) continue;
      const from = query.start + (query.labelAt[before] as number);
      const to = query.start + (query.labelAt[last] as number);
      const row = this.findLabels(network, query.bytes.subarray(from, to));
      if (row >= 0 && this.#exists[row] === 1) return row;
    }
    return NO_ROW;
  }

  /** The question is `NAME.NETWORK` of any network, whoever may see it, and that name exists there. */
  existsSomewhere(query: Query): boolean {
    const { bytes, start, labelAt, labelCount } = query;
    const end = start + (labelAt[labelCount] as number);
    for (let count = 1; count <= this.#longestDomain && count < labelCount; count++) {
      const from = start + (labelAt[labelCount - count] as number);
      for (const network of this.#byDomain.get(hashLabels(bytes, from, end)) ?? NO_NETWORKS) {
        const row = this.findName(network, query);
        if (row !== NO_ROW && this.exists(row)) return true;
        if (isServiceName(query) && this.findServed(network, query) !== NO_ROW) return true;
        if (isProtocolName(query) && this.findServed(network, query, 1) !== NO_ROW) return true;
      }
    }
    return false;
  }

  /** The row of a name, given as labels in any case; NO_ROW. */
  findLabels(network: number, labels: Uint8Array): number {
    return this.#index.find(network, hashLabels(labels), labels, 0, labels.length);
  }

  /** What the question asks about the name in `row`; undefined when none of its ports is called that, or nothing is there. */
  portOf(row: number, query: Query): NamedPort | undefined {
    const { at, length, turn } = this.#ports;
    const from = at[row] as number;
    const { bytes } = this.#index.arena;
    const targetsAt = findTargets(bytes, from, from + (length[row] as number), query);
    const network = this.#index.spaceOf(row);
    const domain = this.#zones[network]?.domains[0]?.labels;
    if (targetsAt < 0 || domain === undefined || readU16(bytes, targetsAt) === 0) return undefined;
    const first = turn[row] as number;
    turn[row] = (first + 1) & MAX_TURN;
    return { network, ttl: this.#ports.ttl[row] as number, bytes, targetsAt, turn: first, domain };
  }

  /** The row of the address whose reverse name is asked for; NO_ROW. */
  findPointer(network: number, query: Query): number {
    return this.#find(~network, query, query.labelCount);
  }

  /** False for an empty non-terminal. */
  exists(row: number): boolean {
    return this.#exists[row] === 1;
  }

  /** How many labels at the end of the question are one of the network's own names; 0 when it ends otherwise. */
  domainLabels(network: number, query: Query): number {
    const domains = this.#zones[network]?.domains;
    if (domains === undefined) return 0;
    for (let i = 0; i < domains.length; i++) {
      const domain = domains[i] as Zone['domains'][number];
      if (domain.count <= query.labelCount && endsWith(query, domain.labels, domain.count)) return domain.count;
    }
    return 0;
  }

  subnets(network: number): readonly AddressRange[] {
    return this.#zones[network]?.subnets ?? [];
  }

  /** Which of a row's record sets answers a type, 0 or 1; NO_RECORDS when none does. ANY takes the first there is (RFC 8482). */
  recordSet(row: number, type: number): number {
    const pointer = this.#index.spaceOf(row) < 0;
    const [first, second] = this.#sets;
    if ((type === (pointer ? TYPE_PTR : TYPE_A) || type === TYPE_ANY) && (first.count[row] as number) > 0) return 0;
    if ((type === TYPE_AAAA || type === TYPE_ANY) && (second.count[row] as number) > 0) return 1;
    return NO_RECORDS;
  }

  recordCount(row: number, set: number): number {
    return (set === 0 ? this.#sets[0] : this.#sets[1]).count[row] as number;
  }

  recordBytes(row: number, set: number): number {
    return (set === 0 ? this.#sets[0] : this.#sets[1]).size[row] as number;
  }

  /**
   * Writes the first `records` records of a set at `at`, each answer beginning one further on than the last, so that clients
   * which take the first address spread over all of them. Returns the offset behind.
   */
  copyRecords(row: number, set: number, records: number, out: Uint8Array, at: number): number {
    const sets = set === 0 ? this.#sets[0] : this.#sets[1];
    const from = sets.at[row] as number;
    const size = sets.size[row] as number;
    const total = (sets.count[row] as number) * size;
    const first = sets.turn[row] as number;
    sets.turn[row] = (first + 1) * size < total ? first + 1 : 0;
    const bytes = this.#index.arena.bytes;
    let source = first * size;
    const end = at + records * size;
    for (let target = at; target < end; target++) {
      out[target] = bytes[from + source] as number;
      if (++source === total) source = 0;
    }
    return end;
  }

  #find(space: number, query: Query, labels: number): number {
    const from = query.start + (query.labelAt[0] as number);
    const length = query.start + (query.labelAt[labels] as number) - from;
    return this.#index.find(space, query.labelHash[labels] as number, query.bytes, from, length);
  }

  #add(space: number, hash: number, labels: Uint8Array): number {
    const row = this.#index.add(space, hash, labels);
    if (row >= this.#exists.length) {
      this.#exists = doubled(this.#exists);
      this.#below = doubled(this.#below);
      for (const set of this.#sets) set.grow();
      this.#ports.grow();
    }
    return row;
  }

  #forget(network: number, row: number, labels: Uint8Array): void {
    if (this.#exists[row] === 0) return;
    this.#exists[row] = 0;
    this.#clear(row);
    this.#countBelow(network, labels, -1);
    if (this.#below[row] === 0) this.#drop(row);
  }

  #drop(row: number): void {
    this.#clear(row);
    this.#exists[row] = 0;
    this.#below[row] = 0;
    this.#index.remove(row);
  }

  #clear(row: number): void {
    this.#setRecords(row, 0, []);
    this.#setRecords(row, 1, []);
    this.#setPorts(row, NO_BYTES, 0);
  }

  #setPorts(row: number, list: Uint8Array, seconds: number): void {
    const { at, length, ttl } = this.#ports;
    const arena = this.#index.arena;
    arena.release(at[row] as number, length[row] as number);
    at[row] = arena.put(list);
    length[row] = list.length;
    ttl[row] = seconds;
  }

  /** Counts one name more or less below each of the names that it is below of. */
  #countBelow(network: number, labels: Uint8Array, change: 1 | -1): void {
    for (let at = 1 + (labels[0] as number); at < labels.length; at += 1 + (labels[at] as number)) {
      const parent = labels.subarray(at);
      const hash = hashLabels(parent);
      const known = this.#index.find(network, hash, parent, 0, parent.length);
      const row = known >= 0 ? known : this.#add(network, hash, parent);
      this.#below[row] = (this.#below[row] as number) + change;
      if (this.#below[row] === 0 && this.#exists[row] === 0) this.#drop(row);
    }
  }

  #setRecords(row: number, set: 0 | 1, records: readonly Uint8Array[]): void {
    const { at, count, size, turn } = this.#sets[set];
    const arena = this.#index.arena;
    arena.release(at[row] as number, (count[row] as number) * (size[row] as number));
    const recordBytes = records.length === 0 ? 0 : POINTER_BYTES + (records[0] as Uint8Array).length;
    const bytes = new Uint8Array(records.length * recordBytes);
    for (const [i, record] of records.entries()) {
      writeU16(bytes, i * recordBytes, QUESTION_POINTER);
      bytes.set(record, i * recordBytes + POINTER_BYTES);
    }
    at[row] = arena.put(bytes);
    count[row] = records.length;
    size[row] = recordBytes;
    turn[row] = 0;
  }
}

/** The question's last `count` labels are these, in any case. */
function endsWith(query: Query, labels: Uint8Array, count: number): boolean {
  const from = query.labelAt[query.labelCount - count] as number;
  if ((query.labelAt[query.labelCount] as number) - from !== labels.length) return false;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] !== LOWER[query.bytes[query.start + from + i] as number]) return false;
  }
  return true;
}
