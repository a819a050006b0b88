// Whether a port of this node is free for a service.
import { portProblem } from '../balancer/listener-set.ts';
import type { Config } from '../config.ts';
import type { Protocol } from '../model/port.ts';

/** Why a port cannot be published here: often it is the agent's own. */
export function publishProblem(config: Config, protocol: Protocol, port: number, address?: string): string | undefined {
  const problem = portProblem(protocol, port, address);
  if (problem === undefined) return undefined;
  if (port === config.dns.port)
    return `${problem}; the agent's own resolver is on it: give that another place with --dns`;
  if (protocol === 'tcp' && port === config.admin.port)
    return `${problem}; the agent's own metrics are on it: give them another place with --admin`;
  return problem;
}
