// How long it takes from `vipmesh run` until its command answers under the service's VIP, and where that time goes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Stage } from '../contenders.ts';
import { BenchError, type Processes } from '../processes.ts';
import { type Measure, table } from '../report.ts';
import { alternate } from '../samples.ts';
import { Asker } from './asking.ts';
import { inNamespace, type Node } from './lab.ts';

export interface Starts {
  readonly processes: Processes;
  readonly stage: Stage;
  readonly rounds: number;
  say(text: string): void;
}

const NETWORK = 'starts';
const SERVICE = 'timed';
const CLIENTS = 'clients';
const PORT = 80;
const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url));

interface Timed {
  readonly name: string;
  /** Milliseconds. */
  measure(): Promise<number>;
}

/** The section of the results, as Markdown. The nodes are on no network before and after. */
export async function measureStarts(starts: Starts, nodes: readonly [Node, Node]): Promise<string> {
  const [here, there] = nodes;
  const { processes, stage, rounds, say } = starts;
  say('from `vipmesh run` to the first answer …\n');
  await here.cli('network', 'create', NETWORK);
  for (const name of [SERVICE, CLIENTS]) await here.cli('service', 'create', '--name', name, '--network', NETWORK);
  const [near, far] = [await here.run(CLIENTS, ['sleep', 'infinity']), await there.run(CLIENTS, ['sleep', 'infinity'])];
  const [nearby, away] = [new Asker(near.netns), new Asker(far.netns)];
  const vip = await here.vipOf(SERVICE, NETWORK);
  const server = ['nginx', ...stage.backendWords(SERVICE, `${PORT}`)];

  const throughVip = async (asker: Asker): Promise<number> => {
    await Promise.all([nearby.untilRefused(vip, PORT), away.untilRefused(vip, PORT)]);
    const begun = performance.now();
    const run = here.start(['run', '--service', SERVICE, '--', ...server]);
    const answered = await Promise.race([asker.untilAnswered(vip, PORT), failed(run.done())]);
    await run.stop();
    return answered - begun;
  };
  const alone = async (): Promise<number> => {
    const [program = '', ...words] = [...inNamespace(near.netns), ...server];
    const begun = performance.now();
    const run = processes.start('alone', program, words);
    const answered = await Promise.race([nearby.untilAnswered(near.address, PORT), failed(run.done())]);
    await run.stop();
    return answered - begun;
  };
  const timed: readonly Timed[] = [
    { name: 'to a client on the same node', measure: () => throughVip(nearby) },
    { name: 'to a client on another node', measure: () => throughVip(away) },
    { name: '– of it the agent, until the container is ready', measure: () => preparing(here) },
    { name: '– of it the command: nginx in a namespace that is there', measure: alone },
    { name: '– of it Node.js: `node -e 0`', measure: () => ending(['-e', '0']) },
    { name: 'for comparison `vipmesh --version`', measure: () => ending([PROGRAM, '--version']) },
  ];
  const results = await alternate(timed, rounds, ({ measure }) => measure());
  for (const asker of [nearby, away]) asker.close();
  await Promise.all([near.run.stop(), far.run.stop()]);
  const measures = timed.map(
    ({ name }): Measure => ({ title: name, samples: new Map([['ms', results.get(name) ?? []]]), digits: 0 }),
  );
  return ['## From `vipmesh run` to the first answer', '', table(['ms'], measures, 'ms')].join('\n');
}

/** What `vipmesh run` asks the agent for, and does not use. */
async function preparing({ client }: Node): Promise<number> {
  const begun = performance.now();
  const { events, close } = await client.runTask({ Service: SERVICE });
  for await (const event of events) {
    if (event.Event !== 'prepared') continue;
    const took = performance.now() - begun;
    close();
    return took;
  }
  throw new BenchError(`no container was made for ${SERVICE}`);
}

async function ending(words: readonly string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, words, { stdio: 'ignore', detached: true });
  await once(child, 'exit');
  return performance.now() - begun;
}

/** Rejects when a server ends instead of answering. */
async function failed(done: Promise<string>): Promise<never> {
  throw new BenchError(`it ended before it answered:\n${await done}`);
}
