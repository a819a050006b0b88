// What the flags of `service create` and `service update` make of a spec, in Docker's JSON. PURE.
import type { ServiceSpecRequest } from '../api/requests.ts';
import type { DockerPort, DockerService, DockerServiceSpec } from '../api/schema.ts';
import { MAX_DNS_TTL_S, parseDnsTtl } from '../model/dns-ttl.ts';
import { parseIp } from '../model/address.ts';
import { parsePort } from '../model/port.ts';
import { BALANCE_METHODS, PROXY_PROTOCOLS } from '../model/service.ts';
import { MAX_WEIGHT, parseWeight } from '../model/weight.ts';
import { type AccessFlags, accessFlags } from './access-flags.ts';
import { changeLabels, parseLabels } from './flag-fields.ts';
import { applyHealthFlags, type HealthFlags, parseNanoseconds } from './health-flags.ts';
import { type LimitFlags, limits } from './limit-flags.ts';
import { type NetworkTarget, parseNetwork } from './network-flag.ts';
import { type ExposedPort, parseExpose, parsePublish, parseUnpublish } from './publish-flag.ts';
import { CliError } from './shell.ts';

/** What both commands take. */
interface CommonFlags extends HealthFlags, LimitFlags, AccessFlags {
  readonly endpointMode?: 'vip' | 'dnsrr';
  readonly replicas?: string;
  readonly drainTimeout?: string;
  readonly onUnhealthy?: string;
  readonly dnsTtl?: string;
  readonly balance?: string;
  readonly affinity?: string;
  readonly proxyProtocol?: string;
  readonly localFirst?: boolean;
  readonly updateOrder?: 'start-first' | 'stop-first';
}

export interface CreateFlags extends CommonFlags {
  readonly name?: string;
  readonly mode?: 'replicated' | 'global';
  readonly network?: readonly string[];
  readonly publish?: readonly string[];
  readonly expose?: readonly string[];
  readonly label?: readonly string[];
  readonly endpoint?: readonly string[];
}

export interface UpdateFlags extends CommonFlags {
  readonly networkAdd?: readonly string[];
  readonly networkRm?: readonly string[];
  readonly publishAdd?: readonly string[];
  readonly publishRm?: readonly string[];
  readonly exposeAdd?: readonly string[];
  readonly exposeRm?: readonly string[];
  readonly labelAdd?: readonly string[];
  readonly labelRm?: readonly string[];
}

type StaticEndpoints = DockerServiceSpec['Vipmesh']['Endpoints'];

