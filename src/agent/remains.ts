// What agents that have ended left behind on this machine: told from everybody else's by its names, and from what is still needed
// by who is in it. PURE.
import type { Link, MacAddress } from '../netlink/kernel.ts';
import {
  egressBridge,
  egressPort,
  guardTable,
  type Instance,
  isInstance,
  namespacePrefix,
  tableName,
} from '../overlay/names.ts';

export interface Program {
  readonly pid: number;
  readonly name: string;
}

/** A network namespace that has a name below /run/netns, whoever gave it. */
export interface SeenNamespace {
  readonly name: string;
  /** What runs in it. */
  readonly programs: readonly Program[];
  /** The ports of its bridge, with the MAC address of what is behind each. */
  readonly ports: readonly { readonly name: string; readonly mac: MacAddress | undefined }[];
}

/** A program in a namespace that somebody else made, with the MAC addresses of the links there that have names of ours. */
export interface Guest {
  readonly program: Program;
  readonly macs: readonly MacAddress[];
}

/** An agent that runs. */
export interface Living {
  readonly pid: number;
  readonly socket: string;
  readonly instance: Instance;
}

export interface Seen {
  readonly namespaces: readonly SeenNamespace[];
  /** Of the namespace in which this process runs. */
  readonly links: readonly Pick<Link, 'name' | 'kind' | 'mac' | 'master'>[];
  /** Names of the nftables tables there, of the family `inet`. */
  readonly tables: readonly string[];
  /** Below /run/vipmesh. */
  readonly sockets: readonly { readonly path: string; readonly isServed: boolean }[];
  readonly guests: readonly Guest[];
  readonly living: readonly Living[];
}

/** `container` and `network` are namespaces. */
export interface Remnant {
  readonly kind: 'container' | 'network' | 'link' | 'table' | 'socket';
  readonly name: string;
}

export interface Kept {
  readonly what: string;
  readonly why: string;
}

export interface Remains {
  /** In the order in which they are to be removed. */
  readonly remove: readonly Remnant[];
  readonly kept: readonly Kept[];
  /** Containers of agents that have ended, in which something runs; among `remove` when forced, else among `kept`. */
  readonly inhabited: readonly string[];
}

/** `force`: containers in which something runs, too. */
export function findRemains(seen: Seen, force: boolean): Remains {
  const things = thingsOf(seen);
  const parts = [...things.keys()].sort().map((instance) => {
    const agent = seen.living.find((one) => one.instance === instance);
    const own = things.get(instance) ?? NOTHING;
    return agent === undefined ? remainsOf(own, seen.guests, force) : ofLiving(agent);
  });
  const stale = seen.sockets.filter(({ isServed }) => !isServed);
  return {
    remove: [
      ...parts.flatMap(({ remove }) => remove),
      ...stale.map(({ path }): Remnant => ({ kind: 'socket', name: path })),
    ],
    kept: parts.flatMap(({ kept }) => kept),
    inhabited: parts.flatMap(({ inhabited }) => inhabited),
  };
}

/** The agent, and whether it is a container's, whose namespace is called so; undefined for every other name. */
export function readNamespaceName(
  name: string,
): { readonly instance: Instance; readonly task: string | undefined } | undefined {
  const [, instance = '', id = ''] = /^vipmesh-([^-]*)-(.*)$/.exec(name) ?? [];
  if (!isInstance(instance) || name !== `${namespacePrefix(instance)}${id}`) return undefined;
  const [, container, short] = /^(t-)?([a-z0-9]{8})$/.exec(id) ?? [];
  if (short === undefined) return undefined;
  return { instance, task: container === undefined ? undefined : short };
}

interface Things {
  readonly namespaces: readonly SeenNamespace[];
  readonly links: readonly string[];
  readonly tables: readonly string[];
}

const NOTHING: Things = { namespaces: [], links: [], tables: [] };

function thingsOf(seen: Seen): ReadonlyMap<Instance, Things> {
  const result = new Map<Instance, Things>();
  const add = (instance: Instance, kind: keyof Things, thing: SeenNamespace | string) => {
    const before = result.get(instance) ?? NOTHING;
    result.set(instance, { ...before, [kind]: [...before[kind], thing] });
  };
  for (const namespace of seen.namespaces) {
    const instance = readNamespaceName(namespace.name)?.instance;
    if (instance !== undefined) add(instance, 'namespaces', namespace);
  }
  for (const table of seen.tables) {
    const instance = /^vipmesh_([^_]*)/.exec(table)?.[1] ?? '';
    if (isInstance(instance) && [tableName(instance), guardTable(instance)].includes(table))
      add(instance, 'tables', table);
  }
  for (const { name, kind, mac } of seen.links) {
    const instance = /^vmeg-(.*)$/.exec(name)?.[1] ?? '';
    // The MAC address is set as the bridge is made, so a bridge with another kind of address is somebody else's.
    if (isInstance(instance) && egressBridge(instance) === name && kind === 'bridge' && isOfAddress(mac))
      add(instance, 'links', name);
  }
  // After all others: a port whose bridge is gone is ours only where something else says that there was such an agent.
  for (const link of seen.links) {
    const instance = portInstance(link, (one) => result.has(one));
    if (instance !== undefined) add(instance, 'links', link.name);
  }
  return result;
}

