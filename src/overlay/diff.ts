// From what a namespace holds to what it should hold: the operations, additions before removals, so that what stays in use is
// never gone in between. PURE.
import type {
  Address,
  FdbEntry,
  Link,
  Neighbour,
  Observed,
  OnLink,
  Operation,
  PortSettings,
  Route,
} from '../netlink/kernel.ts';
import type { Plan, PlannedLink } from './plan.ts';

/** `sysctls`: the present values of the plan's settings, as far as there are any. Empty when nothing is to be done. */
export function diff(plan: Plan, observed: Observed, sysctls: ReadonlyMap<string, string>): readonly Operation[] {
  const present = new Map(observed.links.map((link) => [link.name, link]));
  const missing = new Set(plan.links.filter((link) => isMissing(link, present.get(link.name))).map(({ name }) => name));
  const settled = withoutLinks(observed, missing);
  return [
    ...plan.links.flatMap((link) => (missing.has(link.name) ? makeLink(link, present.get(link.name)) : [])),
    ...plan.sysctls.flatMap((sysctl): Operation[] => {
      const value = sysctls.get(sysctl.path);
      const isNew = sysctl.link !== undefined && missing.has(sysctl.link);
      if (!isNew && (value === undefined || value === sysctl.value)) return [];
      return [{ kind: 'set-sysctl', path: sysctl.path, value: sysctl.value }];
    }),
    ...plan.links.flatMap((link) => changeLink(link, missing.has(link.name) ? undefined : present.get(link.name))),
    ...lacking(plan.addresses, settled.addresses, addressKey).map(
      ({ link, ...address }): Operation => ({ kind: 'add-address', link, address }),
    ),
    ...lacking(plan.routes, settled.routes, routeKey).map(
      ({ link, ...route }): Operation => ({ kind: 'add-route', link, route }),
    ),
    // Before the neighbours: what is known by address is sent at once.
    ...lacking(plan.forwarding, settled.forwarding, forwardingKey).map(
      ({ link, ...entry }): Operation => ({ kind: 'set-forwarding', link, entry }),
    ),
    ...lacking(plan.neighbours, settled.neighbours, neighbourKey).map(
      ({ link, ...neighbour }): Operation => ({ kind: 'set-neighbour', link, neighbour }),
    ),
    ...removals(plan, settled),
  ];
}

function removals(plan: Plan, observed: Observed): readonly Operation[] {
  const planned = new Set(plan.links.map(({ name }) => name));
  const bridges = new Set(plan.links.filter(({ make }) => make.kind === 'bridge').map(({ name }) => name));
  const ours = <T extends { link: string }>(things: readonly T[]): T[] =>
    things.filter(({ link }) => planned.has(link));
  return [
    ...lacking(ours(observed.routes), plan.routes, routePlace).map(
      ({ link, ...route }): Operation => ({ kind: 'remove-route', link, route: plainRoute(route) }),
    ),
    ...lacking(ours(observed.addresses).filter(isRemovable), plan.addresses, addressPlace).map(
      ({ link, ...address }): Operation => ({ kind: 'remove-address', link, address }),
    ),
    // Setting a neighbour anew replaces it, so only the address counts here.
    ...lacking(ours(observed.neighbours), plan.neighbours, neighbourPlace).map(
      ({ link, ...neighbour }): Operation => ({ kind: 'remove-neighbour', link, neighbour }),
    ),
    ...lacking(ours(observed.forwarding), plan.forwarding, forwardingPlace).map(
      ({ link, ...entry }): Operation => ({ kind: 'remove-forwarding', link, entry }),
    ),
    ...observed.links
      .filter(({ name, master }) => master !== undefined && bridges.has(master) && !planned.has(name))
      .map(({ name }): Operation => ({ kind: 'remove-link', name })),
  ];
}

/** A link whose name something of another kind has taken counts as missing too, and so does another tunnel. */
function isMissing({ make }: PlannedLink, present: Link | undefined): boolean {
  if (make.kind === 'given') return false;
  if (present === undefined || present.kind !== make.kind) return true;
  if (make.kind !== 'vxlan') return false;
  const { vni, port, local } = make.tunnel;
  return present.tunnel?.vni !== vni || present.tunnel.port !== port || present.tunnel.local !== local;
}

