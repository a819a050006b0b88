// `services` → drafts of ServiceSpecs, everything but what needs a look at the other services.
import { aliasProblem, nameProblem, STACK_LABEL, stackName } from '../model/name.ts';
import { isNetworkOfDocker } from '../model/network.ts';
import type { TargetPort } from '../model/port.ts';
import {
  DEFAULT_DRAIN_TIMEOUT_MS,
  declaredTargets,
  type EndpointMode,
  type ServiceMode,
  type ServiceSpec,
} from '../model/service.ts';
import { quote } from './diagnostics.ts';
import { checkEndpoints, type Extension, readExtension } from './extension.ts';
import { readHealthcheck } from './healthcheck.ts';
import { ATTACHMENT_KEYS, DEPLOY_KEYS, SERVICE_KEYS } from './keys.ts';
import { type Declaration, DEFAULT_NETWORK } from './networks.ts';
import { type PlacedPublish, readExpose, readPorts, type ServicePorts } from './ports.ts';
import { EXTENSION, type Reader } from './reader.ts';
import { type Entry, isNull, type Place, type Tree } from './tree.ts';

/** A service as its own part of the file has it. */
export interface Draft {
  readonly key: string;
  readonly place: Place;
  /** Without networks, which the draft's `aliases` still may grow. */
  readonly spec: Omit<ServiceSpec, 'networks'>;
  /** Key of a network in the file → the aliases there, in order. */
  readonly aliases: Map<string, Set<string>>;
  readonly links: readonly Link[];
  readonly publish: readonly PlacedPublish[];
}

export interface Link {
  readonly service: string;
  readonly alias: string;
  readonly place: Place;
}

type Fields = ReadonlyMap<string, Entry>;

export function readServices(
  reader: Reader,
  tree: Tree | undefined,
  stack: string,
  networks: ReadonlyMap<string, Declaration>,
): ReadonlyMap<string, Draft> {
  const drafts = new Map<string, Draft>();
  for (const entry of tree === undefined ? [] : (reader.map(tree, 'services')?.entries ?? [])) {
    const draft = readService(reader, entry, stack, networks);
    if (draft !== undefined) drafts.set(entry.key, draft);
  }
  return drafts;
}

function readService(
  reader: Reader,
  entry: Entry,
  stack: string,
  networks: ReadonlyMap<string, Declaration>,
): Draft | undefined {
  const { key, keyPlace: place, value } = entry;
  const what = `service ${quote(key)}`;
  const name = stackName(stack, key);
  const problem = nameProblem(key) ?? nameProblem(name);
  if (problem !== undefined) reader.diagnostics.error(place, `${what}: its name ${quote(name)} ${problem}`);
  const fields = isNull(value) ? new Map<string, Entry>() : reader.fields(value, what, SERVICE_KEYS);
  if (fields === undefined) return undefined;
  const ports = optional(fields, 'ports', (tree) => readPorts(reader, tree, `${what}: ports`)) ?? {
    publish: [],
    named: [],
  };
  const expose = optional(fields, 'expose', (tree) => readExpose(reader, tree, `${what}: expose`)) ?? [];
  const extension = optional(fields, EXTENSION, (tree) => readExtension(reader, tree, `${what}: ${EXTENSION}`)) ?? {
    endpoints: [],
  };
  const check = optional(fields, 'healthcheck', (tree) => readHealthcheck(reader, tree, `${what}: healthcheck`));
  const health = extension.health ?? check;
  const spec = {
    name,
    ...readDeploy(reader, fields, what, stack),
    publish: ports.publish.map((port) => port.spec),
    expose: exposedTargets(ports, expose),
    endpoints: extension.endpoints.map((one) => one.endpoint),
    ...(health === undefined ? {} : { health }),
    ...(extension.proxyProtocol === undefined ? {} : { proxyProtocol: extension.proxyProtocol }),
    ...(extension.access === undefined ? {} : { access: extension.access }),
    ...(extension.balance === undefined ? {} : { balance: extension.balance }),
    ...(extension.limits === undefined ? {} : { limits: extension.limits }),
    ...(extension.onUnhealthy === undefined ? {} : { onUnhealthy: extension.onUnhealthy }),
    drainTimeoutMs: extension.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS,
    ...(extension.dnsTtlS === undefined ? {} : { dnsTtlS: extension.dnsTtlS }),
  };
  checkEndpoints(reader, extension.endpoints, declaredTargets({ ...spec, networks: [] }), what);
  warnOfExecCheck(reader, extension, spec.health, fields.get('healthcheck'), what);
  return {
    key,
    place,
    spec,
    aliases: readAttachments(reader, fields.get('networks')?.value, what, networks),
    links: optional(fields, 'links', (tree) => readLinks(reader, tree, `${what}: links`)) ?? [],
    publish: ports.publish,
  };
}

function optional<T>(fields: Fields, key: string, read: (tree: Tree) => T): T | undefined {
  const value = fields.get(key)?.value;
  return value === undefined ? undefined : read(value);
}

/** What `expose` says, and the published ports that carry a name; each port once, the named one first. */
function exposedTargets(ports: ServicePorts, expose: readonly TargetPort[]): readonly TargetPort[] {
  const targets = new Map<string, TargetPort>();
  for (const target of [...ports.named, ...expose]) {
    const key = `${target.port}/${target.protocol}`;
    if (!targets.has(key)) targets.set(key, target);
  }
  return [...targets.values()];
}

function warnOfExecCheck(
  reader: Reader,
  extension: Extension,
  health: ServiceSpec['health'],
  entry: Entry | undefined,
  what: string,
): void {
  if (
    entry === undefined ||
    extension.endpoints.length === 0 ||
    typeof health !== 'object' ||
    health.probe.kind !== 'exec'
  )
    return;
  reader.diagnostics.warn(
    entry.keyPlace,
    `${what}: a healthcheck command runs inside tasks, never for the endpoints of ${EXTENSION}; check those with ${EXTENSION}.health (tcp or http)`,
  );
}

