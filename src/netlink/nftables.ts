// One nftables table as netlink messages, so that no `nft` program is needed. PURE.
// Numbers and layouts: linux/netfilter/nf_tables.h, nfnetlink.h; what a rule means is written as nft(8) would show it.
import { type IpAddress, ipToBytes, prefixLength, type Subnet, subnetBase } from '../model/address.ts';
import { attribute, be32, FLAG, nested, type Request, readAttributes, text } from './message.ts';

/** Everything that is in one table of the family `inet`. */
export interface Ruleset {
  readonly chains: readonly Chain[];
  readonly sets?: readonly NftSet[];
  /** Names of counters; they begin at zero. */
  readonly counters?: readonly string[];
}

/** What rules can look up: addresses of one family, or VXLAN network identifiers. */
export type NftSet = { readonly name: string } & (
  | { readonly of: 'ipv4' | 'ipv6'; readonly elements: readonly IpAddress[] }
  | { readonly of: 'vni'; readonly elements: readonly number[] }
);

export interface Chain {
  readonly name: string;
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** Lower runs first; 0 is `filter`, 100 `srcnat`. */
  readonly priority: number;
  readonly rules: readonly Rule[];
}

/** What comes when every match holds. A packet that no rule decides is accepted. */
export interface Rule {
  readonly when: readonly Match[];
  readonly verdict: 'accept' | 'drop' | 'masquerade';
  /** Name of the counter that counts its packets. */
  readonly counter?: string;
}

export type Match =
  | { readonly kind: 'in' | 'out'; readonly link: string; readonly not?: boolean }
  /** IPv4 subnets; other packets do not match. */
  | { readonly kind: 'source' | 'destination'; readonly subnet: Subnet; readonly not?: boolean }
  /** It belongs to a connection that was let through before, or to an error about one. */
  | { readonly kind: 'known-connection' }
  /** UDP to that port. */
  | { readonly kind: 'udp'; readonly port: number }
  /** The VXLAN network identifier of a UDP packet that is a VXLAN frame (RFC 7348 section 5). */
  | { readonly kind: 'vni-in'; readonly set: string }
  /** Packets of this family whose source is not in the set. */
  | { readonly kind: 'source-not-in'; readonly of: 'ipv4' | 'ipv6'; readonly set: string };

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
  newObject: 18,
  getObject: 19,
} as const;
const NFPROTO = { unspec: 0, inet: 1, ipv4: 2, ipv6: 10 } as const;
const IPPROTO_UDP = 17;
const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
const TABLE_NAME = 1;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const;
const CHAIN_HOOK = { number: 1, priority: 2 } as const;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const SET = { table: 1, name: 2, keyType: 4, keyBytes: 5, id: 10 } as const;
/** What nft(8) shows the keys as, and how long they are. */
const SET_KEY = { ipv4: { type: 7, bytes: 4 }, ipv6: { type: 8, bytes: 16 }, vni: { type: 4, bytes: 3 } } as const;
const ELEMENTS = { table: 1, set: 2, list: 3 } as const;
const ELEMENT_KEY = 1;
const OBJECT = { table: 1, name: 2, type: 3, data: 4 } as const;
const OBJECT_COUNTER = 1;
const COUNTER_PACKETS = 2;
const NFGENMSG_BYTES = 4;
const LIST_ELEMENT = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT_CODE = 1;
const VERDICT = { drop: 0, accept: 1 } as const;
const REGISTER = { verdict: 0, first: 1 } as const;
const META = { register: 1, key: 2 } as const;
const META_KEY = { inName: 6, outName: 7, family: 15, protocol: 16 } as const;
const COMPARE = { register: 1, operator: 2, data: 3 } as const;
const OPERATOR = { equal: 0, notEqual: 1 } as const;
const PAYLOAD = { register: 1, base: 2, offset: 3, length: 4 } as const;
const NETWORK_HEADER = 1;
const TRANSPORT_HEADER = 2;
/** Offsets in the IPv4 header (RFC 791). */
const IPV4 = { source: 12, destination: 16 } as const;
const SOURCE = { ipv4: { offset: IPV4.source, bytes: 4 }, ipv6: { offset: 8, bytes: 16 } } as const;
/** From the start of the UDP header, which has eight bytes. */
const UDP = { destination: 2, vni: 12 } as const;
const LOOKUP = { set: 1, register: 2, flags: 5 } as const;
const LOOKUP_INVERTED = 1;
const OBJECT_REFERENCE = { type: 1, name: 2 } as const;
const BITWISE = { source: 1, target: 2, length: 3, mask: 4, xor: 5 } as const;
const CONNECTION = { register: 1, key: 2 } as const;
const CONNECTION_STATE = 0;
/** Bits of `ct state`: established 2, related 4 (NF_CT_STATE_BIT). Registers hold them in the machine's order. */
const ESTABLISHED_OR_RELATED = Uint8Array.of(6, 0, 0, 0);
const IFNAME_BYTES = 16;

