// Which upstreams are asked about a name: those of the longest suffix that has its own, else the node's. PURE.
import type { Upstream, UpstreamRoute } from './command.ts';
import { encodeLabels } from './wire.ts';

export class UpstreamRoutes {
  /** Each server once: first the node's, then those of routes. */
  readonly servers: readonly Upstream[];
  readonly #usual: readonly number[];
  /** By suffix, on the wire, lower case, a character a byte, root byte included. */
  readonly #bySuffix = new Map<string, readonly number[]>();

  constructor(upstreams: readonly Upstream[], routes: readonly UpstreamRoute[]) {
    const servers: Upstream[] = [];
    const numbers = (wanted: readonly Upstream[]): readonly number[] =>
      wanted.map(({ address, port }) => {
        const known = servers.findIndex((one) => one.address === address && one.port === port);
        return known >= 0 ? known : servers.push({ address, port }) - 1;
      });
    this.#usual = numbers(upstreams);
    for (const { suffix, upstreams } of routes) {
      const labels = encodeLabels(suffix);
      if (labels === undefined) throw new RangeError(`"${suffix}" is no name that the DNS could carry`);
      this.#bySuffix.set(`${Buffer.from(labels).toString('latin1')}\0`, numbers(upstreams));
    }
    this.servers = servers;
  }

  /** Whom to ask, in order. The name is written as a suffix is kept here. */
  find(name: string): readonly number[] {
    if (this.#bySuffix.size > 0) {
      for (let at = 0; at < name.length; at += 1 + name.charCodeAt(at)) {
        const found = this.#bySuffix.get(name.slice(at));
        if (found !== undefined) return found;
      }
    }
    return this.#usual;
  }
}
