// The ports that an agent needs, and who has them. PURE.
import { formatHostPort, type IpAddress } from '../../model/address.ts';
import { type Finding, findingsOf } from './finding.ts';

export interface PortFact {
  readonly use: 'resolver' | 'health and metrics' | 'probes between agents' | 'VXLAN';
  readonly protocol: 'tcp' | 'udp';
  readonly address: IpAddress;
  readonly port: number;
  /** Absent for a port that is the same on all nodes. */
  readonly flag?: string;
  readonly state: PortState;
  /** The agent, as it is or would be started, needs it; else only one in a cluster would. */
  readonly isNeeded: boolean;
}

export type PortState =
  | { readonly kind: 'free' }
  | { readonly kind: 'held-by-agent' }
  /** No process has the socket: VXLAN devices have theirs like that. */
  | { readonly kind: 'held-by-kernel' }
  /** Without a process when it cannot be told. */
  | { readonly kind: 'taken'; readonly by?: { readonly pid: number; readonly name: string } }
  | { readonly kind: 'forbidden' }
  /** The address is not this machine's, or its family is switched off. */
  | { readonly kind: 'impossible'; readonly error: string };

export function checkPorts(ports: readonly PortFact[], isAgentRunning: boolean): readonly Finding[] {
  const all = ports.map((port) => checkPort(port, isAgentRunning));
  const { ok } = findingsOf('ports');
  const fine = ports.filter((_, i) => all[i] === undefined);
  const problems = all.filter((finding) => finding !== undefined);
  if (fine.length === 0) return problems;
  const state = isAgentRunning ? 'free or held by the agent' : 'free';
  return [ok(`${listOf(fine)}: ${state}`), ...problems];
}

/** Undefined when there is nothing to be said about it. */
function checkPort(fact: PortFact, isAgentRunning: boolean): Finding | undefined {
  const { bad, warn } = findingsOf('ports');
  const { use, state, flag, isNeeded } = fact;
  const name = `${nameOf(fact)} (${use})`;
  const elsewhere = flag === undefined ? '' : `, or give the agent another place with ${flag}`;
  const judge = isNeeded ? bad : warn;
  const only = isNeeded ? '' : '; only an agent in a cluster needs it';
  switch (state.kind) {
    case 'held-by-agent':
      return undefined;
    case 'free':
      if (!isAgentRunning || !isNeeded || use === 'VXLAN') return undefined;
      return bad(`${name} is not open, although the agent runs`, "look into the agent's log, and start it again");
    case 'held-by-kernel':
      if (use === 'VXLAN' && isAgentRunning) return undefined;
      if (use === 'VXLAN')
        return warn(
          `${name} is in use by VXLAN devices while no agent runs: left by one, or of something else (Docker Swarm, say)`,
          'vipmesh cleanup removes those of agents; beside Docker Swarm, networks with the same VNI cannot be made',
        );
      return judge(`${name} is taken by the kernel${only}`, `find out what uses it: ss -lnp${elsewhere}`);
    case 'taken': {
      const who = state.by === undefined ? "another user's program" : `${state.by.name} (pid ${state.by.pid})`;
      return judge(`${name} is taken by ${who}${only}`, `stop that program${elsewhere}`);
    }
    case 'forbidden':
      return bad(`${name} may not be opened by this user`, `start the agent as root${elsewhere}`);
    case 'impossible':
      return judge(`${name} cannot be opened: ${state.error}${only}`, `let the address be this machine's${elsewhere}`);
  }
}

function nameOf({ address, port, protocol }: PortFact): string {
  const isAny = address === '0.0.0.0' || address === '::';
  return isAny ? `port ${port}/${protocol}` : `${formatHostPort(address as IpAddress, port)}/${protocol}`;
}

function listOf(ports: readonly PortFact[]): string {
  return ports.map((port) => `${nameOf(port).replace(/^port /, '')} (${port.use})`).join(', ');
}
