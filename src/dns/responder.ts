// From a client's message to ours, whatever it came by: reads, resolves, writes. What must be asked of an upstream is left to
// the caller, who knows where the answer is to go.
import { AF_INET, AF_INET6 } from '../native/constants.ts';
import { isMapped } from '../native/sockaddr.ts';
import { TOTAL } from '../runtime/worker-env.ts';
import { AnswerTable, NO_RECORDS } from './answer-table.ts';
import type { DnsCommand, Scope } from './command.ts';
import { placeOfType } from './counted-types.ts';
import type { Deliver, Forwarder } from './forwarder.ts';
import { DROP, Query } from './query.ts';
import { APEX, authorityAt, FORWARD, NO_DATA, NO_NAME, REFUSE, resolve } from './resolve.ts';
import { writeAnswer, writeApex, writeError, writeNegative } from './reply.ts';
import { startsWith } from './reverse.ts';
import { isServiceName } from './service-ports.ts';
import { writeServices } from './service-reply.ts';
import { EDNS_UDP_BYTES, MAX_MESSAGE_BYTES, NOERROR, NXDOMAIN, RCODE_MASK, readU16, REFUSED } from './wire.ts';

/** UDP answers that `out` holds at once, EDNS_UDP_BYTES apart. */
export const UDP_SLOTS = 64;

const LOOPBACK_NET = 127;

/** `respond` wrote nothing: no answer is to be sent. */
export const NO_REPLY = 0;
/** `respond` wrote nothing: call `forward`. */
export const ASK_UPSTREAM = -1;

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

  /** `totals` is indexed by TOTAL. */
  constructor(forwarder: Forwarder, totals: Float64Array) {
    this.#forwarder = forwarder;
    this.#totals = totals;
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
  respond(bytes: Uint8Array, start: number, length: number, scope: Scope, overTcp: boolean, at: number): number {
    const { query, out } = this;
    this.#countQuery(overTcp);
    const verdict = query.read(bytes, start, length);
    if (verdict === DROP) return this.#count(TOTAL.dnsDropped, NO_REPLY);
    if (verdict !== NOERROR) return this.#error(verdict, at);
    this.#count(TOTAL.dnsTypes + placeOfType(query.type), 0);
    const limit = overTcp ? MAX_MESSAGE_BYTES : query.udpLimit;
    const found = resolve(query, scope, this.#table);
    if (found >= 0) {
      const length = this.#writeRecords(found, at, limit);
      if (length === 0) return this.#negative(NOERROR, scope, at);
      this.#countRcode(NOERROR);
      return this.#count(TOTAL.dnsAnswersLocal, length);
    }
    switch (found) {
      case FORWARD: {
        const cached = this.#forwarder.fromCache(query, out, at, limit);
        if (cached === 0) return ASK_UPSTREAM;
        this.#countRcode(readU16(out, at + 2));
        return cached;
      }
      case APEX:
        this.#countRcode(NOERROR);
        return this.#count(TOTAL.dnsAnswersLocal, writeApex(query, query.type, out, at));
      case REFUSE:
        return this.#error(REFUSED, at);
      case NO_DATA:
        return this.#negative(NOERROR, scope, at);
      case NO_NAME:
        return this.#negative(NXDOMAIN, scope, at);
      default:
        throw new RangeError(`resolve gave ${found}, which is no row and no constant of its own`);
    }
  }

  /** Refuses the message without looking at what it asks. */
  refuse(bytes: Uint8Array, start: number, length: number, overTcp: boolean, at: number): number {
    this.#countQuery(overTcp);
    const verdict = this.query.read(bytes, start, length);
    if (verdict === DROP) return this.#count(TOTAL.dnsDropped, NO_REPLY);
    return this.#error(REFUSED, at);
  }

  /** Asks an upstream what `respond` just could not answer; `client` and `deliver` as in Forwarder.ask. */
  forward(overTcp: boolean, client: number, deliver: Deliver): void {
    const limit = overTcp ? MAX_MESSAGE_BYTES : this.query.udpLimit;
    this.#forwarder.ask(this.query, client, limit, (message, length) => {
      this.#countRcode(readU16(message, 2));
      deliver(message, length);
    });
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

  #negative(rcode: number, scope: Scope, at: number): number {
    this.#countRcode(rcode);
    if (rcode === NOERROR) this.#count(TOTAL.dnsNoData, 0);
    const authority = authorityAt(this.query, scope, this.#table);
    return this.#count(TOTAL.dnsAnswersLocal, writeNegative(this.query, rcode, authority, this.out, at));
  }

  #error(rcode: number, at: number): number {
    this.#countRcode(rcode);
    const length = writeError(this.query, rcode, this.out, at);
    return rcode === REFUSED ? this.#count(TOTAL.dnsAnswersRefused, length) : length;
  }

  #countQuery(overTcp: boolean): void {
    this.#count(overTcp ? TOTAL.dnsQueriesTcp : TOTAL.dnsQueriesUdp, 0);
  }

  /** Extended codes count as what stands in the header. */
  #countRcode(flags: number): void {
    this.#count(TOTAL.dnsRcodes + (flags & RCODE_MASK), 0);
  }

  #count(counter: number, result: number): number {
    this.#totals[counter] = (this.#totals[counter] as number) + 1;
    return result;
  }
}

function isLoopback6(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 15; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 15] === 1;
}
