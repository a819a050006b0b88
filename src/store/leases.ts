// Which leases there are and when they end. PURE: times come in as milliseconds of any steady clock.

interface Lease {
  readonly ttlMs: number;
  readonly endsAt: number;
}

export class LeaseTable {
  readonly #leases = new Map<string, Lease>();

  /** Also for a lease that was found on the disk: it gets its whole time again, since its owner may be starting too. */
  grant(id: string, ttlMs: number, now: number): void {
    this.#leases.set(id, { ttlMs, endsAt: now + ttlMs });
  }

  has(id: string): boolean {
    return this.#leases.has(id);
  }

  /** False when the lease has ended. */
  keepAlive(id: string, now: number): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    this.#leases.set(id, { ttlMs: lease.ttlMs, endsAt: now + lease.ttlMs });
    return true;
  }

  end(id: string): void {
    this.#leases.delete(id);
  }

  /** The leases whose time is up. They stay until `end`. */
  due(now: number): readonly string[] {
    return [...this.#leases].filter(([, lease]) => lease.endsAt <= now).map(([id]) => id);
  }

  /** When the next lease ends; undefined when there is none. */
  nextEnd(): number | undefined {
    let next: number | undefined;
    for (const { endsAt } of this.#leases.values()) if (next === undefined || endsAt < next) next = endsAt;
    return next;
  }
}
