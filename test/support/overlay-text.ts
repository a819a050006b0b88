// Plans and operations of the overlay as lines that can be read.
import type { FdbEntry, OnLink, Operation, PortSettings } from '../../src/netlink/kernel.ts';
import type { Plan, PlannedLink } from '../../src/overlay/plan.ts';

export function planText({ links, addresses, routes, neighbours, forwarding, sysctls }: Plan): readonly string[] {
  return [
    ...links.map(linkText),
    ...addresses.map(
      ({ address, prefixLength, link, deprecated }) =>
        `address ${address}/${prefixLength} on ${link}${deprecated ? ' deprecated' : ''}`,
    ),
    ...routes.map(
      ({ kind, destination, prefixLength, via, link }) =>
        `${kind} ${destination}/${prefixLength}${via === undefined ? '' : ` via ${via}`} on ${link}`,
    ),
    ...neighbours.map(({ address, mac, link }) => `neighbour ${address} is ${mac} on ${link}`),
    ...forwarding.map((entry) => `forward ${forwardingText(entry)}`),
    ...sysctls.map(({ path, value }) => `sysctl ${path} = ${value}`),
  ];
}

function forwardingText(entry: OnLink<FdbEntry>): string {
  return `${entry.mac} over ${entry.link}${entry.kind === 'tunnel' ? ` to ${entry.vtep}` : ''}`;
}

function linkText({ name, make, mac, mtu, master, port }: PlannedLink): string {
  const kind = make.kind === 'given' ? '' : ` ${make.kind}`;
  const peer = make.kind === 'veth' ? ` to ${make.peer.name} ${make.peer.mac} in ${make.peer.namespace}` : '';
  const tunnel = make.kind === 'vxlan' ? ` ${make.tunnel.vni} from ${make.tunnel.local}:${make.tunnel.port}` : '';
  const own = `${mac === undefined ? '' : ` mac ${mac}`}${mtu === undefined ? '' : ` mtu ${mtu}`}`;
  const place = master === undefined ? '' : `, port of ${master}`;
  return `link ${name}${kind}${peer}${tunnel}${own}${place}${port === undefined ? '' : `, ${portText(port)}`}`;
}

/** What the port does, and does not with a minus. */
function portText(port: Partial<PortSettings>): string {
  return Object.entries(port)
    .map(([name, value]) => (value ? name : `-${name}`))
    .join(' ');
}

export function operationText(operation: Operation): string {
  switch (operation.kind) {
    case 'set-link': {
      const { kind: _kind, name, ...change } = operation;
      return `set-link ${name} ${Object.entries(change)
        .map(([key, value]) => `${key}=${typeof value === 'object' ? portText(value) : value}`)
        .join(' ')}`;
    }
    case 'add-address':
    case 'remove-address':
      return `${operation.kind} ${operation.address.address}/${operation.address.prefixLength} on ${operation.link}`;
    case 'add-route':
    case 'remove-route':
      return `${operation.kind} ${operation.route.destination}/${operation.route.prefixLength} on ${operation.link}`;
    case 'set-neighbour':
    case 'remove-neighbour':
      return `${operation.kind} ${operation.neighbour.address} on ${operation.link}`;
    case 'set-forwarding':
    case 'remove-forwarding':
      return `${operation.kind} ${forwardingText({ ...operation.entry, link: operation.link })}`;
    case 'set-sysctl':
      return `set-sysctl ${operation.path}=${operation.value}`;
    case 'remove-far-ends':
      return operation.kind;
    default:
      return `${operation.kind} ${operation.name}`;
  }
}