/** A batch and the index of the request that is to be acknowledged. */
export interface Batch {
  readonly requests: readonly Request[];
  readonly acknowledged: number;
}

/** Puts a table in place of whatever had its name, in one step. */
export function replaceTable(table: string, ruleset: Ruleset): Batch {
  return batch([
    // Deleting wants it to be there, and adding it is no error when it is.
    newTable(table),
    deleteTable(table),
    newTable(table),
    ...(ruleset.counters ?? []).map((counter) => newCounter(table, counter)),
    ...(ruleset.sets ?? []).flatMap((set, index) => [newSet(table, set, index + 1), ...newElements(table, set)]),
    ...ruleset.chains.map((chain) => newChain(table, chain)),
    ...ruleset.chains.flatMap((chain) => chain.rules.map((rule) => newRule(table, chain.name, rule))),
  ]);
}

export function removeTable(table: string): Batch {
  return batch([newTable(table), deleteTable(table)]);
}

/** Puts the elements of a set in place of those that it has, in one step. */
export function replaceElements(table: string, set: NftSet): Batch {
  // Without elements it is all that are deleted.
  const emptied = message(NFT_MSG.deleteElements, 0, [text(ELEMENTS.table, table), text(ELEMENTS.set, set.name)]);
  return batch([emptied, ...newElements(table, set)]);
}

