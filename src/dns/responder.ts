// From a client's message to ours, whatever it came by: reads, resolves, writes. What must be asked of an upstream is left to
// the caller, who knows where the answer is to go.
import { AF_INET, AF_INET6 } from '../native/constants.ts';
import { isMapped } from '../native/sockaddr.ts';
import { TOTAL } from '../runtime/worker-env.ts';
import type { Cached } from './answer-cache.ts';
import { placeInScope, SOURCE } from './answer-source.ts';
import { AnswerTable, NO_RECORDS } from './answer-table.ts';
import type { DnsCommand, Scope } from './command.ts';
import { placeOfType } from './counted-types.ts';
import type { Deliver, Forwarder } from './forwarder.ts';
import { type Asked, DROP, Query } from './query.ts';
import type { QueryJournal } from './query-journal.ts';
import { APEX, authorityAt, FORWARD, NO_DATA, NO_NAME, REFUSE, resolve } from './resolve.ts';
import { writeAnswer, writeApex, writeError, writeNegative } from './reply.ts';
import { startsWith } from './reverse.ts';
import { writeResponse } from './response.ts';
import { isServiceName } from './service-ports.ts';
import { writeServices } from './service-reply.ts';
import {
  EDNS_UDP_BYTES,
  MAX_MESSAGE_BYTES,
  NOERROR,
  NXDOMAIN,
  RCODE_MASK,
  readU16,
  REFUSED,
  SERVFAIL,
} from './wire.ts';

/** UDP answers that `out` holds at once, EDNS_UDP_BYTES apart. */
export const UDP_SLOTS = 64;

const LOOPBACK_NET = 127;

/** `respond` wrote nothing: no answer is to be sent. */
export const NO_REPLY = 0;
/** `respond` wrote nothing: call `forward`. */
export const ASK_UPSTREAM = -1;

/** Who asks, and how; sockets are this. */
export interface Asker {
  /** Its number, as in the command that brought the socket. */
  readonly client: number;
  readonly overTcp: boolean;
}

/** Of a socket whose scope is not known (yet): nothing exists, nothing is forwarded. */
const NOBODY: Scope = { id: -1, networks: [], forward: false };

export class Responder {
  /** Where answers are written: room for UDP_SLOTS of UDP or for one of TCP. */
  readonly out = Buffer.alloc(UDP_SLOTS * EDNS_UDP_BYTES);
  /** The message that `respond` read last. */
  readonly query = new Query();
  readonly #table = new AnswerTable();
  readonly #scopes = new Map<number, Scope>();
  readonly #forwarder: Forwarder;
  readonly #totals: Float64Array;
  readonly #journal: QueryJournal;

  /** `totals` is indexed by TOTAL. */
  constructor(forwarder: Forwarder, totals: Float64Array, journal: QueryJournal) {
    this.#forwarder = forwarder;
    this.#totals = totals;
    this.#journal = journal;
  }

  /** Takes over a command about names, scopes or upstreams; false when it is about something else. */
  handle(command: DnsCommand): boolean {
    switch (command.kind) {
      case 'zone-add':
        this.#table.addZone(command.network, command.name, command.shortName, command.subnets, command.ttl);
        return true;
      case 'zone-remove':
        this.#table.removeZone(command.network);
        return true;
      case 'zone-update':
        for (const record of command.update.names) this.#table.setName(command.update.network, record);
        for (const record of command.update.pointers) this.#table.setPointer(command.update.network, record);
        return true;
      case 'scope-set':
        this.#scopes.set(command.scope.id, command.scope);
        return true;
      case 'scope-remove':
        this.#scopes.delete(command.id);
        return true;
      case 'upstreams':
        this.#forwarder.setUpstreams(command);
        return true;
      case 'dns-cache-flush':
        this.#forwarder.flush(command.below);
        return true;
      case 'dns-query-log':
        this.#journal.set(command.share, command.queue);
        return true;
      default:
        return false;
    }
  }

