// Which published ports a service gets. PURE.
import { nextPublishedPort } from '../allocate/published-ports.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { formatPort, type PortNumber, type PublishedPort, type PublishSpec } from '../model/port.ts';
import { formatPlace } from '../model/publish-place.ts';
import type { Service, ServiceId, ServiceSpec } from '../model/service.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { exhausted } from './networks.ts';
import { portsCollide } from './service-spec.ts';

/** `before`: what the service has so far; a port that nobody chose stays the same as long as its target does. */
export function publishPorts(draft: Draft, spec: ServiceSpec, before: Service | undefined): readonly PublishedPort[] {
  const chosen: PublishedPort[] = [];
  for (const publish of spec.publish) {
    if (publish.publishedPort === undefined) continue;
    const port: PublishedPort = { ...publish, publishedPort: publish.publishedPort };
    refuseClaimed(draft, spec, port, before?.id);
    refuseHeld(draft, spec, port);
    chosen.push(port);
  }
  return spec.publish.map((publish) => {
    const own = chosen.find((port) => port.publishedPort === publish.publishedPort && sameTarget(port, publish));
    if (own !== undefined) return own;
    const taken = (port: number) => [
      ...chosen,
      ...publishersOf(draft.snapshot, port, before?.id).flatMap((service) => service.ports),
    ];
    const port = keptPort(publish, before, taken);
    const published: PublishedPort = { ...publish, publishedPort: port ?? freePort(draft, spec, publish, taken) };
    chosen.push(published);
    return published;
  });
}

/** The other services that publish a port of that number. */
function publishersOf(snapshot: Snapshot, port: number, except: ServiceId | undefined): readonly Service[] {
  return [...(snapshot.servicesByPort.get(port)?.values() ?? [])].filter(({ id }) => id !== except);
}

function refuseClaimed(draft: Draft, spec: ServiceSpec, port: PublishedPort, own: ServiceId | undefined): void {
  // Two services may publish one port in host mode: each is listened on only where it has tasks.
  const claims = (other: PublishedPort) =>
    portsCollide(port, other) && !(port.mode === 'host' && other.mode === 'host');
  const holder = publishersOf(draft.snapshot, port.publishedPort, own).find(
    ({ id, ports }) => !draft.yielding.has(id) && ports.some(claims),
  );
  if (holder === undefined) return;
  throw new ControlError(
    'conflict',
    `service ${spec.name}: port ${describe(port)} is published by service ${holder.spec.name}; choose another port, or remove it there`,
  );
}

function refuseHeld(draft: Draft, spec: ServiceSpec, port: PublishedPort): void {
  // What we publish already, for whichever service, we hold ourselves.
  const ours = publishersOf(draft.base, port.publishedPort, undefined);
  if (ours.some((service) => service.ports.some((other) => portsCollide(port, other)))) return;
  const problem = draft.surroundings.portProblem(port.protocol, port.publishedPort, port.hostAddress);
  if (problem === undefined) return;
  throw new ControlError(
    'conflict',
    `service ${spec.name}: port ${describe(port)} cannot be published here: ${problem}`,
  );
}

/** `taken`: what is published with a port of that number. */
type Taken = (port: number) => readonly PublishedPort[];

function keptPort(publish: PublishSpec, before: Service | undefined, taken: Taken): PortNumber | undefined {
  const had = before?.ports.filter((port) => sameTarget(port, publish)) ?? [];
  return had.find((port) => !taken(port.publishedPort).some((other) => portsCollide(port, other)))?.publishedPort;
}

function freePort(draft: Draft, spec: ServiceSpec, publish: PublishSpec, taken: Taken): PortNumber {
  const unusable = new Set<number>();
  const isTaken = (port: number) =>
    unusable.has(port) ||
    taken(port).some((other) => other.publishedPort === port && other.protocol === publish.protocol);
  try {
    for (;;) {
      const port = nextPublishedPort(publish.protocol, { has: isTaken });
      const problem = draft.surroundings.portProblem(publish.protocol, port, publish.hostAddress);
      if (problem === undefined) return port;
      unusable.add(port);
    }
  } catch (error) {
    throw exhausted(`service ${spec.name}`, error);
  }
}

function sameTarget(a: PublishSpec, b: PublishSpec): boolean {
  return (
    a.protocol === b.protocol && a.targetPort === b.targetPort && a.mode === b.mode && a.hostAddress === b.hostAddress
  );
}

function describe(port: PublishedPort): string {
  const text = formatPort(port.protocol, port.publishedPort);
  return port.hostAddress === undefined
    ? text
    : `${formatPlace(port.hostAddress, port.publishedPort)}/${port.protocol}`;
}