type Deployment = Pick<ServiceSpec, 'labels' | 'mode' | 'endpointMode'>;

/**
 * `deploy`, `scale` and `labels`. Docker puts `labels` on the containers and `deploy.labels` on the service; here both go to
 * the service, which is the only object there is, and `deploy.labels` win.
 */
function readDeploy(reader: Reader, fields: Fields, what: string, stack: string): Deployment {
  const deploy =
    optional(fields, 'deploy', (tree) => reader.fields(tree, `${what}: deploy`, DEPLOY_KEYS)) ??
    new Map<string, Entry>();
  const labels = optional(fields, 'labels', (tree) => reader.record(tree, `${what}: labels`));
  const deployLabels = optional(deploy, 'labels', (tree) => reader.record(tree, `${what}: deploy.labels`));
  const endpointMode = optional(deploy, 'endpoint_mode', (tree) =>
    reader.word<EndpointMode>(tree, `${what}: deploy.endpoint_mode`, ['vip', 'dnsrr']),
  );
  return {
    labels: { ...labels, ...deployLabels, [STACK_LABEL]: stack },
    mode: readMode(reader, deploy, fields.get('scale'), what),
    endpointMode: endpointMode ?? 'vip',
  };
}

/** More than a cluster of any size runs; the number is only displayed. */
const MAX_REPLICAS = 1_000_000;

function readMode(reader: Reader, deploy: Fields, scale: Entry | undefined, what: string): ServiceMode {
  const mode = optional(deploy, 'mode', (tree) => {
    const text = reader.text(tree, `${what}: deploy.mode`);
    if (text === 'replicated-job' || text === 'global-job') {
      reader.diagnostics.error(
        tree.place,
        `${what}: deploy.mode ${text} is not supported: a job ends, so there is nothing to reach`,
      );
      return undefined;
    }
    return reader.word(tree, `${what}: deploy.mode`, ['replicated', 'global']);
  });
  const replicas = deploy.get('replicas') ?? scale;
  const path = deploy.has('replicas') ? 'deploy.replicas' : 'scale';
  const count = replicas === undefined ? 1 : reader.integer(replicas.value, `${what}: ${path}`, MAX_REPLICAS);
  if (mode !== 'global') return { kind: 'replicated', replicas: count ?? 1 };
  if (replicas !== undefined) {
    reader.diagnostics.error(
      replicas.keyPlace,
      `${what}: "${path}" does not go with "mode: global", which runs one task on each node`,
    );
  }
  return { kind: 'global' };
}

function readAttachments(
  reader: Reader,
  tree: Tree | undefined,
  what: string,
  networks: ReadonlyMap<string, Declaration>,
): Map<string, Set<string>> {
  const attachments = new Map<string, Set<string>>();
  const attach = (key: string, place: Place, aliases: readonly string[]): void => {
    const declaration = networks.get(key);
    if (declaration === undefined) {
      const hint = reader.diagnostics.hint(key, networks.keys()) || '; declare it under the top-level "networks"';
      reader.diagnostics.error(place, `${what}: there is no network ${quote(key)} in this file${hint}`);
    } else if (declaration.spec === undefined && isNetworkOfDocker(declaration.name)) {
      reader.diagnostics.warn(
        place,
        `${what}: network ${quote(declaration.name)} is Docker's own on every node, and vipmesh leaves it out`,
      );
    } else if (attachments.has(key)) {
      reader.diagnostics.error(place, `${what}: network ${quote(key)} stands twice`);
    } else {
      attachments.set(key, new Set(aliases));
    }
  };
  if (tree?.kind === 'map') {
    for (const entry of tree.entries) {
      attach(entry.key, entry.keyPlace, readAliases(reader, entry.value, `${what}: network ${quote(entry.key)}`));
    }
  } else if (tree !== undefined) {
    for (const item of reader.list(tree, `${what}: networks`)?.items ?? []) {
      const key = reader.text(item, `${what}: networks`);
      if (key !== undefined) attach(key, item.place, []);
    }
  }
  if (attachments.size === 0) attachments.set(DEFAULT_NETWORK, new Set());
  return attachments;
}

function readAliases(reader: Reader, tree: Tree, what: string): readonly string[] {
  if (isNull(tree)) return [];
  const list = reader.fields(tree, what, ATTACHMENT_KEYS)?.get('aliases')?.value;
  const aliases: string[] = [];
  for (const item of list === undefined ? [] : (reader.list(list, `${what}: aliases`)?.items ?? [])) {
    const alias = reader.text(item, `${what}: aliases`);
    const problem = alias === undefined ? undefined : aliasProblem(alias);
    if (alias !== undefined && problem === undefined) aliases.push(alias);
    if (problem !== undefined)
      reader.diagnostics.error(item.place, `${what}: the alias ${quote(alias ?? '')} ${problem}`);
  }
  return aliases;
}

/** `db`, or `db:postgres` for an alias. */
function readLinks(reader: Reader, tree: Tree, what: string): readonly Link[] {
  const links: Link[] = [];
  for (const item of reader.list(tree, what)?.items ?? []) {
    const text = reader.text(item, what);
    if (text === undefined) continue;
    const colon = text.indexOf(':');
    const service = colon < 0 ? text : text.slice(0, colon);
    const alias = colon < 0 ? service : text.slice(colon + 1);
    const problem = aliasProblem(alias);
    if (problem === undefined) links.push({ service, alias, place: item.place });
    else reader.diagnostics.error(item.place, `${what}: the alias ${quote(alias)} ${problem}`);
  }
  return links;
}
