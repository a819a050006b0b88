// Services and networks that a stack file declares together. PURE.
import { createHash } from 'node:crypto';
import { shortName, STACK_LABEL, stackName } from '../model/name.ts';
import type { Network, NetworkSpec } from '../model/network.ts';
import type { Service, ServiceSpec } from '../model/service.ts';
import type { StackRecord } from '../store/record.ts';
import type { Draft } from './draft.ts';
import { causedBy, ControlError } from './errors.ts';
import { findNetwork } from './lookup.ts';
import { createNetwork, removeNetwork, updateNetwork } from './networks.ts';
import { createService, removeService, sameValue, updateService } from './services.ts';

export interface StackContent {
  /** Names begin with the stack's, unless the file says another one. */
  readonly networks: readonly NetworkSpec[];
  /** Networks that must be there already. */
  readonly externalNetworks?: readonly ExternalNetwork[];
  /** Where `networks` stand in their file, by name, for messages. */
  readonly networkPlaces?: Readonly<Record<string, string>>;
  readonly services: readonly ServiceSpec[];
}

export interface ExternalNetwork {
  readonly name: string;
  /** Where in its file, for messages. */
  readonly place?: string;
}

/** Whole names, each kind in the order of the file; `service web` and `network back` may both be called the same. */
export interface StackChange {
  readonly created: readonly string[];
  readonly updated: readonly string[];
  readonly removed: readonly string[];
  readonly unchanged: readonly string[];
  /** Of `updated`: what somebody had edited since the same content was applied. */
  readonly overridden: readonly string[];
  /** Of the stack, no longer in the file, and still used by services outside it: they stay. */
  readonly kept: readonly string[];
}

export interface StackOptions {
  /** Remove what has gone from the file. */
  readonly prune: boolean;
  /** What the store holds; undefined: nobody has applied the stack yet. */
  readonly record: StackRecord | undefined;
}

type Tally = { -readonly [Field in keyof StackChange]: string[] };

/** All or nothing. Writes nothing when everything is as the content says. */
export function applyStack(
  draft: Draft,
  name: string,
  content: StackContent,
  { prune, record }: StackOptions,
): StackChange {
  const hash = contentHash(content);
  refuseOtherOwner(draft, name, hash, record);
  for (const external of content.externalNetworks ?? []) requireExternal(draft, name, external);
  const tally: Tally = { created: [], updated: [], removed: [], unchanged: [], overridden: [], kept: [] };
  const sameContent = record?.content === hash;
  // What goes makes room for what comes: names, published ports.
  if (prune) pruneServices(draft, name, content, tally);
  for (const spec of content.networks)
    atPlace(content.networkPlaces?.[spec.name], () => applyNetwork(draft, name, spec, sameContent, tally));
  applyServices(draft, name, content.services, sameContent, tally);
  if (prune) pruneNetworks(draft, name, content, tally);
  if (!sameContent) {
    draft.putStack({ name, owner: draft.surroundings.nodeId, content: hash, updatedAt: draft.wallTime });
  }
  return tally;
}

/** Removes a stack's services and networks; throws ControlError `in-use` when others use its networks. */
export function removeStack(draft: Draft, name: string, record: StackRecord | undefined): StackChange {
  const tally: Tally = { created: [], updated: [], removed: [], unchanged: [], overridden: [], kept: [] };
  const services = servicesOf(draft, name);
  const networks = networksOf(draft, name);
  if (services.length + networks.length === 0 && record === undefined) {
    throw new ControlError('not-found', `there is no stack ${name}`);
  }
  for (const service of services)
    removeOne(tally, `service ${service.spec.name}`, () => removeService(draft, service.id));
  for (const network of networks)
    removeOne(tally, `network ${network.spec.name}`, () => removeNetwork(draft, network.id));
  draft.removeStack(name);
  return tally;
}

export function contentHash({ networks, services, externalNetworks = [] }: StackContent): string {
  const content = { networks, services, externalNetworks: externalNetworks.map(({ name }) => name) };
  return createHash('sha256')
    .update(JSON.stringify(sorted(content)))
    .digest('hex');
}

function refuseOtherOwner(draft: Draft, name: string, hash: string, record: StackRecord | undefined): void {
  if (record === undefined || record.owner === draft.surroundings.nodeId || record.content === hash) return;
  const owner = draft.snapshot.nodes.get(record.owner)?.name ?? record.owner;
  throw new ControlError(
    'conflict',
    `stack ${name} is kept by the agent of node ${owner} with other content; give both agents the same file, or remove the stack there first`,
  );
}

function requireExternal(draft: Draft, stack: string, { name, place }: ExternalNetwork): void {
  try {
    findNetwork(draft.snapshot, name);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    const where = place ?? `stack ${stack}`;
    throw causedBy(
      error,
      error.code,
      `${where}: its external network: ${error.message}; create it first (vipmesh network create)`,
    );
  }
}