  scope(id: number): Scope {
    return this.#scopes.get(id) ?? NOBODY;
  }

  /**
   * Only who is in the resolver's own network namespace is served: it asks from a loopback address, or from one on the
   * networks of the scope. Others could get here where a host routes 127.0.0.0/8 (sysctl route_localnet). The client's
   * struct sockaddr begins at `at`.
   */
  isStranger(scope: Scope, sources: Buffer, at: number): boolean {
    const family = sources[at] as number;
    if (family === AF_INET) {
      return sources[at + 4] !== LOOPBACK_NET && !this.#isInside(scope, sources, at + 4, 4);
    }
    if (family !== AF_INET6) return true;
    if (isMapped(sources, at + 8)) {
      return sources[at + 20] !== LOOPBACK_NET && !this.#isInside(scope, sources, at + 20, 4);
    }
    return !isLoopback6(sources, at + 8) && !this.#isInside(scope, sources, at + 8, 16);
  }

  /**
   * Answers the message of `length` bytes at `start` of `bytes`: the answer, of the returned length, is in `out` at `at`.
   * NO_REPLY and ASK_UPSTREAM are the other ends.
   */
  respond(bytes: Uint8Array, start: number, length: number, scope: Scope, asker: Asker, at: number): number {
    const { query, out } = this;
    this.#countQuery(asker);
    const verdict = query.read(bytes, start, length);
    if (verdict === DROP) return this.#count(TOTAL.dnsDropped, NO_REPLY);
    if (verdict !== NOERROR) return this.#error(verdict, scope, asker, at);
    this.#count(TOTAL.dnsTypes + placeOfType(query.type), 0);
    const limit = limitOf(query, asker);
    const found = resolve(query, scope, this.#table);
    if (found >= 0) {
      const length = this.#writeRecords(found, at, limit);
      if (length === 0) return this.#negative(NOERROR, scope, asker, at);
      this.#told(SOURCE.local, NOERROR, scope, asker, at);
      return length;
    }
    switch (found) {
      case FORWARD: {
        const known = this.#forwarder.known(query);
        return known === undefined ? ASK_UPSTREAM : this.#known(known, scope, asker, at);
      }
      case APEX: {
        const length = writeApex(query, query.type, out, at);
        this.#told(SOURCE.local, NOERROR, scope, asker, at);
        return length;
      }
      case REFUSE:
        return this.#error(REFUSED, scope, asker, at);
      case NO_DATA:
        return this.#negative(NOERROR, scope, asker, at);
      case NO_NAME:
        return this.#negative(NXDOMAIN, scope, asker, at);
      default:
        throw new RangeError(`resolve gave ${found}, which is no row and no constant of its own`);
    }
  }

  /** Refuses the message without looking at what it asks. */
  refuse(bytes: Uint8Array, start: number, length: number, scope: Scope, asker: Asker, at: number): number {
    this.#countQuery(asker);
    const verdict = this.query.read(bytes, start, length);
    if (verdict === DROP) return this.#count(TOTAL.dnsDropped, NO_REPLY);
    return this.#error(REFUSED, scope, asker, at);
  }

  /** Asks an upstream what `respond` just could not answer; `deliver` as in Forwarder.ask. */
  forward(scope: Scope, asker: Asker, deliver: Deliver): void {
    const { query } = this;
    const asked = this.#journal.draws() ? query.keep() : undefined;
    const askedAt = asked === undefined ? 0 : performance.now();
    this.#forwarder.ask(query, asker.client, limitOf(query, asker), (message, length, source) => {
      const rcode = readU16(message, 2) & RCODE_MASK;
      this.#countAnswer(source, rcode, scope);
      if (asked !== undefined) this.#note(asked, source, rcode, asker, message, 0, performance.now() - askedAt);
      deliver(message, length, source);
    });
  }

  /** Writes what the cache knows. */
  #known(known: Cached, scope: Scope, asker: Asker, at: number): number {
    const { query, out } = this;
    if (known.kind === 'failed') {
      const length = writeError(query, SERVFAIL, out, at);
      this.#told(SOURCE.failed, SERVFAIL, scope, asker, at);
      return length;
    }
    const isFresh = known.kind === 'fresh';
    const length = writeResponse(known.response, isFresh ? known.ageS : 0, query, out, at, limitOf(query, asker));
    this.#told(isFresh ? SOURCE.cached : SOURCE.stale, readU16(out, at + 2) & RCODE_MASK, scope, asker, at);
    return length;
  }

  /** The address that begins at `at` (4 or 16 bytes) lies in one of the scope's networks. */
  #isInside(scope: Scope, bytes: Uint8Array, at: number, length: number): boolean {
    return scope.networks.some((network) =>
      this.#table.subnets(network).some((range) => range.bytes.length === length && startsWith(bytes, at, range)),
    );
  }

  /** What the name in `row` has of the type asked for; 0 when that is nothing. */
  #writeRecords(row: number, at: number, limit: number): number {
    const { query, out } = this;
    const set = this.#table.recordSet(row, query.type);
    if (set !== NO_RECORDS) return writeAnswer(query, this.#table, row, set, out, at, limit);
    const port = isServiceName(query) ? this.#table.portOf(row, query) : undefined;
    return port === undefined ? 0 : writeServices(query, this.#table, port, out, at, limit);
  }

  #negative(rcode: number, scope: Scope, asker: Asker, at: number): number {
    if (rcode === NOERROR) this.#count(TOTAL.dnsNoData, 0);
    const authority = authorityAt(this.query, scope, this.#table);
    const length = writeNegative(this.query, rcode, authority, this.out, at);
    this.#told(SOURCE.local, rcode, scope, asker, at);
    return length;
  }

  #error(rcode: number, scope: Scope, asker: Asker, at: number): number {
    const length = writeError(this.query, rcode, this.out, at);
    this.#told(rcode === REFUSED ? SOURCE.refused : SOURCE.rejected, rcode, scope, asker, at);
    return length;
  }

  #countQuery({ overTcp }: Asker): void {
    this.#count(overTcp ? TOTAL.dnsQueriesTcp : TOTAL.dnsQueriesUdp, 0);
  }

  /** The answer that stands in `out` at `at` is on its way. */
  #told(source: number, rcode: number, scope: Scope, asker: Asker, at: number): void {
    this.#countAnswer(source, rcode, scope);
    if (this.#journal.draws()) this.#note(this.query, source, rcode, asker, this.out, at, 0);
  }

  /** Extended rcodes count as what stands in the header. */
  #countAnswer(source: number, rcode: number, { counts }: Scope): void {
    this.#count(TOTAL.dnsRcodes + (rcode & RCODE_MASK), 0);
    if (source <= SOURCE.refused) this.#count(TOTAL.dnsAnswersLocal + source, 0);
    else if (source === SOURCE.failed) this.#count(TOTAL.dnsUpstreamFailures, 0);
    if (counts === undefined) return;
    const place = placeInScope(source, rcode);
    counts[place] = (counts[place] as number) + 1;
  }

  #note(
    asked: Asked,
    source: number,
    rcode: number,
    { client, overTcp }: Asker,
    message: Uint8Array,
    at: number,
    waitedMs: number,
  ): void {
    this.#journal.note({ asked, client, overTcp, source, rcode, answers: readU16(message, at + 6), waitedMs });
  }

  #count(counter: number, result: number): number {
    this.#totals[counter] = (this.#totals[counter] as number) + 1;
    return result;
  }
}

function limitOf(query: Query, { overTcp }: Asker): number {
  return overTcp ? MAX_MESSAGE_BYTES : query.udpLimit;
}

function isLoopback6(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 15; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 15] === 1;
}
