// What the agents of a lab say about their mesh, and services on it.
import type { DockerNode, EndpointListing } from '../../../src/api/schema.ts';
import type { AgentStatus } from '../../../src/api/status-schema.ts';
import { api, connectFrom, type LineConnection, lines, lookup } from './clients.ts';
import type { Lab, Node } from './lab.ts';
import { type Task, until } from './tasks.ts';

/** Where `publishWeb` publishes what listens on 8000 and 7000. */
export const HTTP_PORT = 8080;
export const LINES_PORT = 7070;
export const WEB = 'web';

/** Runs a command on a node that must succeed. */
export async function does(node: Node, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await node.cli(...words);
  if (code !== 0) throw new Error(`${node.name}: vipmesh ${words.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/**
 * The service `web` on the network `back`, published on every node, with the tests' own server on each of these. Names on `back` are
 * known to the nodes' own resolvers. Resolves when all nodes send to all of them.
 */
export async function publishWeb(mesh: Lab, servers: readonly Node[]): Promise<void> {
  const [first] = mesh.nodes;
  if (first === undefined) return;
  await does(first, 'network', 'create', '--driver', 'local', 'back');
  const ports = ['-p', `${HTTP_PORT}:80`, '-p', `${LINES_PORT}:70`];
  await does(first, 'service', 'create', '--name', WEB, '--network', 'back', ...ports, '--health-tcp', '80');
  await Promise.all(servers.map((node) => node.serve()));
  // On the target ports the service's VIP is listened for on every node, and the server listens on all addresses of its own.
  for (const { address } of servers)
    await does(first, 'endpoint', 'add', WEB, `80=${address}:8000`, `70=${address}:7000`);
  await untilEligible(mesh.nodes, WEB, servers);
}

/** Until all of these nodes send connections for a service to the endpoints at these nodes' addresses, and to no others. */
export async function untilEligible(nodes: readonly Node[], service: string, servers: readonly Node[]): Promise<void> {
  const wanted = addresses(servers);
  for (const node of nodes)
    await until(
      `${node.name} sends for ${service} to ${wanted}`,
      () => namesOf(node, `tasks.${service}`),
      (found) => found.join() === wanted,
    );
}

function addresses(places: readonly { readonly address: string }[]): string {
  return places
    .map(({ address }) => address)
    .sort()
    .join();
}

/** The addresses that a node's own resolver gives for a name, sorted. */
export function namesOf(node: Node, name: string): Promise<readonly string[]> {
  return resolvedIn(node.netns, name);
}

/** Until the resolver in a container gives the addresses of these tasks, and no others. */
export async function untilResolved(netns: number, name: string, tasks: readonly Task[]): Promise<void> {
  const wanted = addresses(tasks);
  await until(
    `${name} is ${wanted}`,
    () => resolvedIn(netns, name),
    (found) => found.join() === wanted,
  );
}

async function resolvedIn(netns: number, name: string): Promise<readonly string[]> {
  const { answers = [] } = await lookup(netns, name);
  return answers.flatMap((answer) => ('data' in answer ? [String(answer.data)] : [])).sort();
}

export function endpointsOf(node: Node): Promise<readonly EndpointListing[]> {
  return api(node.socket, '/vipmesh/endpoints');
}

/** `NAME ID ADDRESS` of the tasks of a service, as a node knows them, sorted; only those on these networks' addresses. */
export async function tasksOf(node: Node, service: string): Promise<readonly string[]> {
  const all = await endpointsOf(node);
  return all
    .filter(({ Service }) => Service === service)
    .map(({ Task, TaskID, Address }) => `${Task} ${TaskID} ${Address}`)
    .sort();
}

/** `node1 ready, node2 down`: how one node sees all. */
export async function statesOf(node: Node): Promise<string> {
  const all = await api<readonly DockerNode[]>(node.socket, '/nodes');
  return all
    .map(({ Description, Status }) => `${Description.Hostname} ${Status.State}`)
    .sort()
    .join(', ');
}

export async function untilState(node: Node, other: Node, state: 'ready' | 'unknown' | 'down'): Promise<void> {
  await until(
    `${other.name} is ${state} on ${node.name}`,
    () => statesOf(node),
    (states) => states.split(', ').includes(`${other.name} ${state}`),
  );
}

export function statusOf(node: Node): Promise<AgentStatus> {
  return api(node.socket, '/vipmesh/status');
}

export async function untilStore(node: Node, connected: boolean): Promise<void> {
  await until(
    `${node.name} has ${connected ? 'its' : 'no'} store`,
    () => statusOf(node),
    ({ Cluster }) => Cluster?.Store.Connected === connected,
  );
}

/** A connection through a node's published port that has been greeted by the server on `by`. */
export async function openTo(from: Node, by: Node): Promise<LineConnection> {
  for (;;) {
    const connection = lines(connectFrom(from.netns, from.address, LINES_PORT));
    if ((await connection.line()) === by.name) return connection;
    connection.socket.destroy();
  }
}
