// Decides what a question gets: a local answer, or one of four other ends. PURE.
import { type AnswerTable, NO_ROW } from './answer-table.ts';
import type { Scope } from './command.ts';
import type { Query } from './query.ts';
import { isReverse, isReverse4, rangeContains, reverseRange } from './reverse.ts';
import { isProtocolName, isServiceName } from './service-ports.ts';
import { HEADER_BYTES, LOWER, TYPE_ANY, TYPE_AXFR, TYPE_IXFR, TYPE_NS, TYPE_SOA, TYPE_SRV } from './wire.ts';

/** The name exists and has no record to give: NOERROR without answers. */
export const NO_DATA = -1;
/** No such name, and nobody else is asked. */
export const NO_NAME = -2;
/** Not ours: ask an upstream. */
export const FORWARD = -3;
/** Not ours, and this client's questions may not leave the node. */
export const REFUSE = -4;
/** The name of a network of the client's, or of its addresses in reverse, which has the records of a zone itself (SOA, NS). */
export const APEX = -5;

const ADDRESS_BITS_V4 = 32;
const ADDRESS_BITS_V6 = 128;

/** Of a label in the reverse trees. */
const BITS_PER_OCTET = 8;
const BITS_PER_NIBBLE = 4;

/**
 * A row of the table (≥ 0) whose records answer the question, if it has any of the type asked for; else one of the five
 * constants. The client's networks are tried in order and the first that has the name decides; names of other networks do
 * not exist. Allocates only for reverse names without an owner.
 */
export function resolve(query: Query, scope: Scope, table: AnswerTable): number {
  const { networks } = scope;
  const ofZone = query.type === TYPE_SOA || query.type === TYPE_NS;
  if (ofZone && ownDomain(query, scope, table) === query.labelCount && query.labelCount > 0) return APEX;
  let emptyNonTerminal = false;
  for (let i = 0; i < networks.length; i++) {
    const row = table.findName(networks[i] as number, query);
    if (row === NO_ROW) continue;
    if (table.exists(row)) return row;
    emptyNonTerminal = true;
  }
  if (isServiceName(query)) {
    const row = findServed(query, scope, table);
    // Whatever else is asked there, or of a port that is not called that, is no error.
    if (row !== NO_ROW) return query.type === TYPE_SRV || query.type === TYPE_ANY ? row : NO_DATA;
  }
  if (isProtocolName(query) && findServed(query, scope, table, 1) !== NO_ROW) return NO_DATA;
  if (isReverse(query)) return resolveReverse(query, scope, table);
  if (emptyNonTerminal) return NO_DATA;
  const own = ownDomain(query, scope, table);
  if (own > 0) return own === query.labelCount ? atApex(query) : NO_NAME;
  if (isMeantForUs(query)) return NO_NAME;
  if (!scope.forward || query.type === TYPE_AXFR || query.type === TYPE_IXFR) return REFUSE;
  // What means something on another network is nobody else's business. The rest may be a name of the world: a network that is
  // called `dev` must not hide example.dev from those who are not on it.
  return table.existsSomewhere(query) ? NO_NAME : FORWARD;
}

function atApex(query: Query): number {
  return query.type === TYPE_SOA || query.type === TYPE_NS || query.type === TYPE_ANY ? APEX : NO_DATA;
}

/**
 * Where the name that owns a negative answer's SOA begins in the message: the client's network, or the reverse of its subnet,
 * under which the question lies; or 0 for the root, which is above every question.
 */
export function authorityAt(query: Query, scope: Scope, table: AnswerTable): number {
  const own = isReverse(query) ? reverseZone(query, scope, table) : ownDomain(query, scope, table);
  return own === 0 ? 0 : (query.labelAt[query.labelCount - own] ?? HEADER_BYTES);
}

/** `before`: labels before the name that has the ports. */
function findServed(query: Query, scope: Scope, table: AnswerTable, before?: number): number {
  for (const network of scope.networks) {
    const row = table.findServed(network, query, before);
    if (row !== NO_ROW) return row;
  }
  return NO_ROW;
}

/** A single label, with or without what may stand before it: upstream it would be a question about a top-level domain. */
function isMeantForUs(query: Query): boolean {
  const { bytes, start, labelAt, labelCount } = query;
  if (labelCount === 1) return true;
  if (labelCount === 3) return isServiceName(query);
  if (labelCount !== 2) return false;
  if (isProtocolName(query)) return true;
  const from = start + (labelAt[0] as number);
  return TASKS.every((byte, i) => LOWER[bytes[from + i] as number] === byte);
}

/** The label below which a service's endpoints are. */
const TASKS = [...Buffer.from('\x05tasks', 'latin1')];

/** How many of the question's last labels name one of the client's networks. */
function ownDomain(query: Query, scope: Scope, table: AnswerTable): number {
  let most = 0;
  for (let i = 0; i < scope.networks.length; i++) {
    const labels = table.domainLabels(scope.networks[i] as number, query);
    if (labels > most) most = labels;
  }
  return most;
}

/** Addresses of our subnets are ours alone, used or not; upstream they would mean somebody else's network. */
function resolveReverse(query: Query, scope: Scope, table: AnswerTable): number {
  for (let i = 0; i < scope.networks.length; i++) {
    const row = table.findPointer(scope.networks[i] as number, query);
    if (row !== NO_ROW) return row;
  }
  const zone = reverseZone(query, scope, table);
  if (zone === 0) return scope.forward ? FORWARD : REFUSE;
  if (zone === query.labelCount) return atApex(query);
  // A shorter name may have addresses below it, so it is never said not to exist.
  return query.labelCount - 2 ===
    (isReverse4(query) ? ADDRESS_BITS_V4 / BITS_PER_OCTET : ADDRESS_BITS_V6 / BITS_PER_NIBBLE)
    ? NO_NAME
    : NO_DATA;
}

/** How many of the question's last labels are the reverse of one of the client's subnets; 0 when it lies in none. */
function reverseZone(query: Query, scope: Scope, table: AnswerTable): number {
  const range = reverseRange(query);
  if (range === undefined) return 0;
  const width = range.bytes.length === 4 ? BITS_PER_OCTET : BITS_PER_NIBBLE;
  for (const network of scope.networks) {
    const subnet = table.subnets(network).find((one) => rangeContains(one, range));
    // A subnet that ends within a label is cut into one zone for each value of that label.
    if (subnet !== undefined) return Math.ceil(subnet.bits / width) + 2;
  }
  return 0;
}
