// What makes a service spec impossible whatever else there is. PURE.
import { ACCESS_LISTS, type Access, MAX_SOURCES } from '../model/access.ts';
import { formatHostPort, parseSubnet } from '../model/address.ts';
import { parsePlace, PLACE_RULE } from '../model/publish-place.ts';
import { isDnsTtl, MAX_DNS_TTL_S } from '../model/dns-ttl.ts';
import { LIMIT_NAMES, LIMITS, limitProblem } from '../model/limits.ts';
import { nameProblem } from '../model/name.ts';
import { formatPort, isPortNumber, portNameProblem, type PublishSpec } from '../model/port.ts';
import { isWeight, WEIGHT_RULE } from '../model/weight.ts';
import { declaredTargets, type HealthCheck, type ServiceSpec, type StaticEndpoint } from '../model/service.ts';
import { ControlError } from './errors.ts';

/** Throws ControlError `invalid`. */
export function refuseServiceSpec(spec: ServiceSpec): void {
  const fail = (what: string): never => {
    throw new ControlError('invalid', `service ${spec.name}: ${what}`);
  };
  const problem = serviceNameProblem(spec.name);
  if (problem !== undefined)
    throw new ControlError('invalid', `the service name ${JSON.stringify(spec.name)} ${problem}`);
  if (spec.mode.kind === 'replicated' && !(Number.isInteger(spec.mode.replicas) && spec.mode.replicas >= 0)) {
    fail(`${spec.mode.replicas} replicas; give a whole number from 0`);
  }
  if (!(spec.drainTimeoutMs >= 0 && Number.isFinite(spec.drainTimeoutMs))) fail('its drain timeout is no duration');
  if (spec.dnsTtlS !== undefined && !isDnsTtl(spec.dnsTtlS))
    fail(`its DNS TTL of ${spec.dnsTtlS} s; give whole seconds from 0 to ${MAX_DNS_TTL_S}`);
  for (const name of LIMIT_NAMES) {
    const value = spec.limits?.[name];
    const problem = value === undefined ? undefined : limitProblem(name, value);
    if (problem !== undefined) fail(`its ${LIMITS[name].name} ${problem}`);
  }
  for (const { aliases } of spec.networks) {
    for (const alias of aliases) {
      const aliasProblem = serviceNameProblem(alias);
      if (aliasProblem !== undefined) fail(`its alias ${JSON.stringify(alias)} ${aliasProblem}`);
    }
  }
  for (const target of [...spec.expose.map(({ port }) => port), ...spec.publish.map(({ targetPort }) => targetPort)]) {
    if (!isPortNumber(target)) fail(`target port ${target}; ports are 1 to 65535`);
  }
  for (const { name } of [...spec.expose, ...spec.publish]) {
    const portProblem = name === undefined ? undefined : portNameProblem(name);
    if (portProblem !== undefined) fail(`the port name ${JSON.stringify(name)} ${portProblem}`);
  }
  refusePublish(spec.publish, fail);
  refuseAccess(spec.access ?? {}, fail);
  for (const endpoint of [...spec.endpoints]) refuseEndpoint(spec, endpoint);
  refuseTwins(spec, spec.endpoints);
  if (spec.health !== undefined && spec.health !== 'none') refuseHealth(spec.health, fail);
}

/** As the end of a sentence that began with the name. */
export function serviceNameProblem(name: string): string | undefined {
  const problem = nameProblem(name);
  if (problem !== undefined) return problem;
  if (/^tasks(\.|$)/i.test(name)) return 'begins with "tasks", which in DNS asks for the endpoints of a service';
  return undefined;
}

