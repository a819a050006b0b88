// One nftables table as netlink messages, so that no `nft` program is needed. PURE.
// Numbers and layouts: linux/netfilter/nf_tables.h, nfnetlink.h; what a rule means is written as nft(8) would show it.
import { type IpAddress, ipToBytes } from '../model/address.ts';
import { attribute, be32, FLAG, nested, type Request, readAttributes, text } from './message.ts';
import { type Rule, ruleAttributes } from './nft-rule.ts';

/** `inet`: what the node receives, forwards and sends, IPv4 and IPv6. `bridge`: the frames that pass its bridges. */
export type TableFamily = 'inet' | 'bridge';

/** Everything that is in one table. */
export interface Ruleset {
  /**
   * The kernel removes it with the socket that made it, and lets nobody else change it (NFT_TABLE_F_OWNER, Linux 5.12). Not when
   * absent.
   */
  readonly owned?: boolean;
  /** `inet` when absent. */
  readonly family?: TableFamily;
  readonly chains: readonly Chain[];
  readonly sets?: readonly NftSet[];
  /** Names of counters; they begin at zero. */
  readonly counters?: readonly string[];
}

/** `vni`: a VXLAN network identifier; `link`: the name of one. */
export type KeyPart = 'ipv4' | 'ipv6' | 'vni' | 'mac' | 'link';

/** An element of a set, part by part: names, numbers, and addresses as IpAddress and MacAddress. */
export type SetElement = readonly (string | number)[];

/** What rules can look up. */
export interface NftSet {
  readonly name: string;
  readonly of: readonly KeyPart[];
  readonly elements: readonly SetElement[];
}

/** What comes to a set and what goes; the one may be there already, the other may be gone. */
export interface SetChange {
  readonly name: string;
  readonly of: readonly KeyPart[];
  readonly add: readonly SetElement[];
  readonly remove: readonly SetElement[];
}

export interface Chain {
  readonly name: string;
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** Lower runs first; in `inet` 0 is `filter`, 100 `srcnat`, in `bridge` -200 is `filter`. */
  readonly priority: number;
  readonly rules: readonly Rule[];
}

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_BATCH = { begin: 0x10, end: 0x11 } as const;
const NFT_MSG = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  newRule: 6,
  newSet: 9,
  newElements: 12,
  deleteElements: 14,
  getGeneration: 16,
  newObject: 18,
  getObject: 19,
} as const;
const FAMILY = { unspec: 0, inet: 1, bridge: 7 } as const;
const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
const TABLE_NAME = 1;
const TABLE_FLAGS = 2;
const TABLE_OWNED = 2;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const;
const CHAIN_HOOK = { number: 1, priority: 2 } as const;
const POLICY_ACCEPT = 1;
const SET = { table: 1, name: 2, keyType: 4, keyBytes: 5, id: 10 } as const;
/** What nft(8) shows the parts of keys as, and how long they are. Behind other parts each fills up four bytes. */
const KEY_PART: Readonly<Record<KeyPart, { readonly type: number; readonly bytes: number }>> = {
  ipv4: { type: 7, bytes: 4 },
  ipv6: { type: 8, bytes: 16 },
  vni: { type: 4, bytes: 3 },
  mac: { type: 9, bytes: 6 },
  link: { type: 41, bytes: 16 },
};
/** Integers of any length are no part of keys for nft(8), so there it shows 4097 as 0.16.1.0. */
const VNI_AMONG_PARTS = KEY_PART.ipv4.type;
const KEY_TYPE_BITS = 6;
const PART_BYTES = 4;
const ELEMENTS = { table: 1, set: 2, list: 3 } as const;
const ELEMENT_KEY = 1;
const DATA_VALUE = 1;
const OBJECT = { table: 1, name: 2, type: 3, data: 4 } as const;
const OBJECT_COUNTER = 1;
const COUNTER_PACKETS = 2;
const GENERATION_ID = 1;
const NFGENMSG_BYTES = 4;
const LIST_ELEMENT = 1;

/** A batch and the index of the request that is to be acknowledged. */
export interface Batch {
  readonly requests: readonly Request[];
  readonly acknowledged: number;
}

interface Table {
  readonly name: string;
  readonly family: TableFamily;
  readonly owned?: boolean;
}

