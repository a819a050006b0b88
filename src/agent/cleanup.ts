// Sees what agents have left on this machine, and removes it piece by piece.
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import type { Kernel } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { LinuxKernel } from '../netlink/linux-kernel.ts';
import { isGuestLink, TUNNEL } from '../overlay/names.ts';
import { findLivingAgents } from './living-agents.ts';
import { listTables } from './nftables-listing.ts';
import {
  findRemains,
  type Guest,
  type Living,
  type Program,
  type Remains,
  type Remnant,
  readNamespaceName,
  type Seen,
  type SeenNamespace,
} from './remains.ts';

const NAMES = '/run/netns';
const SOCKETS = '/run/vipmesh';

/** What was seen at one moment. */
export interface Survey extends Remains {
  readonly living: readonly Living[];
  /** Processes of agents that do not say who they are, so that nobody knows what is theirs. */
  readonly silent: readonly number[];
}

/** Root only. `force`: containers in which something runs, too. Rejects with KernelError. */
export async function surveyRemains(force: boolean): Promise<Survey> {
  return withKernel(async (kernel) => {
    const { known, silent } = await findLivingAgents();
    const inhabitants = programsByNamespace();
    const namespaces: SeenNamespace[] = [];
    for (const name of kernel.listNamespaces('vipmesh-')) {
      if (readNamespaceName(name) !== undefined) namespaces.push(await look(kernel, name, inhabitants));
    }
    const seen: Seen = {
      namespaces,
      links: (await kernel.own.observe()).links,
      tables: await listTables(),
      sockets: await staleSockets(),
      guests: await guestsBehind(kernel, namespaces, inhabitants),
      living: known,
    };
    return { ...findRemains(seen, force), living: known, silent };
  });
}

/** Nothing happens when it is gone. Rejects with KernelError and Node's own file errors. */
export async function removeRemnant({ kind, name }: Remnant): Promise<void> {
  switch (kind) {
    case 'socket':
      rmSync(name, { force: true });
      removeIfEmpty(SOCKETS);
      return;
    case 'link':
      return withKernel((kernel) => kernel.own.apply({ kind: 'remove-link', name }));
    case 'table':
      return withKernel((kernel) => kernel.own.apply({ kind: 'remove-ruleset', name }));
    case 'container':
    case 'network':
      return withKernel((kernel) => removeNamespace(kernel, name));
  }
}

/** Its links go here and now; the kernel takes its time over a namespace, and does not begin while somebody has it open. */
async function removeNamespace(kernel: Kernel, name: string): Promise<void> {
  const namespace = await openNamed(kernel, name);
  if (namespace !== undefined) {
    await namespace.apply({ kind: 'remove-far-ends' });
    await namespace.apply({ kind: 'remove-link', name: TUNNEL });
    // Of containers that something else made: their ends go with these.
    for (const { name: port } of portsOf((await namespace.observe()).links))
      await namespace.apply({ kind: 'remove-link', name: port });
    namespace.close();
  }
  kernel.deleteNamespace(name);
}

async function look(
  kernel: Kernel,
  name: string,
  inhabitants: ReadonlyMap<string, readonly Program[]>,
): Promise<SeenNamespace> {
  const programs = inhabitants.get(linkText(`${NAMES}/${name}`)) ?? [];
  const namespace = await openNamed(kernel, name);
  if (namespace === undefined) return { name, programs, ports: [] };
  const { links, forwarding } = await namespace.observe();
  namespace.close();
  const ports = portsOf(links).map((port) => ({
    name: port.name,
    mac: forwarding.find(({ link, kind }) => link === port.name && kind === 'port')?.mac,
  }));
  return { name, programs, ports };
}

/** Undefined for a name without a namespace behind it, left by a crash while it was made. */
async function openNamed(kernel: Kernel, name: string) {
  try {
    return await kernel.openNamespace(`${NAMES}/${name}`);
  } catch (error) {
    if (error instanceof KernelError && error.code === 'refused') return undefined;
    throw error;
  }
}

function portsOf<Link extends { readonly name: string; readonly kind: string }>(links: readonly Link[]): Link[] {
  return links.filter(({ name, kind }) => kind === 'veth' && /^t-[a-z0-9]{8}$/.test(name));
}

/** Looked for only where a network leads to containers that the agent did not make. */
async function guestsBehind(
  kernel: Kernel,
  namespaces: readonly SeenNamespace[],
  inhabitants: ReadonlyMap<string, readonly Program[]>,
): Promise<readonly Guest[]> {
  const tasks = new Set(namespaces.map(({ name }) => `t-${readNamespaceName(name)?.task}`));
  if (namespaces.every(({ ports }) => ports.every(({ name }) => tasks.has(name)))) return [];
  const known = new Set([...namespaces.map(({ name }) => linkText(`${NAMES}/${name}`)), linkText('/proc/self/ns/net')]);
  const guests: Guest[] = [];
  for (const [namespace, programs] of inhabitants) {
    const [first] = programs;
    if (known.has(namespace) || first === undefined) continue;
    // It may have ended meanwhile.
    const opened = await kernel.openNamespace(`/proc/${first.pid}/ns/net`).catch(() => undefined);
    if (opened === undefined) continue;
    const { links } = await opened.observe();
    opened.close();
    const macs = links.flatMap(({ kind, name, mac }) => (kind === 'veth' && isGuestLink(name) ? (mac ?? []) : []));
    if (macs.length > 0) guests.push(...programs.map((program) => ({ program, macs })));
  }
  return guests;
}

/** By what /proc/PID/ns/net says. A program counts where its threads are. */
function programsByNamespace(): ReadonlyMap<string, readonly Program[]> {
  const result = new Map<string, Program[]>();
  for (const entry of entriesOf('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const places = new Set(
      entriesOf(`/proc/${entry}/task`).map((thread) => linkOf(`/proc/${entry}/task/${thread}/ns/net`)),
    );
    if (places.size === 0) continue;
    const program = { pid: Number(entry), name: read(`/proc/${entry}/comm`).trim() };
    for (const place of places) if (place !== '') result.set(place, [...(result.get(place) ?? []), program]);
  }
  return result;
}

async function staleSockets(): Promise<Seen['sockets']> {
  const paths = entriesOf(SOCKETS)
    .map((name) => join(SOCKETS, name))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true);
  return Promise.all(paths.map(async (path) => ({ path, isServed: await isServed(path) })));
}

/** False only when nobody listens for certain. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(path);
    connection.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
  });
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // There is something of somebody else in it.
  }
}

/** As /proc/PID/ns/net of a program in there says it. */
function linkText(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? '' : `net:[${found.ino}]`;
}

function entriesOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function withKernel<T>(work: (kernel: Kernel) => Promise<T>): Promise<T> {
  const kernel = new LinuxKernel();
  try {
    return await work(kernel);
  } finally {
    kernel.close();
  }
}
