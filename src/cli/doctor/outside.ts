// What keeps containers from the outside, and what dead agents left. PURE.
import { count, type Finding, findingsOf, some } from './finding.ts';

export interface EgressFacts {
  /** The agent, running or yet to be started, is root's. */
  readonly isRoots: boolean;
  /** An agent of this machine has its bridge for egress up. */
  readonly isUp: boolean;
  /** net.ipv4.ip_forward; undefined when it cannot be read. */
  readonly forwarding: boolean | undefined;
  /** It can be switched on. */
  readonly isForwardingWritable: boolean;
  /** Chains that drop what they do not accept of what is forwarded; undefined when this process may not ask. */
  readonly dropping: readonly DroppingChain[] | undefined;
  /** Connections that the kernel tracks, and how many it may; undefined where it tracks none. */
  readonly tracked: { readonly count: number; readonly most: number } | undefined;
}

export interface DroppingChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** Somebody has written a rule there about the bridges of agents. */
  readonly knowsEgress: boolean;
}

/** Of the connections that may be tracked. */
const NEARLY = 0.8;

export function checkEgress({
  isRoots,
  isUp,
  forwarding,
  isForwardingWritable,
  dropping,
  tracked,
}: EgressFacts): readonly Finding[] {
  if (!isRoots) return [];
  const { ok, warn, bad } = findingsOf('egress');
  const findings: Finding[] = [];
  if (forwarding === false && isUp)
    findings.push(
      bad(
        'net.ipv4.ip_forward is off: containers do not reach the outside',
        'switch it on (sysctl -w net.ipv4.ip_forward=1), and look for what switched it off',
      ),
    );
  if (forwarding === false && !isUp && !isForwardingWritable)
    findings.push(
      bad(
        'net.ipv4.ip_forward is off, and cannot be switched on from here',
        'switch it on outside of this container, or let /proc/sys be writable',
      ),
    );
  for (const { family, table, chain } of (dropping ?? []).filter(({ knowsEgress }) => !knowsEgress))
    findings.push(
      warn(
        `chain ${chain} of table ${family} ${table} drops what it does not accept (Docker's and firewalls' do): containers may not reach the outside`,
        adviceFor(table),
      ),
    );
  if (tracked !== undefined && tracked.count > tracked.most * NEARLY)
    findings.push(
      bad(
        `the kernel tracks ${tracked.count} connections, of ${tracked.most} at most; beyond that, new ones are dropped`,
        'raise net.netfilter.nf_conntrack_max',
      ),
    );
  if (findings.length > 0) return findings;
  return [
    ok(
      dropping === undefined
        ? 'forwarding: nothing keeps containers from the outside, as far as can be seen without root'
        : 'nothing keeps containers from the outside',
    ),
  ];
}

function adviceFor(table: string): string {
  return table.startsWith('filter')
    ? 'accept them: iptables -I FORWARD -i vmeg-+ -j ACCEPT; iptables -I FORWARD -o vmeg-+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT'
    : `accept there what comes in by vmeg-*, and what is established and goes out by it`;
}

export interface LeftoverFacts {
  /** Undefined: only root can see them. */
  readonly survey:
    | {
        readonly remove: readonly { readonly kind: string; readonly name: string }[];
        readonly inhabited: readonly string[];
        /** Agents that do not say who they are. */
        readonly silent: readonly number[];
      }
    | undefined;
  readonly isAgentRunning: boolean;
}

export function checkLeftovers({ survey, isAgentRunning }: LeftoverFacts): readonly Finding[] {
  if (survey === undefined) return [];
  const { ok, warn } = findingsOf('leftovers');
  const [silent] = survey.silent;
  if (silent !== undefined)
    return [
      warn(
        `the agent with pid ${silent} does not answer, so nobody knows what of agents on this machine is still needed`,
        'wait until it has started; if it hangs, end it',
      ),
    ];
  const findings: Finding[] = [];
  if (survey.inhabited.length > 0)
    findings.push(
      ok(
        `${count(survey.inhabited.length, 'container')} of an agent that has ended still run${survey.inhabited.length === 1 ? 's' : ''}: ${some(survey.inhabited)}; its next start takes them up`,
      ),
    );
  if (survey.remove.length === 0) return [...findings, ok('agents that have ended left nothing behind')];
  const stop = isAgentRunning ? 'stop the agent, then ' : '';
  const names = survey.remove.map(({ kind, name }) => `${kind} ${name}`);
  return [
    ...findings,
    warn(
      `agents that have ended left ${count(names.length, 'thing')}: ${some(names)}`,
      `${stop}vipmesh cleanup${isAgentRunning ? '' : ', or the start of the agent that they belong to'}`,
    ),
  ];
}
