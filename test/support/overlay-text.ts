// Plans and operations of the overlay as lines that can be read.
import type { Operation } from '../../src/netlink/kernel.ts';
import type { Plan, PlannedLink } from '../../src/overlay/plan.ts';

export function planText({ links, addresses, routes, neighbours, sysctls }: Plan): readonly string[] {
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
    ...sysctls.map(({ path, value }) => `sysctl ${path} = ${value}`),
  ];
}

function linkText({ name, make, mac, master, isolated }: PlannedLink): string {
  const kind = make.kind === 'given' ? '' : ` ${make.kind}`;
  const peer = make.kind === 'veth' ? ` to ${make.peer.name} ${make.peer.mac} in ${make.peer.namespace}` : '';
  const port = master === undefined ? '' : `, port of ${master}`;
  return `link ${name}${kind}${peer}${mac === undefined ? '' : ` mac ${mac}`}${port}${isolated === true ? ', isolated' : ''}`;
}

export function operationText(operation: Operation): string {
  switch (operation.kind) {
    case 'set-link': {
      const { kind: _kind, name, ...change } = operation;
      return `set-link ${name} ${Object.entries(change)
        .map(([key, value]) => `${key}=${value}`)
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
    case 'set-sysctl':
      return `set-sysctl ${operation.path}=${operation.value}`;
    case 'remove-far-ends':
      return operation.kind;
    default:
      return `${operation.kind} ${operation.name}`;
  }
}