/** The agent whose egress bridge a link is, or was, a port of. */
function portInstance(
  { name, kind, master }: Seen['links'][number],
  isKnown: (instance: Instance) => boolean,
): Instance | undefined {
  const [, instance = '', number = ''] = /^vm([^-]*)-([0-9a-f]{1,6})$/.exec(name) ?? [];
  if (!isInstance(instance) || kind !== 'veth' || egressPort(instance, Number.parseInt(number, 16)) !== name)
    return undefined;
  if (master !== undefined) return master === egressBridge(instance) && isKnown(instance) ? instance : undefined;
  return isKnown(instance) ? instance : undefined;
}

/** 02:42 and an IPv4 address, as the agent makes them. */
function isOfAddress(mac: MacAddress | undefined): boolean {
  return mac?.startsWith('02:42:') === true;
}

function ofLiving({ pid, socket }: Living): Remains {
  return {
    remove: [],
    kept: [{ what: `what the agent with pid ${pid} has made`, why: `it runs; its socket is ${socket}` }],
    inhabited: [],
  };
}

function remainsOf({ namespaces, links, tables }: Things, guests: readonly Guest[], force: boolean): Remains {
  const containers = namespaces.filter(({ name }) => readNamespaceName(name)?.task !== undefined);
  const networks = namespaces.filter((one) => !containers.includes(one));
  const inhabitants = new Map<string, readonly Program[]>();
  for (const { name, programs } of containers)
    if (programs.length > 0) inhabitants.set(`t-${readNamespaceName(name)?.task}`, programs);
  const inhabitedGuests = guestsOn(networks, containers, guests);
  const inhabited = [
    ...containers.filter(({ programs }) => programs.length > 0).map(({ name }) => name),
    ...[...inhabitedGuests.values()].map(describe),
  ];
  const needed = force ? new Set<string>() : new Set([...inhabitants.keys(), ...inhabitedGuests.keys()]);
  const reasons = new Map<string, string>();
  for (const { name, programs } of namespaces) {
    if (force) break;
    if (programs.length > 0) reasons.set(name, `${describe(programs)} runs in it`);
  }
  for (const { name, ports } of networks) {
    const users = ports.filter((port) => needed.has(port.name));
    if (users.length > 0) reasons.set(name, `${users.length === 1 ? 'a container' : 'containers'} that runs is on it`);
  }
  const isInUse = needed.size > 0;
  const remove = (kind: Remnant['kind'], names: readonly string[]): readonly Remnant[] =>
    names.filter((name) => !reasons.has(name)).map((name) => ({ kind, name }));
  const outside = 'containers that are kept reach the outside by it';
  for (const name of isInUse ? [...links, ...tables] : []) reasons.set(name, outside);
  return {
    remove: [
      ...remove('container', containers.map(nameOf)),
      ...remove('link', links.toSorted(portsFirst)),
      ...remove('network', networks.map(nameOf)),
      // Last: it keeps strangers out of the tunnels.
      ...remove('table', tables),
    ],
    kept: [
      ...namespaces.flatMap(({ name }) => keptThing(name, reasons)),
      ...[...inhabitedGuests.values()].flatMap((programs) =>
        force ? [] : [{ what: 'an attached container', why: `${describe(programs)} runs in it` }],
      ),
      ...[...links, ...tables].flatMap((name) => keptThing(name, reasons)),
    ],
    inhabited,
  };
}

/** Ports that lead to containers which something else made, and in which something runs. */
function guestsOn(
  networks: readonly SeenNamespace[],
  containers: readonly SeenNamespace[],
  guests: readonly Guest[],
): ReadonlyMap<string, readonly Program[]> {
  const own = new Set(containers.map(({ name }) => `t-${readNamespaceName(name)?.task}`));
  const result = new Map<string, readonly Program[]>();
  for (const { name, mac } of networks.flatMap(({ ports }) => ports)) {
    if (own.has(name) || mac === undefined) continue;
    const programs = guests.filter(({ macs }) => macs.includes(mac)).map(({ program }) => program);
    if (programs.length > 0) result.set(name, programs);
  }
  return result;
}

/** At most three: a container may hold thousands. */
function describe(programs: readonly Program[]): string {
  const shown = programs.slice(0, 3).map(({ pid, name }) => `${name} (pid ${pid})`);
  return [...shown, ...(programs.length > 3 ? [`${programs.length - 3} more`] : [])].join(', ');
}

function keptThing(name: string, reasons: ReadonlyMap<string, string>): readonly Kept[] {
  const why = reasons.get(name);
  if (why === undefined) return [];
  const task = readNamespaceName(name);
  const kind = task === undefined ? '' : task.task === undefined ? 'network ' : 'container ';
  return [{ what: `${kind}${name}`, why }];
}

function nameOf({ name }: SeenNamespace): string {
  return name;
}

function portsFirst(a: string, b: string): number {
  return Number(a.startsWith('vmeg-')) - Number(b.startsWith('vmeg-')) || (a < b ? -1 : 1);
}
