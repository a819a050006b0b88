// PURE: Docker's ServiceSpec, as clients send it → our ServiceSpec.
//
// Docker's fields replace what was there, all of them. What Docker has no words for (the object `Vipmesh`, the address of a
// published port) stays as it was when it is absent, because Docker's own client drops what it does not know.
import type { z } from 'zod';
import type { Snapshot } from '../catalog/snapshot.ts';
import { type Access, parseSource } from '../model/access.ts';
import { parseIp, type Subnet } from '../model/address.ts';
import { parsePlace, PLACE_RULE } from '../model/publish-place.ts';
import { shortName } from '../model/name.ts';
import { isNetworkOfDocker } from '../model/network.ts';
import type { PortNumber, PublishSpec, TargetPort } from '../model/port.ts';
import {
  type Balance,
  DEFAULT_DRAIN_TIMEOUT_MS,
  EXEC_PROBE_DEFAULTS,
  type HealthCheck,
  type NetworkAttachmentSpec,
  PROBE_DEFAULTS,
  type ServiceMode,
  type ServiceSpec,
  type StaticEndpoint,
} from '../model/service.ts';
import { referenceNames } from './docker-references.ts';
import { newId, type Random } from '../runtime/random.ts';
import { keptOfSpec } from './docker-rest.ts';
import { ApiError } from './errors.ts';
import { limitsFrom } from './limits-shape.ts';
import { namelessRequest, type serviceSpecRequest } from './requests.ts';

export type ParsedServiceSpec = z.infer<typeof serviceSpecRequest>;

const NANOSECONDS_PER_MS = 1_000_000;
const NANOSECONDS_PER_S = 1_000_000_000;

/** `before`: the spec that this one replaces. Throws ApiError BAD_REQUEST or NOT_SUPPORTED. */
export function serviceSpecOf(request: ParsedServiceSpec, snapshot: Snapshot, before?: ServiceSpec): ServiceSpec {
  const { Vipmesh } = request;
  refuseUnsupported(request);
  const health = healthOf(request, before);
  const dnsTtlS = dnsTtlOf(Vipmesh?.DNSTTL, before);
  const balance = Vipmesh?.Balance === undefined ? before?.balance : balanceOf(Vipmesh.Balance);
  const proxyProtocol = Vipmesh?.ProxyProtocol === undefined ? before?.proxyProtocol : Vipmesh.ProxyProtocol;
  const limits = Vipmesh?.Limits === undefined ? before?.limits : limitsFrom(Vipmesh.Limits);
  const access = Vipmesh?.Access === undefined ? before?.access : accessOf(Vipmesh.Access ?? {});
  const docker = keptOfSpec(request);
  const short = shortName(request.Name, request.Labels ?? {});
  return {
    name: request.Name,
    labels: request.Labels ?? {},
    mode: modeOf(request.Mode ?? {}),
    endpointMode: request.EndpointSpec?.Mode === 'dnsrr' ? 'dnsrr' : 'vip',
    networks: networksIn(request)
      .filter(({ Target }) => !isLeftOut(Target, snapshot))
      .map((network) => attachmentOf(network, snapshot, before, short)),
    publish: (request.EndpointSpec?.Ports ?? []).map((port) => publishOf(port, before)),
    expose: Vipmesh?.Expose === undefined ? (before?.expose ?? []) : (Vipmesh.Expose ?? []).map(exposeOf),
    endpoints: Vipmesh?.Endpoints === undefined ? (before?.endpoints ?? []) : (Vipmesh.Endpoints ?? []).map(endpointOf),
    ...(health === undefined ? {} : { health }),
    drainTimeoutMs:
      typeof Vipmesh?.DrainTimeout === 'number'
        ? milliseconds(Vipmesh.DrainTimeout)
        : (before?.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS),
    ...(balance === undefined ? {} : { balance }),
    ...(limits === undefined ? {} : { limits }),
    ...(proxyProtocol === undefined || proxyProtocol === null ? {} : { proxyProtocol }),
    ...(access === undefined ? {} : { access }),
    ...(dnsTtlS === undefined ? {} : { dnsTtlS }),
    ...((Vipmesh?.OnUnhealthy ?? before?.onUnhealthy) === 'close' ? { onUnhealthy: 'close' as const } : {}),
    ...(docker === undefined ? {} : { docker }),
  };
}

/** Long enough to tell, short enough for the rest of a DNS label. */
const MAX_IMAGE_NAME = 40;
const NAME_SUFFIX = 4;