/** Asks for a counter; refused with ENOENT when there is none. */
export function getCounterRequest(table: string, counter: string): Request {
  return message(NFT_MSG.getObject, 0, [
    text(OBJECT.table, table),
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
export function getTableRequest(table: string): Request {
  return message(NFT_MSG.getTable, 0, [text(TABLE_NAME, table)]);
}

function batch(requests: readonly Request[]): Batch {
  return { requests: [edge(NFNL_BATCH.begin), ...requests, edge(NFNL_BATCH.end)], acknowledged: requests.length };
}

function edge(type: number): Request {
  return { type, flags: 0, body: header(NFPROTO.unspec, NFNL_SUBSYS_NFTABLES) };
}

function newTable(table: string): Request {
  return message(NFT_MSG.newTable, FLAG.create, [text(TABLE_NAME, table)]);
}

function deleteTable(table: string): Request {
  return message(NFT_MSG.deleteTable, 0, [text(TABLE_NAME, table)]);
}

function newChain(table: string, { name, type, hook, priority }: Chain): Request {
  return message(NFT_MSG.newChain, FLAG.create, [
    text(CHAIN.table, table),
    text(CHAIN.name, name),
    nested(CHAIN.hook, [be32(CHAIN_HOOK.number, HOOK[hook]), be32(CHAIN_HOOK.priority, priority)]),
    be32(CHAIN.policy, VERDICT.accept),
    text(CHAIN.type, type),
  ]);
}

function newCounter(table: string, counter: string): Request {
  return message(NFT_MSG.newObject, FLAG.create, [
    text(OBJECT.table, table),
    text(OBJECT.name, counter),
    be32(OBJECT.type, OBJECT_COUNTER),
    nested(OBJECT.data, []),
  ]);
}

/** `id` tells the set from others of the batch. */
function newSet(table: string, set: NftSet, id: number): Request {
  const { type, bytes } = SET_KEY[set.of];
  return message(NFT_MSG.newSet, FLAG.create, [
    text(SET.table, table),
    text(SET.name, set.name),
    be32(SET.keyType, type),
    be32(SET.keyBytes, bytes),
    be32(SET.id, id),
  ]);
}

/** Attributes have 16 bits for their length, so a set comes in parts. */
const ELEMENTS_PER_MESSAGE = 1000;

function newElements(table: string, set: NftSet): readonly Request[] {
  const keys = set.of === 'vni' ? set.elements.map(vniBytes) : set.elements.map(ipToBytes);
  return Array.from({ length: Math.ceil(keys.length / ELEMENTS_PER_MESSAGE) }, (_, i) => {
    const part = keys.slice(i * ELEMENTS_PER_MESSAGE, (i + 1) * ELEMENTS_PER_MESSAGE);
    const elements = part.map((key) => nested(LIST_ELEMENT, [nested(ELEMENT_KEY, [attribute(DATA.value, key)])]));
    return message(NFT_MSG.newElements, FLAG.create, [
      text(ELEMENTS.table, table),
      text(ELEMENTS.set, set.name),
      nested(ELEMENTS.list, elements),
    ]);
  });
}

function vniBytes(vni: number): Uint8Array {
  return Uint8Array.of(vni >>> 16, (vni >>> 8) & 0xff, vni & 0xff);
}

function newRule(table: string, chain: string, rule: Rule): Request {
  const expressions = [
    ...rule.when.flatMap(matchExpressions),
    ...(rule.counter === undefined ? [] : [count(rule.counter)]),
    outcome(rule.verdict),
  ];
  return message(NFT_MSG.newRule, FLAG.create | FLAG.append, [
    text(RULE.table, table),
    text(RULE.chain, chain),
    nested(RULE.expressions, expressions),
  ]);
}

function matchExpressions(match: Match): Buffer[] {
  switch (match.kind) {
    case 'in':
    case 'out': {
      const name = Buffer.alloc(IFNAME_BYTES);
      name.write(match.link, 'latin1');
      const key = match.kind === 'in' ? META_KEY.inName : META_KEY.outName;
      return [loadMeta(key), compare(match.not === true ? 'notEqual' : 'equal', name)];
    }
    case 'source':
    case 'destination':
      return [loadMeta(META_KEY.family), compare('equal', Uint8Array.of(NFPROTO.ipv4)), ...subnetExpressions(match)];
    case 'known-connection':
      return [
        expression('ct', [be32(CONNECTION.register, REGISTER.first), be32(CONNECTION.key, CONNECTION_STATE)]),
        mask(ESTABLISHED_OR_RELATED),
        compare('notEqual', Uint8Array.of(0, 0, 0, 0)),
      ];
    case 'udp':
      return [
        loadMeta(META_KEY.protocol),
        compare('equal', Uint8Array.of(IPPROTO_UDP)),
        load(TRANSPORT_HEADER, UDP.destination, 2),
        compare('equal', Uint8Array.of(match.port >>> 8, match.port & 0xff)),
      ];
    case 'vni-in':
      return [load(TRANSPORT_HEADER, UDP.vni, SET_KEY.vni.bytes), lookUp(match.set, false)];
    case 'source-not-in': {
      const { offset, bytes } = SOURCE[match.of];
      return [
        loadMeta(META_KEY.family),
        compare('equal', Uint8Array.of(NFPROTO[match.of])),
        load(NETWORK_HEADER, offset, bytes),
        lookUp(match.set, true),
      ];
    }
  }
}

function subnetExpressions({ kind, subnet, not }: Extract<Match, { subnet: Subnet }>): Buffer[] {
  const bits = Buffer.alloc(4);
  bits.writeUInt32BE(Number((0xffffffffn << BigInt(32 - prefixLength(subnet))) & 0xffffffffn));
  return [
    load(NETWORK_HEADER, IPV4[kind], 4),
    mask(bits),
    compare(not === true ? 'notEqual' : 'equal', ipToBytes(subnetBase(subnet))),
  ];
}

/** Part of the packet, from the start of one of its headers, into the register. */
function load(base: number, offset: number, length: number): Buffer {
  return expression('payload', [
    be32(PAYLOAD.register, REGISTER.first),
    be32(PAYLOAD.base, base),
    be32(PAYLOAD.offset, offset),
    be32(PAYLOAD.length, length),
  ]);
}

function lookUp(set: string, not: boolean): Buffer {
  return expression('lookup', [
    text(LOOKUP.set, set),
    be32(LOOKUP.register, REGISTER.first),
    ...(not ? [be32(LOOKUP.flags, LOOKUP_INVERTED)] : []),
  ]);
}

function count(counter: string): Buffer {
  return expression('objref', [be32(OBJECT_REFERENCE.type, OBJECT_COUNTER), text(OBJECT_REFERENCE.name, counter)]);
}

function outcome(verdict: Rule['verdict']): Buffer {
  if (verdict === 'masquerade') return expression('masq', []);
  return expression('immediate', [
    be32(1, REGISTER.verdict),
    nested(2, [nested(DATA.verdict, [be32(VERDICT_CODE, VERDICT[verdict])])]),
  ]);
}

function loadMeta(key: number): Buffer {
  return expression('meta', [be32(META.register, REGISTER.first), be32(META.key, key)]);
}

function compare(operator: keyof typeof OPERATOR, value: Uint8Array): Buffer {
  return expression('cmp', [
    be32(COMPARE.register, REGISTER.first),
    be32(COMPARE.operator, OPERATOR[operator]),
    nested(COMPARE.data, [attribute(DATA.value, value)]),
  ]);
}

/** Keeps the given bits of the register. */
function mask(bits: Uint8Array): Buffer {
  return expression('bitwise', [
    be32(BITWISE.source, REGISTER.first),
    be32(BITWISE.target, REGISTER.first),
    be32(BITWISE.length, bits.length),
    nested(BITWISE.mask, [attribute(DATA.value, bits)]),
    nested(BITWISE.xor, [attribute(DATA.value, new Uint8Array(bits.length))]),
  ]);
}

function expression(name: string, data: readonly Buffer[]): Buffer {
  return nested(LIST_ELEMENT, [text(EXPRESSION.name, name), nested(EXPRESSION.data, data)]);
}

function message(type: number, flags: number, attributes: readonly Buffer[]): Request {
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | type,
    flags,
    body: Buffer.concat([header(NFPROTO.inet, 0), ...attributes]),
  };
}

/** struct nfgenmsg: family, version, and in network order the subsystem that a batch is for. */
function header(family: number, subsystem: number): Buffer {
  return Buffer.from([family, 0, 0, subsystem]);
}
