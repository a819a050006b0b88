// What an operation is about, for its error. PURE.
import type { Operation } from './kernel.ts';

/** Without saying in which namespace. */
export function objectOf(operation: Operation): string {
  switch (operation.kind) {
    case 'add-address':
    case 'remove-address':
      return `${operation.address.address}/${operation.address.prefixLength} on ${operation.link}`;
    case 'add-route':
    case 'remove-route':
      return `${operation.route.destination}/${operation.route.prefixLength} on ${operation.link}`;
    case 'set-neighbour':
    case 'remove-neighbour':
      return `${operation.neighbour.address} on ${operation.link}`;
    case 'set-forwarding':
    case 'remove-forwarding':
      return `${operation.entry.mac} on ${operation.link}`;
    case 'set-elements':
      return `set ${operation.set.name} of nftables table inet ${operation.name}`;
    case 'change-elements':
      return `sets ${operation.changes.map(({ name }) => name).join(', ')} of nftables table ${operation.family} ${operation.name}`;
    case 'set-ruleset':
      return `nftables table ${operation.ruleset.family ?? 'inet'} ${operation.name}`;
    case 'remove-ruleset':
      return `nftables table inet ${operation.name}`;
    case 'set-sysctl':
      return `net/${operation.path}`;
    case 'remove-far-ends':
      return `links`;
    case 'add-bridge':
    case 'add-veth':
    case 'add-vxlan':
    case 'remove-link':
    case 'set-link':
      return `${operation.name}`;
  }
}