/**
 * A request without a name gets one, as in Docker: that of its image and four letters or digits, `nginx-4k2x`. Docker's own
 * client leaves it out when its user does. Without an image it stays as it is, and is refused.
 */
export function withName(body: unknown, random: Random): unknown {
  const parsed = namelessRequest.safeParse(body);
  if (!parsed.success) return body;
  const path = parsed.data.TaskTemplate.ContainerSpec.Image.replace(/@.*$/, '').split('/').at(-1) ?? '';
  const image = path.replace(/:.*$/, '').replaceAll(/[^a-zA-Z0-9]+/g, '-');
  const base = image.replace(/^-/, '').slice(0, MAX_IMAGE_NAME).replace(/-$/, '') || 'service';
  return { ...parsed.data, Name: `${base}-${newId(random).slice(0, NAME_SUFFIX)}` };
}

type BalanceRequest = NonNullable<ParsedServiceSpec['Vipmesh']>['Balance'];

/** Undefined when everything is as it is by default. */
function balanceOf(request: BalanceRequest): Balance | undefined {
  const { Method, Affinity, LocalFirst } = request ?? {};
  const balance = {
    ...(Method === undefined || Method === null || Method === 'round-robin' ? {} : { method: Method }),
    ...(Affinity === undefined || Affinity === null || Affinity === 0 ? {} : { affinityMs: milliseconds(Affinity) }),
    ...(LocalFirst === true ? { localFirst: LocalFirst } : {}),
  };
  return Object.keys(balance).length === 0 ? undefined : balance;
}

type AccessRequest = NonNullable<NonNullable<ParsedServiceSpec['Vipmesh']>['Access']>;

/** An empty list says nothing. Undefined when none says anything. */
function accessOf({ Allow, Deny, AcceptProxy }: AccessRequest): Access | undefined {
  const sources = (texts: readonly string[] | null | undefined) => filled(texts)?.map(sourceOf);
  const [allow, deny, acceptProxy] = [sources(Allow), sources(Deny), sources(AcceptProxy)];
  if (allow === undefined && deny === undefined && acceptProxy === undefined) return undefined;
  return { ...(allow && { allow }), ...(deny && { deny }), ...(acceptProxy && { acceptProxy }) };
}

function sourceOf(text: string): Subnet {
  const source = parseSource(text);
  if (source !== undefined) return source;
  throw new ApiError('BAD_REQUEST', `Vipmesh.Access: ${JSON.stringify(text)} is no subnet and no address`);
}

/** What the client should know although the service is made: nobody here starts what it describes. */
export function serviceRequestWarnings(request: ParsedServiceSpec, spec: ServiceSpec, snapshot: Snapshot): string[] {
  const image = request.TaskTemplate?.ContainerSpec?.Image;
  if (typeof image !== 'string' || image === '') return [];
  const references = referenceNames(spec);
  const leftOut = networksIn(request).filter(({ Target }) => isLeftOut(Target, snapshot));
  return [
    `vipmesh starts no containers: service ${spec.name} exists, and its tasks are the containers and commands that then run for it`,
    ...(references.length === 0
      ? []
      : [
          `vipmesh keeps no secrets and configs: what runs the containers of service ${spec.name} has to give them ${references.join(', ')}`,
        ]),
    ...leftOut.map(
      ({ Target }) =>
        `service ${spec.name}: network ${Target} is Docker's own on every node, and vipmesh leaves it out`,
    ),
  ];
}

function refuseUnsupported({ TaskTemplate }: ParsedServiceSpec): void {
  const runtime = TaskTemplate?.Runtime ?? '';
  if (runtime !== '' && runtime !== 'container')
    throw new ApiError('NOT_SUPPORTED', `vipmesh has no services of the runtime "${runtime}", only of containers`);
  for (const part of ['PluginSpec', 'NetworkAttachmentSpec']) {
    if (
      TaskTemplate !== undefined &&
      TaskTemplate !== null &&
      TaskTemplate[part] !== undefined &&
      TaskTemplate[part] !== null
    )
      throw new ApiError('NOT_SUPPORTED', `vipmesh has only services of containers, and no ${part}`);
  }
}

