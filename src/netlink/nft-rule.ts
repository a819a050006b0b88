// One rule of an nftables table as netlink attributes. PURE.
// Numbers and layouts: linux/netfilter/nf_tables.h; what a rule means is written as nft(8) would show it.
import { type IpAddress, ipToBytes, prefixLength, type Subnet, subnetBase } from '../model/address.ts';
import { attribute, be32, nested, text } from './message.ts';

/** What comes when every match holds. A packet that no rule decides is accepted. */
export interface Rule {
  readonly when: readonly Match[];
  readonly verdict: 'accept' | 'drop' | 'masquerade' | SendTo;
  /** Name of the counter that counts its packets. */
  readonly counter?: string;
}

/** The connection goes there instead (`dnat ip to ADDRESS:PORT`), and no later chain of its kind is asked; IPv4. */
export interface SendTo {
  readonly address: IpAddress;
  readonly port: number;
}

export type Match =
  | { readonly kind: 'in' | 'out'; readonly link: string; readonly not?: boolean }
  /** IPv4 subnets; other packets do not match. */
  | { readonly kind: 'source' | 'destination'; readonly subnet: Subnet; readonly not?: boolean }
  /** It belongs to a connection that was let through before, or to an error about one. */
  | { readonly kind: 'known-connection' }
  | { readonly kind: 'is'; readonly field: Field; readonly value: readonly number[]; readonly not?: boolean }
  /** The fields, one after another, are an element of the set. A packet that lacks one of them does not match in any case. */
  | { readonly kind: 'in-set'; readonly fields: readonly Field[]; readonly set: string; readonly not?: boolean };

/** A part of a packet, or what is known of it. */
export type Field =
  /** Name of the link that it came in by: 16 bytes, the rest of them zero. */
  | { readonly kind: 'in-link' }
  /** One byte: NFPROTO_IPV4 2 or NFPROTO_IPV6 10. Tables of the family `inet` only. */
  | { readonly kind: 'family' }
  /** Two bytes, as in the Ethernet header. */
  | { readonly kind: 'ethertype' }
  /** One byte: what the IP packet carries, behind its extension headers. */
  | { readonly kind: 'protocol' }
  /** From the start of one of its headers; at most 16 bytes. */
  | {
      readonly kind: 'bytes';
      readonly header: 'link' | 'network' | 'transport';
      readonly offset: number;
      readonly length: number;
    };

const NFPROTO_IPV4 = 2;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const LIST_ELEMENT = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT_CODE = 1;
const VERDICT = { drop: 0, accept: 1 } as const;
/** `first` is the first 16 bytes as one register, `parts` the same and what follows in registers of four. */
const REGISTER = { verdict: 0, first: 1, second: 2, parts: 8 } as const;
const PART_BYTES = 4;
const META = { register: 1, key: 2 } as const;
const META_KEY = { ethertype: 1, inName: 6, outName: 7, family: 15, protocol: 16 } as const;
const COMPARE = { register: 1, operator: 2, data: 3 } as const;
const OPERATOR = { equal: 0, notEqual: 1 } as const;
const PAYLOAD = { register: 1, base: 2, offset: 3, length: 4 } as const;
const HEADER = { link: 0, network: 1, transport: 2 } as const;
/** Offsets in the IPv4 header (RFC 791). */
const IPV4 = { source: 12, destination: 16 } as const;
const LOOKUP = { set: 1, register: 2, flags: 5 } as const;
const LOOKUP_INVERTED = 1;
const OBJECT_COUNTER = 1;
const OBJECT_REFERENCE = { type: 1, name: 2 } as const;
const BITWISE = { source: 1, target: 2, length: 3, mask: 4, xor: 5 } as const;
const IMMEDIATE = { register: 1, data: 2 } as const;
const NAT = { type: 1, family: 2, address: 3, port: 5 } as const;
const NAT_DESTINATION = 1;
const CONNECTION = { register: 1, key: 2 } as const;
const CONNECTION_STATE = 0;
/** Bits of `ct state`: established 2, related 4 (NF_CT_STATE_BIT). Registers hold them in the machine's order. */
const ESTABLISHED_OR_RELATED = Uint8Array.of(6, 0, 0, 0);
const IFNAME_BYTES = 16;