/** Says where in the file that stands which cannot be. */
function atPlace(place: string | undefined, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof ControlError) || place === undefined) throw error;
    throw causedBy(error, error.code, `${place}: ${error.message}`);
  }
}

function applyNetwork(draft: Draft, stack: string, wanted: NetworkSpec, sameContent: boolean, tally: Tally): void {
  const spec = labelled(stack, wanted);
  const id = draft.snapshot.networkByName.get(spec.name);
  const before = id === undefined ? undefined : draft.snapshot.networks.get(id);
  const text = `network ${spec.name}`;
  if (before === undefined) {
    createNetwork(draft, spec);
    tally.created.push(text);
    return;
  }
  refuseStranger(stack, text, before.spec.labels);
  if (sameValue(before.spec, spec)) {
    tally.unchanged.push(text);
    return;
  }
  updateNetwork(draft, before, spec);
  tally.updated.push(text);
  if (sameContent) tally.overridden.push(text);
}

/** Two services of a stack may exchange published ports: none of those that change holds its own against the others. */
function applyServices(
  draft: Draft,
  stack: string,
  wanted: readonly ServiceSpec[],
  sameContent: boolean,
  tally: Tally,
): void {
  const changes: { readonly spec: ServiceSpec; readonly before: Service | undefined }[] = [];
  for (const one of wanted) {
    const spec = labelled(stack, one);
    refuseOtherPrefix(stack, spec);
    const id = draft.snapshot.serviceByName.get(spec.name);
    const before = id === undefined ? undefined : draft.snapshot.services.get(id);
    if (before !== undefined) refuseStranger(stack, `service ${spec.name}`, before.spec.labels);
    if (before !== undefined && sameValue(before.spec, spec)) tally.unchanged.push(`service ${spec.name}`);
    else changes.push({ spec, before });
  }
  for (const { before } of changes) if (before !== undefined) draft.yielding.add(before.id);
  for (const { spec, before } of changes) {
    if (before === undefined) {
      createService(draft, spec);
      tally.created.push(`service ${spec.name}`);
      continue;
    }
    updateService(draft, before, spec, undefined);
    draft.yielding.delete(before.id);
    tally.updated.push(`service ${spec.name}`);
    if (sameContent) tally.overridden.push(`service ${spec.name}`);
  }
}

function pruneServices(draft: Draft, stack: string, content: StackContent, tally: Tally): void {
  const wanted = new Set(content.services.map((spec) => spec.name));
  for (const service of servicesOf(draft, stack)) {
    if (wanted.has(service.spec.name)) continue;
    removeOne(tally, `service ${service.spec.name}`, () => removeService(draft, service.id));
  }
}

function pruneNetworks(draft: Draft, stack: string, content: StackContent, tally: Tally): void {
  const wanted = new Set(content.networks.map((spec) => spec.name));
  for (const network of networksOf(draft, stack)) {
    if (wanted.has(network.spec.name)) continue;
    const text = `network ${network.spec.name}`;
    if ((draft.snapshot.servicesByNetwork.get(network.id)?.size ?? 0) > 0) tally.kept.push(text);
    else removeOne(tally, text, () => removeNetwork(draft, network.id));
  }
}

function removeOne(tally: Tally, text: string, remove: () => unknown): void {
  remove();
  tally.removed.push(text);
}

function refuseStranger(stack: string, text: string, labels: Readonly<Record<string, string>>): void {
  const owner = labels[STACK_LABEL];
  if (owner === stack) return;
  const whose = owner === undefined ? 'was not made by a stack' : `belongs to stack ${owner}`;
  throw new ControlError(
    'conflict',
    `stack ${stack}: ${text} exists already and ${whose}; remove it, or give the stack another name`,
  );
}

function labelled<T extends NetworkSpec | ServiceSpec>(stack: string, spec: T): T {
  return { ...spec, labels: { ...spec.labels, [STACK_LABEL]: stack } };
}

/** Of a network a file may say another name, of a service not. */
function refuseOtherPrefix(stack: string, { name, labels }: ServiceSpec): void {
  if (shortName(name, labels) !== undefined) return;
  throw new ControlError('invalid', `stack ${stack}: the name ${name} does not begin with ${stackName(stack, '')}`);
}

function servicesOf(draft: Draft, stack: string): readonly Service[] {
  return [...draft.snapshot.services.values()]
    .filter((service) => service.spec.labels[STACK_LABEL] === stack)
    .sort(byName);
}

function networksOf(draft: Draft, stack: string): readonly Network[] {
  return [...draft.snapshot.networks.values()]
    .filter((network) => network.spec.labels[STACK_LABEL] === stack)
    .sort(byName);
}

function byName(a: Service | Network, b: Service | Network): number {
  return a.spec.name < b.spec.name ? -1 : 1;
}

/** The same content gives the same text whatever the order of fields. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, field]) => [key, sorted(field)]),
  );
}
