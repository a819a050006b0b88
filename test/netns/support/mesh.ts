// What the agent of a test says about its services.
import { isIPv4 } from 'node:net';
import type { EndpointListing, Resolution } from '../../../src/api/schema.ts';
import type { Agent } from '../../support/agent.ts';
import { api } from './clients.ts';
import { type Task, until } from './tasks.ts';

/** Waits until these tasks, and no others, are what a name means on a network; told by their IPv4 addresses. */
export async function untilServing(agent: Agent, network: string, name: string, tasks: readonly Task[]): Promise<void> {
  const wanted = tasks.map(({ address }) => address).sort();
  await until(
    `${name} is served by ${wanted}`,
    () => resolve(agent, network, `tasks.${name}`),
    (addresses) => addresses.filter(isIPv4).sort().join() === wanted.join(),
  );
}

/** The addresses that a name has on a network. */
export async function resolve(agent: Agent, network: string, name: string): Promise<readonly string[]> {
  const path = `/vipmesh/resolve?name=${name}&network=${network}`;
  const { Answers = [] } = await api<Partial<Resolution>>(agent.folder.socket, path);
  return Answers.flatMap(({ Addresses }) => Addresses);
}

export async function vipOf(agent: Agent, network: string, service: string): Promise<string> {
  const [vip = ''] = await resolve(agent, network, service);
  return vip;
}

export function endpoints(agent: Agent): Promise<readonly EndpointListing[]> {
  return api(agent.folder.socket, '/vipmesh/endpoints');
}
