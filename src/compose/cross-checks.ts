// What only shows when all services of a file are known.
import { formatPort, type PublishMode } from '../model/port.ts';
import { interfaceOf } from '../model/publish-place.ts';
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
  readonly mode: PublishMode;
}

/**
 * A published port belongs to one service and target port; on different addresses of a node there may be several. Two services
 * that publish one in `host` mode mostly run on different nodes, so that is only worth a warning.
 */
export function refusePortConflicts(reader: Reader, drafts: Iterable<Draft>): void {
  const claims = new Map<string, Claim>();
  for (const draft of drafts) {
    for (const { spec, place } of draft.publish) {
      if (spec.publishedPort === undefined) continue;
      const port = formatPort(spec.protocol, spec.publishedPort);
      const within = claimKeys(`${port} of ${draft.key}`, spec.hostAddress);
      const among = claimKeys(port, spec.hostAddress);
      // The service's own claims come first: they collide in every mode.
      const found = [...within.against, ...among.against]
        .map((key) => claims.get(key))
        .find((one) => one !== undefined);
      for (const key of [...within.own, ...among.own]) {
        if (!claims.has(key)) claims.set(key, { service: draft.key, place, mode: spec.mode });
      }
      if (found !== undefined) reportConflict(reader, port, { service: draft.key, place, mode: spec.mode }, found);
    }
  }
}

function reportConflict(reader: Reader, port: string, claim: Claim, first: Claim): void {
  const { service } = claim;
  const where = reader.diagnostics.at(first.place);
  if (first.service === service) {
    reader.diagnostics.error(claim.place, `service ${quote(service)}: port ${port} is already published at ${where}`);
    return;
  }
  const both = `service ${quote(service)}: port ${port} is already published by service ${quote(first.service)} at ${where}`;
  if (first.mode === 'host' && claim.mode === 'host') {
    reader.diagnostics.warn(claim.place, `${both}; a node with tasks of both serves only one of them`);
  } else {
    reader.diagnostics.error(claim.place, both);
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
  const both = address === undefined || interfaceOf(address) !== undefined;
  const families = both ? ['IPv4', 'IPv6'] : [address.includes(':') ? 'IPv6' : 'IPv4'];
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