function makeLink({ name, make, mac }: PlannedLink, inTheWay: Link | undefined): readonly Operation[] {
  const first: Operation[] = inTheWay === undefined ? [] : [{ kind: 'remove-link', name }];
  switch (make.kind) {
    case 'bridge':
      return [...first, { kind: 'add-bridge', name, ...(mac === undefined ? {} : { mac }) }];
    case 'veth':
      return [...first, { kind: 'add-veth', name, peer: make.peer }];
    case 'vxlan':
      return [...first, { kind: 'add-vxlan', name, tunnel: make.tunnel }];
    case 'given':
      return [];
  }
}

/** The differences of one link, as one operation; none when there is no difference. A bridge has its MAC from its making. */
function changeLink(link: PlannedLink, present: Link | undefined): readonly Operation[] {
  if (present === undefined && link.make.kind === 'given') return [];
  const isNew = present === undefined;
  const mac = link.mac !== undefined && present?.mac !== link.mac && !(isNew && link.make.kind === 'bridge');
  const moves = link.master !== undefined && present?.master !== link.master;
  const change = {
    ...(mac && link.mac !== undefined ? { mac: link.mac } : {}),
    ...(link.mtu !== undefined && present?.mtu !== link.mtu ? { mtu: link.mtu } : {}),
    ...(moves ? { master: link.master } : {}),
    ...(present?.up === true ? {} : { up: true }),
  };
  const operations: Operation[] =
    Object.keys(change).length === 0 ? [] : [{ kind: 'set-link', name: link.name, ...change }];
  // Only a port has them, so these come once the link is one.
  const port = differing(link.port ?? {}, moves ? undefined : present?.port);
  if (Object.keys(port).length > 0) operations.push({ kind: 'set-link', name: link.name, port });
  return operations;
}

/** Those of the wanted settings that are not so. */
function differing(wanted: Partial<PortSettings>, present: PortSettings | undefined): Partial<PortSettings> {
  const entries = Object.entries(wanted) as (readonly [keyof PortSettings, boolean])[];
  return Object.fromEntries(entries.filter(([name, value]) => present?.[name] !== value));
}

/** What was on a link that is made anew has gone with the old one. */
function withoutLinks(observed: Observed, gone: ReadonlySet<string>): Observed {
  const stays = ({ link }: { readonly link: string }): boolean => !gone.has(link);
  return {
    ...observed,
    links: observed.links.filter(({ name }) => !gone.has(name)),
    addresses: observed.addresses.filter(stays),
    routes: observed.routes.filter(stays),
    neighbours: observed.neighbours.filter(stays),
    forwarding: observed.forwarding.filter(stays),
  };
}

/** Those of `wanted` that have no equal in `there`. */
function lacking<T, U extends T>(wanted: readonly U[], there: readonly T[], key: (thing: T) => string): readonly U[] {
  const keys = new Set(there.map(key));
  return wanted.filter((thing) => !keys.has(key(thing)));
}

/** The kernel makes the loopback and link-local addresses by itself (RFC 4291 section 2.5.6). */
function isRemovable({ address, link }: OnLink<Address>): boolean {
  return link !== 'lo' && !/^fe[89ab]/.test(address);
}

function plainRoute({ kind, destination, prefixLength, via }: Route): Route {
  return { kind, destination, prefixLength, ...(via === undefined ? {} : { via }) };
}

function addressPlace({ link, address, prefixLength }: OnLink<Address>): string {
  return `${link} ${address}/${prefixLength}`;
}

function addressKey(address: OnLink<Address>): string {
  return `${addressPlace(address)} ${address.deprecated}`;
}

/** Adding a route replaces the one to the same destination, so where it leads does not count for removal. */
function routePlace({ link, kind, destination, prefixLength }: OnLink<Route>): string {
  return `${link} ${kind} ${destination}/${prefixLength}`;
}

function routeKey(route: OnLink<Route>): string {
  return `${routePlace(route)} ${route.via ?? ''}`;
}

function neighbourPlace({ link, address }: OnLink<Neighbour>): string {
  return `${link} ${address}`;
}

function neighbourKey(neighbour: OnLink<Neighbour>): string {
  return `${neighbourPlace(neighbour)} ${neighbour.mac}`;
}

/** Setting a port's entry moves it; setting a tunnel's replaces where it leads. */
function forwardingPlace({ kind, link, mac }: OnLink<FdbEntry>): string {
  return `${kind} ${link} ${mac}`;
}

function forwardingKey(entry: OnLink<FdbEntry>): string {
  return `${forwardingPlace(entry)} ${entry.kind === 'tunnel' ? entry.vtep : ''}`;
}