/** The attributes of a new rule. */
export function ruleAttributes(table: string, chain: string, rule: Rule): readonly Buffer[] {
  const expressions = [
    ...rule.when.flatMap(matchExpressions),
    ...(rule.counter === undefined ? [] : [count(rule.counter)]),
    ...(typeof rule.verdict === 'object' ? sendTo(rule.verdict) : [outcome(rule.verdict)]),
  ];
  return [text(RULE.table, table), text(RULE.chain, chain), nested(RULE.expressions, expressions)];
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
      return [loadMeta(META_KEY.family), compare('equal', Uint8Array.of(NFPROTO_IPV4)), ...subnetExpressions(match)];
    case 'known-connection':
      return [
        expression('ct', [be32(CONNECTION.register, REGISTER.first), be32(CONNECTION.key, CONNECTION_STATE)]),
        mask(ESTABLISHED_OR_RELATED),
        compare('notEqual', Uint8Array.of(0, 0, 0, 0)),
      ];
    case 'is':
      return [
        loadField(match.field, REGISTER.first),
        compare(match.not === true ? 'notEqual' : 'equal', Uint8Array.from(match.value)),
      ];
    case 'in-set': {
      let register: number = REGISTER.parts;
      const loads = match.fields.map((field) => {
        const load = loadField(field, register);
        register += Math.ceil(fieldBytes(field) / PART_BYTES);
        return load;
      });
      return [...loads, lookUp(match.set, match.not === true)];
    }
  }
}

function subnetExpressions({ kind, subnet, not }: Extract<Match, { subnet: Subnet }>): Buffer[] {
  const bits = Buffer.alloc(4);
  bits.writeUInt32BE(Number((0xffffffffn << BigInt(32 - prefixLength(subnet))) & 0xffffffffn));
  return [
    load(HEADER.network, IPV4[kind], 4, REGISTER.first),
    mask(bits),
    compare(not === true ? 'notEqual' : 'equal', ipToBytes(subnetBase(subnet))),
  ];
}

function loadField(field: Field, register: number): Buffer {
  switch (field.kind) {
    case 'in-link':
      return loadMeta(META_KEY.inName, register);
    case 'family':
    case 'ethertype':
    case 'protocol':
      return loadMeta(META_KEY[field.kind], register);
    case 'bytes':
      return load(HEADER[field.header], field.offset, field.length, register);
  }
}

function fieldBytes(field: Field): number {
  switch (field.kind) {
    case 'in-link':
      return IFNAME_BYTES;
    case 'family':
    case 'ethertype':
    case 'protocol':
      return PART_BYTES;
    case 'bytes':
      return field.length;
  }
}

/** Part of the packet, from the start of one of its headers. What is left of the last four bytes of the register becomes zero. */
function load(base: number, offset: number, length: number, register: number): Buffer {
  return expression('payload', [
    be32(PAYLOAD.register, register),
    be32(PAYLOAD.base, base),
    be32(PAYLOAD.offset, offset),
    be32(PAYLOAD.length, length),
  ]);
}

function lookUp(set: string, not: boolean): Buffer {
  return expression('lookup', [
    text(LOOKUP.set, set),
    be32(LOOKUP.register, REGISTER.parts),
    ...(not ? [be32(LOOKUP.flags, LOOKUP_INVERTED)] : []),
  ]);
}

function count(counter: string): Buffer {
  return expression('objref', [be32(OBJECT_REFERENCE.type, OBJECT_COUNTER), text(OBJECT_REFERENCE.name, counter)]);
}

function sendTo({ address, port }: SendTo): Buffer[] {
  return [
    immediate(REGISTER.first, ipToBytes(address)),
    immediate(REGISTER.second, Uint8Array.of(port >>> 8, port & 0xff)),
    expression('nat', [
      be32(NAT.type, NAT_DESTINATION),
      be32(NAT.family, NFPROTO_IPV4),
      be32(NAT.address, REGISTER.first),
      be32(NAT.port, REGISTER.second),
    ]),
  ];
}

function immediate(register: number, value: Uint8Array): Buffer {
  return expression('immediate', [
    be32(IMMEDIATE.register, register),
    nested(IMMEDIATE.data, [attribute(DATA.value, value)]),
  ]);
}

function outcome(verdict: Exclude<Rule['verdict'], SendTo>): Buffer {
  if (verdict === 'masquerade') return expression('masq', []);
  return expression('immediate', [
    be32(IMMEDIATE.register, REGISTER.verdict),
    nested(IMMEDIATE.data, [nested(DATA.verdict, [be32(VERDICT_CODE, VERDICT[verdict])])]),
  ]);
}

function loadMeta(key: number, register: number = REGISTER.first): Buffer {
  return expression('meta', [be32(META.register, register), be32(META.key, key)]);
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