/** A spec as POST /services/create takes it. Throws CliError for flags that cannot be meant. */
export function createdSpec(words: readonly string[], flags: CreateFlags): ServiceSpecRequest {
  const { command, probe } = applyHealthFlags(flags, {});
  const ports = (flags.publish ?? []).flatMap((text) => parsePublish('--publish', text));
  return {
    Name: nameOf(words, flags.name),
    Labels: parseLabels('--label', flags.label),
    TaskTemplate: {
      ContainerSpec: command === undefined ? {} : { Healthcheck: command },
      Networks: (flags.network ?? []).map((text) => parseNetwork('--network', text)),
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: modeOf(flags),
    ...updateConfig(flags),
    EndpointSpec: { Mode: flags.endpointMode ?? 'vip', ...(ports.length > 0 ? { Ports: unique(ports) } : {}) },
    Vipmesh: {
      ...(probe === undefined ? {} : { Health: probe }),
      Expose: unique((flags.expose ?? []).flatMap((text) => parseExpose('--expose', text))),
      Endpoints: (flags.endpoint ?? []).map(parseEndpoint),
      ...drainTimeout(flags),
      ...dnsTtl(flags),
      ...onUnhealthy(flags),
      ...balance(flags),
      ...limits(flags),
      ...proxyProtocol(flags),
      ...accessFlags(flags),
    },
  };
}

/**
 * The spec after the flags: what is to go goes first, then what is new comes, so that a port or label can be replaced in one
 * command. `networkId` gives the id of a network that was named by name or id. `notes`: flags that changed nothing, as sentences.
 */
export function updatedSpec(
  { Spec }: Pick<DockerService, 'Spec'>,
  flags: UpdateFlags,
  networkId: (reference: string) => string,
): { readonly spec: ServiceSpecRequest; readonly notes: readonly string[] } {
  const notes: string[] = [];
  const { TaskTemplate, EndpointSpec, Vipmesh } = Spec;
  const ports = changedPorts(EndpointSpec.Ports ?? [], flags, notes);
  const before = { command: TaskTemplate.ContainerSpec.Healthcheck, probe: Vipmesh.Health };
  const { command, probe } = applyHealthFlags(flags, before);
  const { Healthcheck: _, ...containerSpec } = TaskTemplate.ContainerSpec;
  const { Ports: __, ...endpointSpec } = EndpointSpec;
  const spec = {
    ...Spec,
    Labels: changeLabels(Spec.Labels, flags),
    TaskTemplate: {
      ...TaskTemplate,
      ContainerSpec: command === undefined ? containerSpec : { ...containerSpec, Healthcheck: command },
      Networks: changedNetworks(Spec.Name, TaskTemplate.Networks, flags, networkId, notes),
    },
    Mode: flags.replicas === undefined ? Spec.Mode : scaled(Spec, parseReplicas('--replicas', flags.replicas)),
    ...updateConfig(flags, Spec),
    EndpointSpec: {
      ...endpointSpec,
      ...(flags.endpointMode === undefined ? {} : { Mode: flags.endpointMode }),
      ...(ports.length > 0 ? { Ports: [...ports] } : {}),
    },
    Vipmesh: {
      ...Vipmesh,
      // Null, because in an update what is absent here stays as it was.
      Health: probe ?? null,
      Expose: changedExpose(Vipmesh.Expose, flags),
      ...drainTimeout(flags),
      ...dnsTtl(flags),
      ...onUnhealthy(flags),
      ...balance(flags, Vipmesh.Balance),
      ...limits(flags, Vipmesh.Limits),
      ...proxyProtocol(flags),
      ...accessFlags(flags, Vipmesh.Access),
    },
  };
  return { spec, notes };
}

/** The networks that an update names, as they were written; their ids are for `networkId`. */
export function namedNetworks({ networkAdd, networkRm }: UpdateFlags): readonly string[] {
  const added = (networkAdd ?? []).map((text) => parseNetwork('--network-add', text).Target);
  return [...new Set([...added, ...(networkRm ?? [])])];
}

/** The mode of a service with so many tasks wanted. Throws CliError for a global one, whose number is that of the nodes. */
export function scaled(
  { Name, Mode }: Pick<DockerServiceSpec, 'Name' | 'Mode'>,
  replicas: number,
): DockerServiceSpec['Mode'] {
  if ('Global' in Mode)
    throw new CliError(
      'FAILED',
      `${Name}: its mode is global, one task a node; only a replicated service can be scaled`,
    );
  return { Replicated: { Replicas: replicas } };
}

/** Throws CliError. */
export function parseReplicas(flag: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new CliError('USAGE', `${flag} should be a whole number from 0, not "${text}"`);
}

function nameOf(words: readonly string[], flag: string | undefined): string {
  const [first, second] = words;
  const image =
    'vipmesh runs no images: create the service, then start its tasks with `vipmesh run --service NAME -- COMMAND`';
  if (flag !== undefined) {
    if (first === undefined) return flag;
    throw new CliError('USAGE', `the name is given by --name ${flag}, so "${first}" has no meaning here; ${image}`);
  }
  if (first === undefined)
    throw new CliError('USAGE', 'the service needs a name: vipmesh service create [OPTIONS] NAME');
  if (/[/:@]/.test(first))
    throw new CliError('USAGE', `"${first}" looks like an image, and here stands the name; ${image}`);
  if (second !== undefined) {
    throw new CliError('USAGE', `"${first}" is taken for the name, and then "${second}" has no meaning; ${image}`);
  }
  return first;
}

function modeOf({ mode, replicas }: CreateFlags): DockerServiceSpec['Mode'] {
  if (mode !== 'global') return { Replicated: { Replicas: parseReplicas('--replicas', replicas ?? '1') } };
  if (replicas === undefined) return { Global: {} };
  throw new CliError(
    'USAGE',
    '--replicas is for --mode replicated; a global service wants one task on each active node',
  );
}

function changedPorts(ports: readonly DockerPort[], flags: UpdateFlags, notes: string[]): readonly DockerPort[] {
  let left = ports;
  for (const text of flags.publishRm ?? []) {
    const leaves = parseUnpublish('--publish-rm', text);
    const kept = left.filter((port) => !leaves(port));
    if (kept.length === left.length) notes.push(`--publish-rm ${text}: no such target port is published`);
    left = kept;
  }
  const added = (flags.publishAdd ?? []).flatMap((text) => parsePublish('--publish-add', text));
  return unique([...left, ...added.map((port) => onEveryAddress(port, ports))]);
}

/** Of a port that was there before, an address that is left out stays as it was; "" says that it is to go. */
function onEveryAddress(port: DockerPort, before: readonly DockerPort[]): DockerPort {
  if (port.HostIP !== undefined) return port;
  const had = before.some(
    (one) => one.HostIP !== undefined && one.PublishedPort === port.PublishedPort && one.TargetPort === port.TargetPort,
  );
  return had ? { ...port, HostIP: '' } : port;
}

function changedNetworks(
  service: string,
  networks: readonly NetworkTarget[],
  flags: UpdateFlags,
  networkId: (reference: string) => string,
  notes: string[],
): NetworkTarget[] {
  const left = networks.filter(({ Target }) => !(flags.networkRm ?? []).some((one) => networkId(one) === Target));
  for (const reference of flags.networkRm ?? []) {
    if (!networks.some(({ Target }) => Target === networkId(reference)))
      notes.push(`--network-rm ${reference}: ${service} is not on that network`);
  }
  for (const text of flags.networkAdd ?? []) {
    const added = parseNetwork('--network-add', text);
    const Target = networkId(added.Target);
    if (left.some((one) => one.Target === Target))
      throw new CliError('FAILED', `${service} is on network ${added.Target} already`);
    left.push({ ...added, Target });
  }
  return left;
}

type PortOf = Pick<ExposedPort, 'Port' | 'Protocol'>;

function changedExpose(expose: DockerServiceSpec['Vipmesh']['Expose'], flags: UpdateFlags) {
  const leaving = (flags.exposeRm ?? []).flatMap((text) => parseExpose('--expose-rm', text));
  const arriving = (flags.exposeAdd ?? []).flatMap((text) => parseExpose('--expose-add', text));
  const same = (a: PortOf, b: PortOf) => a.Port === b.Port && a.Protocol === b.Protocol;
  // One that is there already comes again to get another name.
  const gone = [...leaving, ...arriving.filter((port) => port.Name !== undefined)];
  const left = expose.filter((port) => !gone.some((one) => same(one, port)));
  return [...left, ...unique(arriving).filter((port) => !left.some((one) => same(one, port)))];
}

/** `ADDRESS`, `ADDRESS:PORT` or `TARGET=ADDRESS:PORT`, and `,weight=N`; what else is wrong with it is for the agent to say. */
function parseEndpoint(text: string): StaticEndpoints[number] {
  const [, target, bracketed, plain, port, weight] =
    /^(?:(\d+)=)?(?:\[([^\]]+)\]|([^:,[\]]+|[^,[\]]*:[^,[\]]*:[^,[\]]*))(?::(\d+))?(?:,weight=(.*))?$/.exec(text) ?? [];
  const address = parseIp(bracketed ?? plain ?? '');
  const [TargetPort, Port] = [target, port].map((one) => (one === undefined ? undefined : parsePort(one)));
  const Weight = weight === undefined ? undefined : parseWeight(weight);
  if (
    address === undefined ||
    (target !== undefined && TargetPort === undefined) ||
    (port !== undefined && Port === undefined) ||
    (weight !== undefined && Weight === undefined)
  ) {
    throw new CliError(
      'USAGE',
      `--endpoint "${text}" should be ADDRESS, ADDRESS:PORT or TARGETPORT=ADDRESS:PORT, IPv6 in brackets, then perhaps ,weight=N (0 to ${MAX_WEIGHT})`,
    );
  }
  return {
    Address: address,
    ...(TargetPort === undefined ? {} : { TargetPort }),
    ...(Port === undefined ? {} : { Port }),
    ...(Weight === undefined ? {} : { Weight }),
  };
}

