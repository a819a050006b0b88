// What only shows when all services of a file are known.
import { formatPort } from '../model/port.ts';
import { quote } from './diagnostics.ts';
import type { Reader } from './reader.ts';
import type { Draft } from './services.ts';
import type { Place } from './tree.ts';

/** `links: [db:postgres]` gives `db` the alias `postgres` on each network that both services are on. */
export function applyLinks(reader: Reader, drafts: ReadonlyMap<string, Draft>): void {
  for (const draft of drafts.values()) {
    for (const { service, alias, place } of draft.links) {
      const target = drafts.get(service);
      if (target === undefined) {
        const hint = reader.diagnostics.hint(service, drafts.keys());
        reader.diagnostics.error(
          place,
          `service ${quote(draft.key)}: links names ${quote(service)}, which is no service of this file${hint}`,
        );
        continue;
      }
      const shared = [...draft.aliases.keys()].flatMap((key) => target.aliases.get(key) ?? []);
      if (shared.length === 0) {
        const both = `${quote(draft.key)} and ${quote(service)}`;
        reader.diagnostics.warn(place, `the services ${both} share no network, so the link has no effect`);
      }
      if (alias !== service) for (const aliases of shared) aliases.add(alias);
    }
  }
}

interface Claim {
  readonly service: string;
  readonly place: Place;
}

/** A published port belongs to one service and target port; on different addresses of a node there may be several. */
export function refusePortConflicts(reader: Reader, drafts: Iterable<Draft>): void {
  const claims = new Map<string, Claim>();
  for (const draft of drafts) {
    for (const { spec, place } of draft.publish) {
      if (spec.publishedPort === undefined) continue;
      const port = formatPort(spec.protocol, spec.publishedPort);
      const { against, own } = claimKeys(port, spec.hostAddress);
      const first = against.map((key) => claims.get(key)).find((claim) => claim !== undefined);
      for (const key of own) if (!claims.has(key)) claims.set(key, { service: draft.key, place });
      if (first === undefined) continue;
      const owner = first.service === draft.key ? '' : ` by service ${quote(first.service)}`;
      const where = reader.diagnostics.at(first.place);
      reader.diagnostics.error(
        place,
        `service ${quote(draft.key)}: port ${port} is already published${owner} at ${where}`,
      );
    }
  }
}

/**
 * Under which keys a claim is entered, and which earlier ones it excludes. No address means every address of both families,
 * `0.0.0.0` and `::` every address of one.
 */
function claimKeys(
  port: string,
  address: string | undefined,
): { readonly against: readonly string[]; readonly own: readonly string[] } {
  const families = address === undefined ? ['IPv4', 'IPv6'] : [address.includes(':') ? 'IPv6' : 'IPv4'];
  const every = address === undefined || address === '0.0.0.0' || address === '::';
  return {
    against: families.flatMap((family) =>
      every ? [`${port} ${family} some`] : [`${port} ${family} every`, `${port} ${address}`],
    ),
    own: families.flatMap((family) => [
      `${port} ${family} some`,
      every ? `${port} ${family} every` : `${port} ${address}`,
    ]),
  };
}

/** DNS does not tell upper from lower case (RFC 4343). */
export function warnOfEqualNames(reader: Reader, drafts: Iterable<Draft>): void {
  const names = new Map<string, string>();
  for (const { key, place } of drafts) {
    const first = names.get(key.toLowerCase());
    if (first === undefined) names.set(key.toLowerCase(), key);
    else
      reader.diagnostics.warn(
        place,
        `services ${quote(first)} and ${quote(key)} differ only by case, which DNS ignores`,
      );
  }
}