function modeOf(mode: NonNullable<ParsedServiceSpec['Mode']>): ServiceMode {
  const given = Object.entries(mode).filter(([, value]) => value !== undefined && value !== null);
  const other = given.find(([name]) => name !== 'Replicated' && name !== 'Global');
  if (other !== undefined) {
    throw new ApiError(
      'NOT_SUPPORTED',
      `vipmesh has no services of the mode ${other[0]}; its modes are Replicated and Global`,
    );
  }
  if (given.length > 1) throw new ApiError('BAD_REQUEST', 'Mode: a service is either Replicated or Global, not both');
  if (mode.Global !== undefined && mode.Global !== null) return { kind: 'global' };
  return { kind: 'replicated', replicas: mode.Replicated?.Replicas ?? 1 };
}

type ParsedNetwork = NonNullable<ParsedServiceSpec['Networks']>[number];

function networksIn({ TaskTemplate, Networks }: ParsedServiceSpec): readonly ParsedNetwork[] {
  return filled(TaskTemplate?.Networks) ?? filled(Networks) ?? [];
}

/** Docker's own, unless somebody made one of that name here. */
function isLeftOut(target: string, snapshot: Snapshot): boolean {
  return isNetworkOfDocker(target) && !snapshot.networkByName.has(target);
}

/**
 * Docker's client names networks by id; where the user wrote a name, in a stack file or before, the name stays. `short`: the
 * name within the stack, which is no alias, unless it was written as one.
 */
function attachmentOf(
  { Target, Aliases }: ParsedNetwork,
  snapshot: Snapshot,
  before: ServiceSpec | undefined,
  short: string | undefined,
): NetworkAttachmentSpec {
  const idOf = (text: string) => snapshot.networkByName.get(text) ?? text;
  const written = before?.networks.find(({ network }) => idOf(network) === idOf(Target));
  const name = snapshot.networks.get(Target as never)?.spec.name;
  const aliases = (Aliases ?? []).filter((alias) => alias !== short || written?.aliases.includes(alias));
  return { network: written?.network ?? name ?? Target, aliases };
}

type ParsedPort = NonNullable<NonNullable<ParsedServiceSpec['EndpointSpec']>['Ports']>[number];

/** Of a task's request, which changes nothing that is there already. Throws ApiError BAD_REQUEST or NOT_SUPPORTED. */
export function publishedBy<Request extends { readonly Publish?: readonly ParsedPort[] | undefined }>({
  Publish,
  ...request
}: Request): Omit<Request, 'Publish'> & { readonly Publish?: readonly PublishSpec[] } {
  return {
    ...request,
    ...(Publish === undefined ? {} : { Publish: Publish.map((port) => publishOf(port, undefined)) }),
  };
}

function publishOf(port: ParsedPort, before: ServiceSpec | undefined): PublishSpec {
  const { Name, Protocol, TargetPort, PublishedPort, PublishMode, HostIP } = port;
  if (Protocol === 'sctp')
    throw new ApiError('NOT_SUPPORTED', 'vipmesh balances tcp and udp; port of protocol sctp cannot be published');
  if (TargetPort === undefined || TargetPort === null || TargetPort === 0)
    throw new ApiError('BAD_REQUEST', 'EndpointSpec.Ports: a port has no TargetPort');
  const publish: PublishSpec = {
    protocol: Protocol === 'udp' ? 'udp' : 'tcp',
    targetPort: TargetPort as PortNumber,
    ...(PublishedPort ? { publishedPort: PublishedPort as PortNumber } : {}),
    mode: PublishMode === 'host' ? 'host' : 'ingress',
    ...(Name ? { name: Name } : {}),
  };
  const address = HostIP ?? before?.publish.find((other) => samePort(other, publish))?.hostAddress;
  if (address === undefined || address === '') return publish;
  const hostAddress = parsePlace(address);
  if (hostAddress === undefined)
    throw new ApiError('BAD_REQUEST', `EndpointSpec.Ports: ${JSON.stringify(address)} ${PLACE_RULE}`);
  return { ...publish, hostAddress };
}

function samePort(a: PublishSpec, b: PublishSpec): boolean {
  return (
    a.protocol === b.protocol &&
    a.targetPort === b.targetPort &&
    a.publishedPort === b.publishedPort &&
    a.mode === b.mode
  );
}

type ParsedVipmesh = NonNullable<ParsedServiceSpec['Vipmesh']>;

function exposeOf({ Protocol, Port, Name }: NonNullable<ParsedVipmesh['Expose']>[number]): TargetPort {
  return { protocol: Protocol ?? 'tcp', port: Port as PortNumber, ...(Name === undefined ? {} : { name: Name }) };
}