function updateConfig({ updateOrder }: CommonFlags, before?: DockerServiceSpec) {
  return updateOrder === undefined ? {} : { UpdateConfig: { ...before?.UpdateConfig, Order: updateOrder } };
}

function onUnhealthy({ onUnhealthy: wanted }: CommonFlags): { readonly OnUnhealthy?: 'keep' | 'close' } {
  if (wanted === undefined) return {};
  if (wanted === 'keep' || wanted === 'close') return { OnUnhealthy: wanted };
  throw new CliError('USAGE', `--on-unhealthy should be keep or close, not "${wanted}"`);
}

/** `--affinity off` takes back what was said before. */
function balance(
  { balance: method, affinity, localFirst }: CommonFlags,
  before?: DockerServiceSpec['Vipmesh']['Balance'],
) {
  const Method = BALANCE_METHODS.find((one) => one === method);
  if (method !== undefined && Method === undefined)
    throw new CliError('USAGE', `--balance should be ${BALANCE_METHODS.join(', ')}, not "${method}"`);
  const said = {
    ...(Method === undefined ? {} : { Method }),
    ...(affinity === undefined ? {} : { Affinity: affinity === 'off' ? 0 : parseNanoseconds('--affinity', affinity) }),
    ...(localFirst === undefined ? {} : { LocalFirst: localFirst }),
  };
  return Object.keys(said).length === 0 ? {} : { Balance: { ...before, ...said } };
}

/** `off` takes back what was said before. */
function proxyProtocol({ proxyProtocol: text }: CommonFlags) {
  if (text === undefined) return {};
  const version = PROXY_PROTOCOLS.find((one) => one === text);
  if (version === undefined && text !== 'off')
    throw new CliError('USAGE', `--proxy-protocol should be ${PROXY_PROTOCOLS.join(', ')} or off, not "${text}"`);
  return { ProxyProtocol: version ?? null };
}

/** `network` takes back what was said before. */
function dnsTtl({ dnsTtl: text }: CommonFlags) {
  if (text === undefined) return {};
  if (text === 'network') return { DNSTTL: null };
  const seconds = parseDnsTtl(text);
  if (seconds !== undefined) return { DNSTTL: seconds * NANOSECONDS_PER_S };
  throw new CliError('USAGE', `--dns-ttl should be seconds from 0 to ${MAX_DNS_TTL_S}, such as 30s, not "${text}"`);
}

const NANOSECONDS_PER_S = 1_000_000_000;

function drainTimeout({ drainTimeout: text }: CommonFlags) {
  return text === undefined ? {} : { DrainTimeout: parseNanoseconds('--drain-timeout', text) };
}

/** A port that was given twice is meant once. */
function unique<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}