/** Throws ControlError `invalid`. */
export function refuseEndpoint(spec: ServiceSpec, endpoint: StaticEndpoint): void {
  const targets = [...new Set<number>(declaredTargets(spec).map(({ port }) => port))];
  const { address, port, targetPort, weight } = endpoint;
  const text = formatEndpoint(endpoint);
  const fail = (what: string): never => {
    throw new ControlError('invalid', `service ${spec.name}: endpoint ${text} ${what}`);
  };
  for (const number of [port, targetPort])
    if (number !== undefined && !isPortNumber(number)) fail('has a port that is not 1 to 65535');
  if (weight !== undefined && !isWeight(weight)) fail(`has the weight ${weight}, which ${WEIGHT_RULE}`);
  if (/^(0\.|22[4-9]\.|23\d\.|255\.255\.255\.255$|::$|ff)/.test(address)) fail('is no address of a single machine');
  if (targetPort !== undefined && !targets.includes(targetPort)) {
    const declared = targets.length === 0 ? 'declares none; add it with --expose' : `declares ${listed(targets)}`;
    fail(`stands for target port ${targetPort}, but the service ${declared}`);
  }
  if (targetPort === undefined && port !== undefined && targets.length > 1) {
    fail(
      `does not say which target port it serves (${listed(targets)}); write TARGET=${text}, or the address alone for the same ports`,
    );
  }
}

export function sameEndpoint(a: StaticEndpoint, b: StaticEndpoint): boolean {
  return a.address === b.address && a.port === b.port && a.targetPort === b.targetPort;
}

/** `ADDR`, `ADDR:PORT` or `TARGET=ADDR:PORT`, as users write it. */
export function formatEndpoint({ address, port, targetPort }: StaticEndpoint): string {
  const place = port === undefined ? address : formatHostPort(address, port);
  return targetPort === undefined ? place : `${targetPort}=${place}`;
}

function refuseTwins(spec: ServiceSpec, endpoints: readonly StaticEndpoint[]): void {
  endpoints.forEach((endpoint, index) => {
    if (endpoints.findIndex((other) => sameEndpoint(endpoint, other)) === index) return;
    throw new ControlError('invalid', `service ${spec.name}: endpoint ${formatEndpoint(endpoint)} stands twice`);
  });
}

function refusePublish(publish: readonly PublishSpec[], fail: (what: string) => never): void {
  publish.forEach((one, index) => {
    const { hostAddress, publishedPort, protocol } = one;
    if (hostAddress !== undefined && parsePlace(hostAddress) !== hostAddress)
      fail(`${JSON.stringify(hostAddress)} ${PLACE_RULE}`);
    if (publishedPort === undefined) return;
    if (!isPortNumber(publishedPort)) fail(`published port ${publishedPort}; ports are 1 to 65535`);
    const twin = publish.slice(0, index).some((other) => portsCollide(one, other));
    if (twin) fail(`it publishes port ${formatPort(protocol, publishedPort)} twice`);
  });
}

function refuseAccess(access: Access, fail: (what: string) => never): void {
  for (const list of ACCESS_LISTS) {
    const sources = access[list];
    if (sources === undefined) continue;
    if (sources.length === 0 || sources.length > MAX_SOURCES)
      fail(`its list of sources (${list}) should have 1 to ${MAX_SOURCES} entries, not ${sources.length}`);
    const wrong = sources.find((source) => parseSubnet(source) !== source);
    if (wrong !== undefined) fail(`${JSON.stringify(wrong)} is no subnet such as 10.0.0.0/8`);
  }
}

/** Whether two claims of published ports cannot both be listened on. */
export function portsCollide(a: PublishSpec, b: PublishSpec): boolean {
  if (a.publishedPort === undefined || a.publishedPort !== b.publishedPort || a.protocol !== b.protocol) return false;
  return a.hostAddress === undefined || b.hostAddress === undefined || a.hostAddress === b.hostAddress;
}

function refuseHealth(check: HealthCheck, fail: (what: string) => never): void {
  if (!(check.intervalMs > 0) || !(check.timeoutMs > 0))
    fail('its health check needs an interval and a timeout above 0');
  if (!(Number.isInteger(check.retries) && check.retries >= 1)) fail('its health check needs at least one retry');
  if (!(check.startPeriodMs >= 0)) fail("its health check's start period is no duration");
  const { probe } = check;
  if (probe.kind === 'exec' && probe.command.length === 0) fail('its health check has no command');
  if (probe.kind === 'http' && !probe.path.startsWith('/'))
    fail(`its health check's path ${JSON.stringify(probe.path)} does not begin with "/"`);
  if (probe.kind !== 'exec' && probe.port !== undefined && !isPortNumber(probe.port))
    fail(`its health check's port ${probe.port} is not 1 to 65535`);
}

function listed(ports: readonly number[]): string {
  return ports.length > 10 ? `${ports.length} ports` : ports.join(', ');
}
