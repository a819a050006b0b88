// Makes a namespace hold what is planned, and says what then is true.
import type { Link, Namespace, Operation } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { diff } from './diff.ts';
import type { Plan } from './plan.ts';

/** What a reconciliation did. */
export interface Outcome {
  readonly applied: readonly Operation[];
  /** Each operation that failed; the others were attempted all the same. */
  readonly failures: readonly KernelError[];
}

export const NOTHING_DONE: Outcome = { applied: [], failures: [] };

/**
 * Reads, compares and changes, once. One failed operation does not keep the others from being tried: what can be true of the
 * plan shall be. Rejects only when the namespace cannot be read.
 */
export async function reconcile(namespace: Namespace, plan: Plan): Promise<Outcome> {
  const before = await namespace.observe();
  return carryOut(namespace, diff(plan, before, readSysctls(namespace, plan, before.links)));
}

/**
 * Makes a plan's links be as planned, and looks at nothing else: the price does not depend on how much else the namespace holds.
 * Nothing is removed. Neighbours and forwarding entries are set with a new link, and taken to be there with one that is there.
 */
export async function addLinks(namespace: Namespace, plan: Plan): Promise<Outcome> {
  const links = await namespace.observeLinks(plan.links.map(({ name }) => name));
  const isThere = links.length === plan.links.length;
  const { neighbours, forwarding } = isThere ? plan : { neighbours: [], forwarding: [] };
  const before = { links, addresses: plan.addresses, routes: plan.routes, neighbours, forwarding };
  return carryOut(namespace, diff(plan, before, readSysctls(namespace, plan, links)));
}

/** Whether these links are as a plan says that has all that is to be on them; nothing else is looked at. */
export async function areAsPlanned(namespace: Namespace, plan: Plan, names: ReadonlySet<string>): Promise<boolean> {
  const links = await namespace.observeLinks([...names]);
  const planned = plan.links.filter(({ name }) => names.has(name));
  const bridges = new Set(plan.links.filter(({ make }) => make.kind === 'bridge').map(({ name }) => name));
  const isStray = ({ name, master }: Link): boolean =>
    master !== undefined && bridges.has(master) && !planned.some((one) => one.name === name);
  if (links.some(isStray)) return false;
  const sysctls = plan.sysctls.filter(({ link }) => link !== undefined && names.has(link));
  const own = { ...plan, links: planned, sysctls };
  return diff(own, { ...own, links }, readSysctls(namespace, own, links)).length === 0;
}

async function carryOut(namespace: Namespace, operations: readonly Operation[]): Promise<Outcome> {
  const applied: Operation[] = [];
  const failures: KernelError[] = [];
  for (const operation of operations) {
    try {
      await namespace.apply(operation);
      applied.push(operation);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      failures.push(error);
    }
  }
  return { applied, failures };
}

/**
 * Resolves once frames pass over these links, or false after `timeoutMs`. The kernel takes links that were just set up into
 * service by and by, and drops what is sent until then: a first SYN or ARP request that is lost costs its sender a second.
 */
export async function linksReady(namespace: Namespace, names: readonly string[], timeoutMs: number): Promise<boolean> {
  const isReady = async (): Promise<boolean> => {
    const links = await namespace.observeLinks(names);
    return names.every((name) => links.some((link) => link.name === name && link.ready));
  };
  // Most are, and then nothing needs to be watched.
  if (await isReady()) return true;
  let notice: () => void = () => {};
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<'timeout'>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, 'timeout');
  });
  const stop = namespace.watch(() => notice());
  try {
    for (;;) {
      // Armed before looking, so that a change in between is not missed.
      const changed = new Promise<void>((resolve) => {
        notice = resolve;
      });
      if (await isReady()) return true;
      if ((await Promise.race([changed, timeout])) === 'timeout') return false;
    }
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Rejects with the first failure unless this link is a port of this bridge. */
export async function throwUnlessPort(
  namespace: Namespace,
  outcome: Outcome,
  { port, bridge }: { readonly port: string; readonly bridge: string },
): Promise<void> {
  if (outcome.failures.length === 0) return;
  const [link] = await namespace.observeLinks([port]);
  if (link?.master !== bridge) throwFirst(outcome);
}

export function throwFirst(outcome: Outcome): Outcome {
  const [first] = outcome.failures;
  if (first !== undefined) throw first;
  return outcome;
}

/** Those of links that are not there yet are not read. */
function readSysctls(namespace: Namespace, plan: Plan, links: readonly Link[]): ReadonlyMap<string, string> {
  const present = new Map(links.map((link) => [link.name, link]));
  const values = plan.sysctls.map(({ path, link: name }) => {
    const link = name === undefined ? undefined : present.get(name);
    if (name !== undefined && link === undefined) return [path, undefined] as const;
    return [path, link?.sysctls?.[path] ?? namespace.sysctl(path)] as const;
  });
  return new Map(values.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
}