function endpointOf({
  Address,
  TargetPort,
  Port,
  Weight,
}: NonNullable<ParsedVipmesh['Endpoints']>[number]): StaticEndpoint {
  const address = parseIp(Address);
  if (address === undefined)
    throw new ApiError('BAD_REQUEST', `Vipmesh.Endpoints: ${JSON.stringify(Address)} is no IP address`);
  return {
    address,
    ...(TargetPort === undefined ? {} : { targetPort: TargetPort }),
    ...(Port === undefined ? {} : { port: Port }),
    ...(Weight === undefined ? {} : { weight: Weight }),
  };
}

function dnsTtlOf(ttl: number | null | undefined, before: ServiceSpec | undefined): number | undefined {
  if (ttl === undefined) return before?.dnsTtlS;
  return ttl === null ? undefined : ttl / NANOSECONDS_PER_S;
}

function healthOf(request: ParsedServiceSpec, before: ServiceSpec | undefined): ServiceSpec['health'] {
  const docker = request.TaskTemplate?.ContainerSpec?.Healthcheck ?? undefined;
  const test = docker?.Test ?? [];
  const probe = request.Vipmesh?.Health;
  if (test.length > 0 && probe !== undefined && probe !== null) {
    throw new ApiError(
      'BAD_REQUEST',
      'Vipmesh.Health and TaskTemplate.ContainerSpec.Healthcheck are both given; a service has one check',
    );
  }
  if (probe !== undefined && probe !== null) return probeCheck(probe);
  if (docker !== undefined && test.length > 0) return commandCheck(test, docker);
  return probe === null || !isProbe(before?.health) ? undefined : before.health;
}

function isProbe(health: ServiceSpec['health']): health is HealthCheck {
  return health !== undefined && health !== 'none' && health.probe.kind !== 'exec';
}

function probeCheck(health: NonNullable<ParsedVipmesh['Health']>): HealthCheck {
  const { TCP, HTTP } = health;
  if ((TCP === undefined) === (HTTP === undefined))
    throw new ApiError('BAD_REQUEST', 'Vipmesh.Health: give either TCP or HTTP');
  const timing = timingOf(health, PROBE_DEFAULTS);
  if (HTTP === undefined)
    return { probe: { kind: 'tcp', ...(TCP?.Port === undefined ? {} : { port: TCP.Port }) }, ...timing };
  return {
    probe: {
      kind: 'http',
      ...(HTTP.Port === undefined ? {} : { port: HTTP.Port }),
      path: HTTP.Path,
      ...(HTTP.Status === undefined ? {} : { expectStatus: HTTP.Status }),
    },
    ...timing,
  };
}

function commandCheck([word, ...command]: readonly string[], timing: Timing): ServiceSpec['health'] {
  switch (word) {
    case 'NONE':
      return 'none';
    case 'CMD':
      return { probe: { kind: 'exec', command, shell: false }, ...timingOf(timing, EXEC_PROBE_DEFAULTS) };
    case 'CMD-SHELL':
      return { probe: { kind: 'exec', command, shell: true }, ...timingOf(timing, EXEC_PROBE_DEFAULTS) };
    default:
      throw new ApiError(
        'BAD_REQUEST',
        `Healthcheck.Test begins with ${JSON.stringify(word)}; it should be NONE, CMD or CMD-SHELL (a tcp or http check is written in Vipmesh.Health)`,
      );
  }
}

interface Timing {
  readonly Interval?: number | null | undefined;
  readonly Timeout?: number | null | undefined;
  readonly Retries?: number | null | undefined;
  readonly StartPeriod?: number | null | undefined;
}

/** As in Docker, 0 means the default. */
function timingOf(timing: Timing, defaults: Omit<HealthCheck, 'probe'>): Omit<HealthCheck, 'probe'> {
  return {
    intervalMs: timing.Interval ? Math.max(1, milliseconds(timing.Interval)) : defaults.intervalMs,
    timeoutMs: timing.Timeout ? Math.max(1, milliseconds(timing.Timeout)) : defaults.timeoutMs,
    retries: timing.Retries || defaults.retries,
    startPeriodMs: timing.StartPeriod ? milliseconds(timing.StartPeriod) : defaults.startPeriodMs,
  };
}

function milliseconds(nanoseconds: number): number {
  return Math.round(nanoseconds / NANOSECONDS_PER_MS);
}

function filled<T>(list: readonly T[] | null | undefined): readonly T[] | undefined {
  return list === undefined || list === null || list.length === 0 ? undefined : list;
}
