// What the parts have in common: a published service with the tests' own server on some nodes, and when it is known and answers.
import { z } from 'zod';
import { httpGet } from '../../test/netns/support/clients.ts';
import { type BenchLab, type BenchNode, type Started, until } from './lab.ts';
import { Resolvers } from './resolvers.ts';

export const WEB = 'web';
export const WEB_PORT = 8080;
/** Names on a `local` network are known to the nodes' own resolvers. */
export const NETWORK = 'back';
export const SERVER_PORT = 8000;

export interface Extent {
  /** Of what is told as median and worst. */
  readonly runs: number;
  readonly changes: number;
  readonly outageSeconds: number;
  readonly restSeconds: number;
  readonly services: number;
}

export interface Part {
  /** In one word, for the command line. */
  readonly name: string;
  /** Resolves with Markdown. */
  measure(extent: Extent, say: (text: string) => void): Promise<string>;
}

/** Resolves when every node sends to all of these, with their servers. */
export async function publishWeb(lab: BenchLab, servers: readonly BenchNode[]): Promise<readonly Started[]> {
  const one = lab.node(1);
  await makeNetwork(lab);
  await one.cli('service', 'create', '--name', WEB, '--network', NETWORK, '-p', `${WEB_PORT}:80`, '--health-tcp', '80');
  const started = await Promise.all(servers.map((node) => node.serve()));
  for (const { address } of servers) await one.cli('endpoint', 'add', WEB, `80=${address}:${SERVER_PORT}`);
  await untilNamed(lab.nodes, WEB, servers.length);
  return started;
}

export async function makeNetwork(lab: BenchLab): Promise<void> {
  await lab.node(1).cli('network', 'create', '--driver', 'local', NETWORK);
}

/** Until all of these nodes' resolvers give that many addresses for the service's endpoints. */
export async function untilNamed(nodes: readonly BenchNode[], service: string, count: number): Promise<void> {
  const resolvers = await Resolvers.open(nodes, `tasks.${service}`);
  await resolvers.until(count);
  resolvers.close();
}

/** Resolves when a connection to the node's published port is answered. */
export async function untilAnswered(node: BenchNode): Promise<void> {
  await until(`${node.name} answers`, async () => / met /.test(await httpGet(node.netns, node.address, WEB_PORT)));
}

/** kill -9 of a node's agent, and a start. Resolves when it is ready, with the seconds from the start until each of these was so. */
export async function restart(
  node: BenchNode,
  signs: readonly ((node: BenchNode) => Promise<void>)[],
): Promise<readonly number[]> {
  await node.killAgent();
  const from = performance.now();
  node.launchAgent();
  const seconds = await Promise.all(signs.map((sign) => sign(node).then(() => (performance.now() - from) / 1000)));
  await node.agentReady();
  return seconds;
}

export async function addEndpoint({ client }: BenchNode, service: string, endpoint: string): Promise<string> {
  const answer = await client.post('/vipmesh/endpoints', { Service: service, Endpoint: endpoint });
  return z.object({ ID: z.string() }).parse(answer).ID;
}

export async function removeEndpoint({ client }: BenchNode, id: string): Promise<void> {
  await client.delete(`/vipmesh/endpoints/${id}`);
}
