// Container → VIP → endpoint, on the same node and on another one, beside no proxy and beside HAProxy in the agent's place: in the
// network's namespace of the client's node, so that what passes the one passes the same links as what passes the other.
import type { NetworkId } from '../../src/model/network.ts';
import { DIRECT, HAPROXY, OURS, type Stage } from '../contenders.ts';
import { type Extent, measureRates, type RateContender } from '../measures.ts';
import type { Processes } from '../processes.ts';
import { type Goal, table } from '../report.ts';
import { Asker } from './asking.ts';
import { type Container, inNamespace, type Node } from './lab.ts';

export interface Traffic {
  readonly processes: Processes;
  readonly stage: Stage;
  readonly extent: Pick<Extent, 'rounds' | 'seconds'>;
  say(text: string): void;
}

const NETWORK = 'traffic';
const PORT = 80;
const GOAL: Goal = { kind: 'ratio', of: [HAPROXY], atLeast: 0.9 };

/** The sections of the results, as Markdown. */
export async function measureTraffic(traffic: Traffic, nodes: readonly [Node, Node]): Promise<string> {
  const [here, there] = nodes;
  const network = (await here.cli('network', 'create', NETWORK)).trim() as NetworkId;
  const client = await start(here, 'client', ['sleep', 'infinity']);
  const sections: string[] = [];
  for (const [name, title, node] of [
    ['near', 'The endpoint on the same node', here],
    ['far', 'The endpoint on another node', there],
  ] as const) {
    const endpoint = await start(node, name, ['nginx', ...traffic.stage.backendWords(name, `${PORT}`)]);
    const vip = await here.vipOf(name, NETWORK);
    const haproxy = await startHaproxy(traffic, name, await here.placeOn(network), endpoint);
    const through = inNamespace(client.netns);
    const contenders: readonly RateContender[] = [
      { name: DIRECT, address: endpoint.address, port: PORT, through, process: undefined },
      { name: OURS, address: vip, port: PORT, through, process: here.usage },
      { name: HAPROXY, address: haproxy.address, port: PORT, through, process: haproxy.process },
    ];
    await untilAllAnswer(client, contenders);
    traffic.say(`${title}:\n`);
    const measures = await measureRates(traffic, contenders, () => GOAL);
    sections.push(`## ${title}`, '', table([DIRECT, OURS, HAPROXY], measures, OURS), '');
    await Promise.all([haproxy.process.stop(), endpoint.run.stop()]);
  }
  await client.run.stop();
  return sections.join('\n').trimEnd();
}

/** A service of its own with one task. */
async function start(node: Node, name: string, command: readonly string[]): Promise<Container> {
  await node.cli('service', 'create', '--name', name, '--network', NETWORK);
  return node.run(name, command);
}

async function startHaproxy(
  { processes, stage }: Traffic,
  name: string,
  { netns, address }: { readonly netns: string; readonly address: string },
  endpoint: Container,
) {
  const words = stage.haproxyWords(`haproxy-${name}`, `${address}:${PORT}`, `${endpoint.address}:${PORT}`);
  const [program = '', ...rest] = [...inNamespace(netns), 'haproxy', ...words];
  return { address, process: processes.start('haproxy', program, rest) };
}

async function untilAllAnswer({ netns }: Container, contenders: readonly RateContender[]): Promise<void> {
  const asker = new Asker(netns);
  try {
    for (const { address = '', port } of contenders) await asker.untilAnswered(address, port);
  } finally {
    asker.close();
  }
}
