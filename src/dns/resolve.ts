// Decides what a question gets: a local answer, or one of four other ends. PURE.
import { type AnswerTable, NO_ROW } from './answer-table.ts';
import type { Scope } from './command.ts';
import type { Query } from './query.ts';
import { isReverse, rangeContains, reverseRange } from './reverse.ts';
import { isServiceName } from './service-ports.ts';
import { HEADER_BYTES, LOWER, TYPE_ANY, TYPE_AXFR, TYPE_IXFR, TYPE_SRV } from './wire.ts';

/** The name exists and has no record to give: NOERROR without answers. */
export const NO_DATA = -1;
/** No such name, and nobody else is asked. */
export const NO_NAME = -2;
/** Not ours: ask an upstream. */
export const FORWARD = -3;
/** Not ours, and this client's questions may not leave the node. */
export const REFUSE = -4;

const ADDRESS_BITS_V4 = 32;
const ADDRESS_BITS_V6 = 128;

/**
 * A row of the table (≥ 0) whose records answer the question, if it has any of the type asked for; else one of the four
 * constants. The client's networks are tried in order and the first that has the name decides; names of other networks do
 * not exist. Allocates only for reverse names without an owner.
 */
export function resolve(query: Query, scope: Scope, table: AnswerTable): number {
  const { networks } = scope;
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
  if (isReverse(query)) return resolveReverse(query, scope, table);
  if (emptyNonTerminal) return NO_DATA;
  const own = ownDomain(query, scope, table);
  if (own > 0) return own === query.labelCount ? NO_DATA : NO_NAME;
  if (isMeantForUs(query)) return NO_NAME;
  if (!scope.forward || query.type === TYPE_AXFR || query.type === TYPE_IXFR) return REFUSE;
  return FORWARD;
}

/**
 * Where the name that owns a negative answer's SOA begins in the message: the client's network under which the question lies,
 * or 0 for the root, which is above every question.
 */
export function authorityAt(query: Query, scope: Scope, table: AnswerTable): number {
  const own = ownDomain(query, scope, table);
  return own === 0 ? 0 : (query.labelAt[query.labelCount - own] ?? HEADER_BYTES);
}

function findServed(query: Query, scope: Scope, table: AnswerTable): number {
  for (const network of scope.networks) {
    const row = table.findServed(network, query);
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
  const range = reverseRange(query);
  if (range !== undefined) {
    const whole = range.bits === (range.bytes.length === 4 ? ADDRESS_BITS_V4 : ADDRESS_BITS_V6);
    for (const network of scope.networks) {
      // A shorter name may have addresses below it, so it is never said not to exist.
      if (table.subnets(network).some((subnet) => rangeContains(subnet, range))) return whole ? NO_NAME : NO_DATA;
    }
  }
  return scope.forward ? FORWARD : REFUSE;
}
