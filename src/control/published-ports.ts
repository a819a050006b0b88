// Which published ports a service gets. PURE.
import { nextPublishedPort } from '../allocate/published-ports.ts';
import { formatHostPort, type IpAddress } from '../model/address.ts';
import { formatPort, type PortNumber, type Protocol, type PublishedPort, type PublishSpec } from '../model/port.ts';
import type { Service, ServiceSpec } from '../model/service.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { exhausted } from './networks.ts';
import { portsCollide } from './service-spec.ts';

/** `before`: what the service has so far; a port that nobody chose stays the same as long as its target does. */
export function publishPorts(draft: Draft, spec: ServiceSpec, before: Service | undefined): readonly PublishedPort[] {
  const others = [...draft.snapshot.services.values()].filter((service) => service.id !== before?.id);
  const chosen: PublishedPort[] = [];
  for (const publish of spec.publish) {
    if (publish.publishedPort === undefined) continue;
    const port: PublishedPort = { ...publish, publishedPort: publish.publishedPort };
    refuseClaimed(
      spec,
      port,
      others.filter(({ id }) => !draft.yielding.has(id)),
    );
    refuseHeld(draft, spec, port);
    chosen.push(port);
  }
  return spec.publish.map((publish) => {
    const own = chosen.find((port) => port.publishedPort === publish.publishedPort && sameTarget(port, publish));
    if (own !== undefined) return own;
    const port = keptPort(publish, before, [...chosen, ...others.flatMap((service) => service.ports)]);
    const published: PublishedPort = {
      ...publish,
      publishedPort: port ?? freePort(draft, spec, publish, others, chosen),
    };
    chosen.push(published);
    return published;
  });
}

function refuseClaimed(spec: ServiceSpec, port: PublishedPort, others: readonly Service[]): void {
  // Two services may publish one port in host mode: each is listened on only where it has tasks.
  const claims = (other: PublishedPort) =>
    portsCollide(port, other) && !(port.mode === 'host' && other.mode === 'host');
  const holder = others.find((service) => service.ports.some(claims));
  if (holder === undefined) return;
  throw new ControlError(
    'conflict',
    `service ${spec.name}: port ${describe(port)} is published by service ${holder.spec.name}; choose another port, or remove it there`,
  );
}

function refuseHeld(draft: Draft, spec: ServiceSpec, port: PublishedPort): void {
  // What we publish already, for whichever service, we hold ourselves.
  if ([...draft.base.services.values()].some((service) => service.ports.some((other) => portsCollide(port, other))))
    return;
  const problem = draft.surroundings.portProblem(port.protocol, port.publishedPort, port.hostAddress);
  if (problem === undefined) return;
  throw new ControlError(
    'conflict',
    `service ${spec.name}: port ${describe(port)} cannot be published here: ${problem}`,
  );
}

function keptPort(
  publish: PublishSpec,
  before: Service | undefined,
  taken: readonly PublishedPort[],
): PortNumber | undefined {
  const had = before?.ports.filter((port) => sameTarget(port, publish)) ?? [];
  return had.find((port) => !taken.some((other) => portsCollide(port, other)))?.publishedPort;
}

function freePort(
  draft: Draft,
  spec: ServiceSpec,
  publish: PublishSpec,
  others: readonly Service[],
  chosen: readonly PublishedPort[],
): PortNumber {
  const taken = portsOf(publish.protocol, [...chosen, ...others.flatMap((service) => service.ports)]);
  try {
    for (;;) {
      const port = nextPublishedPort(publish.protocol, taken);
      const problem = draft.surroundings.portProblem(publish.protocol, port, publish.hostAddress);
      if (problem === undefined) return port;
      taken.add(port);
    }
  } catch (error) {
    throw exhausted(`service ${spec.name}`, error);
  }
}

function portsOf(protocol: Protocol, ports: readonly PublishedPort[]): Set<number> {
  return new Set(ports.filter((port) => port.protocol === protocol).map((port) => port.publishedPort));
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
    : `${formatHostPort(port.hostAddress as IpAddress, port.publishedPort)}/${port.protocol}`;
}