/** Puts a table in place of whatever had its name, in one step. */
export function replaceTable(
  name: string,
  { family = 'inet', owned = false, chains, counters = [], sets = [] }: Ruleset,
): Batch {
  const table = { name, family, owned };
  return batch([
    // Deleting wants it to be there, and adding it is no error when it is.
    newTable(table),
    deleteTable(table),
    newTable(table),
    ...counters.map((counter) => newCounter(table, counter)),
    ...sets.flatMap((set, index) => [newSet(table, set, index + 1), ...elementRequests('newElements', table, set)]),
    ...chains.map((chain) => newChain(table, chain)),
    ...chains.flatMap((chain) => chain.rules.map((rule) => newRule(table, chain.name, rule))),
  ]);
}

export function removeTable(name: string, family: TableFamily = 'inet'): Batch {
  return batch([newTable({ name, family }), deleteTable({ name, family })]);
}

/** Puts the elements of a set in place of those that it has, in one step. */
export function replaceElements(name: string, set: NftSet, family: TableFamily = 'inet'): Batch {
  const table = { name, family };
  // Without elements it is all that are deleted.
  const emptied = message(table, NFT_MSG.deleteElements, 0, [text(ELEMENTS.table, name), text(ELEMENTS.set, set.name)]);
  return batch([emptied, ...elementRequests('newElements', table, set)]);
}

/** Changes sets in one step, at a price that depends on the changes alone. */
export function changeElements(name: string, changes: readonly SetChange[], family: TableFamily = 'inet'): Batch {
  const table = { name, family };
  return batch(
    changes.flatMap(({ add, remove, ...set }) => [
      // Deleting wants them to be there, and adding them is no error when they are.
      ...elementRequests('newElements', table, { ...set, elements: [...remove, ...add] }),
      ...elementRequests('deleteElements', table, { ...set, elements: remove }),
    ]),
  );
}

/** Asks for a counter; refused with ENOENT when there is none. */
export function getCounterRequest(name: string, counter: string, family: TableFamily = 'inet'): Request {
  return message({ name, family }, NFT_MSG.getObject, 0, [
    text(OBJECT.table, name),
    text(OBJECT.name, counter),
    be32(OBJECT.type, OBJECT_COUNTER),
  ]);
}

/** The packets that a counter has counted; undefined when the bytes are no counter. */
export function readCounter(body: Buffer): number | undefined {
  const data = readAttributes(body, NFGENMSG_BYTES).get(OBJECT.data);
  const packets = data === undefined ? undefined : readAttributes(data).get(COUNTER_PACKETS);
  return packets?.length === 8 ? Number(packets.readBigUInt64BE(0)) : undefined;
}

/** Asks for a table; refused with ENOENT when there is none. */
export function getTableRequest(name: string, family: TableFamily = 'inet'): Request {
  return message({ name, family }, NFT_MSG.getTable, 0, [text(TABLE_NAME, name)]);
}

/** Asks how often the tables of the namespace have been changed, by whomever. */
export function getGenerationRequest(): Request {
  return { type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG.getGeneration, flags: 0, body: header(FAMILY.unspec, 0) };
}

/** Undefined when the bytes are no answer to that. */
export function readGeneration(body: Buffer): number | undefined {
  const id = readAttributes(body, NFGENMSG_BYTES).get(GENERATION_ID);
  return id?.length === 4 ? id.readUInt32BE(0) : undefined;
}

function batch(requests: readonly Request[]): Batch {
  return { requests: [edge(NFNL_BATCH.begin), ...requests, edge(NFNL_BATCH.end)], acknowledged: requests.length };
}

function edge(type: number): Request {
  return { type, flags: 0, body: header(FAMILY.unspec, NFNL_SUBSYS_NFTABLES) };
}

function newTable(table: Table): Request {
  const flags = table.owned === true ? [be32(TABLE_FLAGS, TABLE_OWNED)] : [];
  return message(table, NFT_MSG.newTable, FLAG.create, [text(TABLE_NAME, table.name), ...flags]);
}

function deleteTable(table: Table): Request {
  return message(table, NFT_MSG.deleteTable, 0, [text(TABLE_NAME, table.name)]);
}

