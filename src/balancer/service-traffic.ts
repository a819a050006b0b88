// PURE: what services have moved since the agent started. The data path counts for endpoints; an endpoint that has gone takes its
// counts along when its number is given to another, so they are added up here before.
import type { Change } from '../catalog/change.ts';
import type { ServiceId } from '../model/service.ts';

/** What is counted for an endpoint, or for all of a service's that were ever here. */
export interface Traffic {
  /** Connections and flows made. */
  readonly total: number;
  /** Attempts that failed. */
  readonly failures: number;
  readonly bytesToClient: number;
  readonly bytesToEndpoint: number;
  /** TCP connections open now, those being made included. */
  readonly active: number;
  /** UDP flows open now. */
  readonly flows: number;
}

const NOTHING: Traffic = { total: 0, failures: 0, bytesToClient: 0, bytesToEndpoint: 0, active: 0, flows: 0 };

export class ServiceTraffic {
  readonly #read: (slot: number) => Traffic;
  /** Slot → who has it, or had it last. */
  readonly #owners: (ServiceId | undefined)[] = [];
  readonly #slots = new Map<ServiceId, Set<number>>();
  /** Of endpoints whose slots others have. */
  readonly #departed = new Map<ServiceId, Traffic>();

  constructor(read: (slot: number) => Traffic) {
    this.#read = read;
  }

  /** A slot is about to be counted for an endpoint of this service; what it counted so far is still there to be read. */
  begin(slot: number, service: ServiceId): void {
    const before = this.#owners[slot];
    const slots = before === undefined ? undefined : this.#slots.get(before);
    if (before !== undefined && slots?.delete(slot) === true)
      this.#departed.set(before, sum([this.#departed.get(before) ?? NOTHING, this.#read(slot)]));
    this.#owners[slot] = service;
    const own = this.#slots.get(service) ?? new Set();
    own.add(slot);
    this.#slots.set(service, own);
  }

  of(service: ServiceId): Traffic {
    const now = [...(this.#slots.get(service) ?? [])].map((slot) => this.#read(slot));
    return sum([this.#departed.get(service) ?? NOTHING, ...now]);
  }

  /** Services that no longer exist need no counts. */
  forgetRemoved(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind !== 'service' || change.after !== undefined || change.before === undefined) continue;
      this.#slots.delete(change.before.id);
      this.#departed.delete(change.before.id);
    }
  }
}

function sum(parts: readonly Traffic[]): Traffic {
  return parts.reduce((total, part) => ({
    total: total.total + part.total,
    failures: total.failures + part.failures,
    bytesToClient: total.bytesToClient + part.bytesToClient,
    bytesToEndpoint: total.bytesToEndpoint + part.bytesToEndpoint,
    active: total.active + part.active,
    flows: total.flows + part.flows,
  }));
}
