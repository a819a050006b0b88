// The agent as it says it is: its workers, ports and stacks, its store and the other nodes. PURE.
import type { AgentStatus, ClusterStatus } from '../../api/status-schema.ts';
import { humanDuration } from '../../runtime/duration.ts';
import { count, type Finding, findingsOf, some } from './finding.ts';

export type AgentFact =
  | { readonly kind: 'running'; readonly status: AgentStatus }
  /** Nobody is there. */
  | { readonly kind: 'none'; readonly why: string }
  /** This user may not ask. */
  | { readonly kind: 'forbidden'; readonly why: string }
  /** Somebody is there, and cannot be asked. */
  | { readonly kind: 'mute'; readonly why: string };

export function checkAgent(agent: AgentFact): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('agent');
  if (agent.kind === 'none')
    return [
      warn(
        agent.why,
        'what follows is about an agent that would be started now, by this user, with the settings in VIPMESH_…',
      ),
    ];
  if (agent.kind === 'forbidden') return [warn(agent.why, 'what follows is what can be seen without the agent')];
  if (agent.kind === 'mute') return [bad(agent.why, 'restart it, and if it hangs again, keep its log')];
  const { Version, PID, State, Workers, Stacks, Frontends, Warnings } = agent.status;
  const running = `the agent ${Version} (pid ${PID}) is ${State}`;
  const findings: Finding[] = [
    State === 'ready'
      ? ok(running)
      : warn(
          running,
          State === 'draining' ? 'it is about to end; start it again' : 'wait; its log says what it waits for',
        ),
  ];
  const restarting = Workers.filter((worker) => worker.State === 'restarting');
  if (restarting.length > 0)
    findings.push(
      bad(
        `${restarting.length} of ${Workers.length} workers are being restarted`,
        "the agent's log says what ended them",
      ),
    );
  for (const { Name, File, Error: why } of Stacks.filter((stack) => stack.State === 'rejected'))
    findings.push(
      bad(
        `stack ${Name} is not applied: ${why ?? 'no reason is known'}`,
        `correct ${File}; it is applied again by itself`,
      ),
    );
  const blocked = Frontends.filter((frontend) => frontend.State === 'blocked');
  for (const { Service, Protocol, Port, Reason } of blocked)
    findings.push(
      bad(
        `port ${Port}/${Protocol} of service ${Service} is blocked: ${Reason ?? 'no reason is known'}`,
        'stop what has the port, and it is taken within seconds; or publish another one',
      ),
    );
  for (const warning of Warnings) findings.push(warn(warning, 'vipmesh status shows whether it lasts'));
  return findings;
}

export interface StoreFacts {
  readonly cluster: ClusterStatus | undefined;
  readonly folder: string;
  /** Of the state directory, or of the nearest one above it that exists; undefined: the agent has it, and this user may not look. */
  readonly disk: { readonly isThere: boolean; readonly isWritable: boolean; readonly freeBytes: number } | undefined;
  /** Of the store that an agent started now would use; empty when one runs. */
  readonly servers: readonly { readonly address: string; readonly error: string | undefined }[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The state directory has the store or a copy of it (about 1 kB a task) and grows by changes until it is compacted. */
const LITTLE_BYTES = 100 * 1024 * 1024;

export function checkStore({ cluster, folder, disk, servers, now }: StoreFacts): readonly Finding[] {
  return [...checkDisk(folder, disk), ...(cluster === undefined ? checkServers(servers) : checkEtcd(cluster, now))];
}

function checkDisk(folder: string, disk: StoreFacts['disk']): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('store');
  if (disk === undefined) return [];
  const mb = Math.floor(disk.freeBytes / 1024 / 1024);
  if (!disk.isWritable)
    return [
      bad(
        `the state directory ${folder} cannot be ${disk.isThere ? 'written to' : 'made'} by this user`,
        'start the agent as another user, or give it one of its own by --state-dir',
      ),
    ];
  if (disk.freeBytes < LITTLE_BYTES)
    return [
      warn(
        `the disk of the state directory ${folder} has ${mb} MB left`,
        'make room: without any, changes are refused',
      ),
    ];
  return [
    ok(`the state directory ${folder} ${disk.isThere ? 'is there' : 'can be made'}, on a disk with ${mb} MB left`),
  ];
}

function checkServers(servers: StoreFacts['servers']): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('store');
  if (servers.length === 0) return [];
  const silent = servers.filter(({ error }) => error !== undefined);
  const list = some(silent.map(({ address, error }) => `${address} (${error})`));
  const advice = 'is etcd running there, and does a firewall let its client port (2379/tcp) pass?';
  if (silent.length === servers.length) return [bad(`etcd is not to be reached: ${list}`, advice)];
  const reached = ok(
    `etcd is reached: ${some(servers.filter((one) => !silent.includes(one)).map(({ address }) => address))}`,
  );
  return silent.length === 0 ? [reached] : [reached, warn(`some of etcd is not to be reached: ${list}`, advice)];
}

function checkEtcd({ Store }: ClusterStatus, now: number): readonly Finding[] {
  const { ok, bad } = findingsOf('store');
  const where = `etcd (${Store.Endpoints.join(', ')})`;
  const since = humanDuration(now - Date.parse(Store.Since)).toLowerCase();
  if (Store.Connected) return [ok(`${where} has been connected for ${since}`)];
  const why = Store.Error === undefined ? '' : `: ${Store.Error}`;
  const serving = Store.ServingCopy ? "this node's own copy" : 'the last known state';
  return [
    bad(
      `${where} has not answered for ${since}; ${serving} is served, and changes are refused${why}`,
      'is etcd running, with a majority of its members, and does a firewall let 2379/tcp pass?',
    ),
  ];
}

/** Farther away than this, probes and convergence take their time. */
const FAR_MS = 100;
/** A node takes commits over within milliseconds; this many behind, it does not keep up. */
const FAR_BEHIND = 10;

export function checkNodes(cluster: ClusterStatus | undefined): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('nodes');
  if (cluster === undefined) return [];
  const others = cluster.Nodes.filter(({ Self }) => !Self);
  if (others.length === 0) return [ok('there is no other node yet')];
  const findings: Finding[] = [];
  for (const { Name, Address } of others.filter(({ State }) => State === 'unknown'))
    findings.push(
      bad(
        `node ${Name} (${Address}) does not answer this one`,
        'is its agent busy or stopped, and do firewalls let 7946/udp pass, both ways?',
      ),
    );
  for (const { Name } of others.filter(({ State }) => State === 'down'))
    findings.push(warn(`node ${Name} is down`, 'start its agent, if it is to come back'));
  const ready = others.filter(({ State }) => State === 'ready');
  for (const { Name, RoundTrip = 0 } of ready.filter(({ RoundTrip = 0 }) => RoundTrip > FAR_MS))
    findings.push(
      warn(
        `node ${Name} answers after ${Math.round(RoundTrip)} ms`,
        'look at the way between the nodes, and at how busy both are',
      ),
    );
  for (const { Name, Behind = 0 } of ready.filter(({ Behind = 0 }) => Behind > FAR_BEHIND))
    findings.push(
      warn(
        `node ${Name} is ${count(Behind, 'commit')} behind this one`,
        'look at its own `vipmesh status`: the store, and how busy it is',
      ),
    );
  if (ready.length === 0) return findings;
  const slowest = Math.max(...ready.map(({ RoundTrip = 0 }) => RoundTrip));
  return [
    ok(`${count(ready.length, 'other node')} answer${ready.length === 1 ? 's' : ''} within ${slowest.toFixed(1)} ms`),
    ...findings,
  ];
}