function newChain(table: Table, { name, type, hook, priority }: Chain): Request {
  return message(table, NFT_MSG.newChain, FLAG.create, [
    text(CHAIN.table, table.name),
    text(CHAIN.name, name),
    nested(CHAIN.hook, [be32(CHAIN_HOOK.number, HOOK[hook]), be32(CHAIN_HOOK.priority, priority)]),
    be32(CHAIN.policy, POLICY_ACCEPT),
    text(CHAIN.type, type),
  ]);
}

function newRule(table: Table, chain: string, rule: Rule): Request {
  return message(table, NFT_MSG.newRule, FLAG.create | FLAG.append, ruleAttributes(table.name, chain, rule));
}

function newCounter(table: Table, counter: string): Request {
  return message(table, NFT_MSG.newObject, FLAG.create, [
    text(OBJECT.table, table.name),
    text(OBJECT.name, counter),
    be32(OBJECT.type, OBJECT_COUNTER),
    nested(OBJECT.data, []),
  ]);
}

/** `id` tells the set from others of the batch. */
function newSet(table: Table, set: NftSet, id: number): Request {
  return message(table, NFT_MSG.newSet, FLAG.create, [
    text(SET.table, table.name),
    text(SET.name, set.name),
    be32(SET.keyType, keyType(set.of)),
    be32(SET.keyBytes, keyBytes(set.of)),
    be32(SET.id, id),
  ]);
}

function keyType(of: readonly KeyPart[]): number {
  const type = (part: KeyPart): number => (part === 'vni' && of.length > 1 ? VNI_AMONG_PARTS : KEY_PART[part].type);
  return of.reduce((before, part) => (before << KEY_TYPE_BITS) | type(part), 0);
}

/** A part that is alone is as long as it is. */
function partBytes(part: KeyPart, of: readonly KeyPart[]): number {
  const { bytes } = KEY_PART[part];
  return of.length === 1 ? bytes : Math.ceil(bytes / PART_BYTES) * PART_BYTES;
}

function keyBytes(of: readonly KeyPart[]): number {
  return of.reduce((sum, part) => sum + partBytes(part, of), 0);
}

/** Attributes have 16 bits for their length, so a set comes in parts. */
const ELEMENTS_PER_MESSAGE = 1000;

function elementRequests(what: 'newElements' | 'deleteElements', table: Table, set: NftSet): readonly Request[] {
  const keys = set.elements.map((element) => keyOf(set, element));
  return Array.from({ length: Math.ceil(keys.length / ELEMENTS_PER_MESSAGE) }, (_, i) => {
    const part = keys.slice(i * ELEMENTS_PER_MESSAGE, (i + 1) * ELEMENTS_PER_MESSAGE);
    const elements = part.map((key) => nested(LIST_ELEMENT, [nested(ELEMENT_KEY, [attribute(DATA_VALUE, key)])]));
    return message(table, NFT_MSG[what], what === 'newElements' ? FLAG.create : 0, [
      text(ELEMENTS.table, table.name),
      text(ELEMENTS.set, set.name),
      nested(ELEMENTS.list, elements),
    ]);
  });
}

function keyOf({ name, of }: NftSet, element: SetElement): Uint8Array {
  const key = new Uint8Array(keyBytes(of));
  let at = 0;
  for (const [i, part] of of.entries()) {
    const bytes = bytesOf(part, element[i]);
    if (bytes?.length !== KEY_PART[part].bytes)
      throw new RangeError(`${String(element[i])} is no ${part}, for set ${name}`);
    key.set(bytes, at);
    at += partBytes(part, of);
  }
  return key;
}

function bytesOf(part: KeyPart, value: string | number | undefined): Uint8Array | undefined {
  if (typeof value === 'number') return Uint8Array.of(value >>> 16, (value >>> 8) & 0xff, value & 0xff);
  if (value === undefined) return undefined;
  if (part === 'mac') return Uint8Array.from(value.split(':'), (byte) => Number.parseInt(byte, 16));
  if (part === 'link') return Buffer.concat([Buffer.from(value, 'latin1')], KEY_PART.link.bytes);
  return ipToBytes(value as IpAddress);
}

function message({ family }: Table, type: number, flags: number, attributes: readonly Buffer[]): Request {
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | type,
    flags,
    body: Buffer.concat([header(FAMILY[family], 0), ...attributes]),
  };
}

/** struct nfgenmsg: family, version, and in network order the subsystem that a batch is for. */
function header(family: number, subsystem: number): Buffer {
  return Buffer.from([family, 0, 0, subsystem]);
}
