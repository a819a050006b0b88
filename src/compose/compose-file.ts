// A Compose file → the networks and services of a stack, or everything that is wrong with it. PURE: what the file is called,
// the environment and the default driver come as arguments.
//
// Variables are filled in only where a value is read: what is unused (`command: echo $(date)`) cannot fail.
import type { NetworkDriver, NetworkSpec } from '../model/network.ts';
import type { NetworkAttachmentSpec, ServiceSpec } from '../model/service.ts';
import { nameProblem } from '../model/name.ts';
import { Diagnostics, quote } from './diagnostics.ts';
import { readDocument } from './document.ts';
import type { Environment } from './interpolate.ts';
import { FILE_KEYS } from './keys.ts';
import { type Declaration, DEFAULT_NETWORK, readNetworks } from './networks.ts';
import { applyLinks, refusePortConflicts, warnOfEqualNames } from './cross-checks.ts';
import { Reader } from './reader.ts';
import { type Draft, readServices } from './services.ts';

export interface ComposeInput {
  /** How the file is called in messages. */
  readonly file: string;
  readonly text: string;
  /** Names of the file's objects begin with it. */
  readonly stack: string;
  readonly environment: Environment;
  /** For networks that do not say `overlay` or `local`. */
  readonly defaultDriver: NetworkDriver;
}

export type ComposeResult = ComposeStack | { readonly ok: false; readonly errors: readonly string[] };

/** All messages are `FILE:LINE:COLUMN: sentence`. */
export interface ComposeStack {
  readonly ok: true;
  /** Those that a service of the file uses, as Docker makes them. */
  readonly networks: readonly NetworkSpec[];
  /** Networks that must exist already. */
  readonly externalNetworks: readonly { readonly name: string /** `FILE:LINE:COLUMN` */; readonly place: string }[];
  /** `FILE:LINE:COLUMN` of each of `networks`, by name. */
  readonly networkPlaces: Readonly<Record<string, string>>;
  readonly services: readonly ServiceSpec[];
  readonly unused: readonly string[];
  readonly warnings: readonly string[];
}

/** Never throws; a file with mistakes gives at most 20 of them, in the order of the file. */
export function readComposeFile(input: ComposeInput): ComposeResult {
  const diagnostics = new Diagnostics(input.file);
  const reader = new Reader(diagnostics, input.environment);
  const start = { line: 1, column: 1 };
  const problem = nameProblem(input.stack);
  if (problem !== undefined) diagnostics.error(start, `the stack's name ${quote(input.stack)} ${problem}`);
  const tree = readDocument(input.text, diagnostics);
  const fields = tree === undefined ? undefined : reader.fields(tree, 'the file', FILE_KEYS);
  if (fields === undefined || problem !== undefined) return { ok: false, errors: diagnostics.errors() };

  const networks = readNetworks(reader, fields.get('networks')?.value, input);
  const drafts = readServices(reader, fields.get('services')?.value, input.stack, networks);
  if (tree?.kind === 'map' && !tree.entries.some((entry) => entry.key === 'services') && !diagnostics.failed) {
    diagnostics.error(start, 'the file has no "services"');
  }
  applyLinks(reader, drafts);
  refusePortConflicts(reader, drafts.values());
  warnOfEqualNames(reader, drafts.values());
  if (diagnostics.failed) return { ok: false, errors: diagnostics.errors() };
  return finish(diagnostics, networks, [...drafts.values()]);
}

function finish(
  diagnostics: Diagnostics,
  networks: ReadonlyMap<string, Declaration>,
  drafts: readonly Draft[],
): ComposeStack {
  const usedKeys = new Set(drafts.flatMap((draft) => [...draft.aliases.keys()]));
  const used: Declaration[] = [];
  for (const declaration of networks.values()) {
    if (usedKeys.has(declaration.key)) used.push(declaration);
    else if (declaration.spec !== undefined && declaration.key !== DEFAULT_NETWORK)
      diagnostics.warn(declaration.place, `network ${quote(declaration.key)} is used by no service, so it is not made`);
  }
  return {
    ok: true,
    networks: used.flatMap((declaration) => declaration.spec ?? []),
    externalNetworks: externals(diagnostics, used),
    networkPlaces: Object.fromEntries(
      used.flatMap(({ spec, place }) => (spec === undefined ? [] : [[spec.name, diagnostics.at(place)]])),
    ),
    services: drafts.map((draft) => ({ ...draft.spec, networks: attachmentSpecs(draft, networks) })),
    unused: diagnostics.unusedKeys(),
    warnings: diagnostics.warnings(),
  };
}

function externals(diagnostics: Diagnostics, used: readonly Declaration[]): ComposeStack['externalNetworks'] {
  const places = new Map<string, string>();
  for (const { name, spec, place } of used) {
    if (spec === undefined && !places.has(name)) places.set(name, diagnostics.at(place));
  }
  return [...places].map(([name, place]) => ({ name, place }));
}

/** By the networks' own names; two keys that mean one external network are one attachment. */
function attachmentSpecs(draft: Draft, networks: ReadonlyMap<string, Declaration>): readonly NetworkAttachmentSpec[] {
  const byName = new Map<string, Set<string>>();
  for (const [key, aliases] of draft.aliases) {
    const name = networks.get(key)?.name ?? key;
    byName.set(name, new Set([...(byName.get(name) ?? []), ...aliases]));
  }
  return [...byName].map(([network, aliases]) => ({ network, aliases: [...aliases] }));
}
