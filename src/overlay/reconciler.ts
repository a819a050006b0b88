// Makes a namespace hold what is planned, and says what then is true.
import type { Link, Namespace, Operation } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { diff } from './diff.ts';
import type { Plan } from './plan.ts';

/** What a reconciliation did, and what is so after it. */
export interface Outcome {
  readonly applied: readonly Operation[];
  /** Each operation that failed; the others were attempted all the same. */
  readonly failures: readonly KernelError[];
  /** Read after the last operation. */
  readonly links: readonly Link[];
}

/**
 * Reads, compares and changes, once. One failed operation does not keep the others from being tried: what can be true of the
 * plan shall be. Rejects only when the namespace cannot be read.
 */
export async function reconcile(namespace: Namespace, plan: Plan): Promise<Outcome> {
  const before = await namespace.observe();
  const operations = diff(plan, before, readSysctls(namespace, plan));
  if (operations.length === 0) return { applied: [], failures: [], links: before.links };
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
  return { applied, failures, links: await namespace.observeLinks() };
}

/**
 * Resolves once frames pass over these links, or false after `timeoutMs`. The kernel takes links that were just set up into
 * service by and by, and drops what is sent until then: a first SYN or ARP request that is lost costs its sender a second.
 */
export async function linksReady(namespace: Namespace, names: readonly string[], timeoutMs: number): Promise<boolean> {
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
      const links = await namespace.observeLinks();
      if (names.every((name) => links.some((link) => link.name === name && link.ready))) return true;
      if ((await Promise.race([changed, timeout])) === 'timeout') return false;
    }
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Throws the first failure unless this link is a port of this bridge. */
export function throwUnlessPort(outcome: Outcome, port: string, bridge: string): void {
  if (!outcome.links.some(({ name, master }) => name === port && master === bridge)) throwFirst(outcome);
}

export function throwFirst(outcome: Outcome): Outcome {
  const [first] = outcome.failures;
  if (first !== undefined) throw first;
  return outcome;
}

function readSysctls(namespace: Namespace, plan: Plan): ReadonlyMap<string, string> {
  const values = plan.sysctls.map(({ path }) => [path, namespace.sysctl(path)] as const);
  return new Map(values.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
}
