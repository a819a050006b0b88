// How much of everything there may be, and whether the clock is right. PURE.
import { count, type Finding, findingsOf } from './finding.ts';

export interface LimitFacts {
  /** Of the agent that runs; undefined: of this process, as an agent that it would start has it. */
  readonly pid: number | undefined;
  /** RLIMIT_NOFILE; undefined when that cannot be read. */
  readonly descriptors: { readonly soft: number; readonly hard: number } | undefined;
  /** How many the agent has open. */
  readonly open: number | undefined;
  /** fs.nr_open: the most that a process's limit can be. */
  readonly most: number;
  /** fs.file-nr: how many the whole machine has open, and may have. */
  readonly machine: { readonly open: number; readonly most: number } | undefined;
}

/** A connection through the agent has two sockets. */
const PER_CONNECTION = 2;
/** What an agent has open beside connections: listeners, namespaces, the store; generously. */
const RESERVE = 200;
/** What a node of some dozens of tasks has open in a busy minute, and what one of hundreds has. */
const FEW_CONNECTIONS = 1000;
const ENOUGH_CONNECTIONS = 8000;
/** Of a limit that is in use: time to raise it. */
const NEARLY = 0.8;

export function checkDescriptors({ pid, descriptors, open, most, machine }: LimitFacts): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('descriptors');
  const who = pid === undefined ? 'an agent started from here' : `the agent (pid ${pid})`;
  if (descriptors === undefined) return [warn(`the descriptor limit of ${who} cannot be seen`, 'run this with sudo')];
  // Node raises the soft limit to the hard one when it starts.
  const limit = Math.min(pid === undefined ? descriptors.hard : descriptors.soft, most);
  const connections = Math.max(0, Math.floor((limit - RESERVE) / PER_CONNECTION));
  const what = `${who} may have ${limit} descriptors, which is about ${count(connections, 'connection')} at once`;
  const advice = `raise it, to ${most} at most (fs.nr_open): LimitNOFILE= of its unit, or ulimit -n before it is started`;
  const findings =
    connections < FEW_CONNECTIONS
      ? [bad(what, advice)]
      : connections < ENOUGH_CONNECTIONS
        ? [warn(what, advice)]
        : [ok(what)];
  if (open !== undefined && open > limit * NEARLY)
    findings.push(bad(`${open} of the agent's ${limit} descriptors are in use`, advice));
  if (machine !== undefined && machine.open > machine.most * NEARLY)
    findings.push(bad(`${machine.open} of the machine's ${machine.most} descriptors are in use`, 'raise fs.file-max'));
  return findings;
}

export interface ClockFacts {
  /** Undefined: the kernel does not say. */
  readonly state: { readonly isSynchronised: boolean; readonly maxErrorMs: number } | undefined;
  /** The node is one of several, or is to be. */
  readonly isCluster: boolean;
}

/** Certificates and what `status` says about convergence bear this much; leases and probes do not ask the clock. */
const MAX_ERROR_MS = 1000;

export function checkClock({ state, isCluster }: ClockFacts): readonly Finding[] {
  const { ok, warn } = findingsOf('clock');
  const advice = 'run something that keeps it right, such as chrony or systemd-timesyncd';
  if (state === undefined) return [ok('clock: not checked, the kernel does not say whether it is synchronised')];
  if (!state.isSynchronised) {
    const what = 'nothing keeps the clock right, as far as the kernel knows';
    if (!isCluster) return [ok(`${what}; a node that is alone does not mind`)];
    return [warn(`${what}: certificates of the store, and how soon changes are in effect, are judged by it`, advice)];
  }
  const off = `the clock is synchronised, to ${Math.ceil(state.maxErrorMs)} ms at worst`;
  return [state.maxErrorMs > MAX_ERROR_MS ? warn(off, advice) : ok(off)];
}
