// What it takes to attach one container more (`vipmesh attach`), when there are few and when there are many, and what memory each
// one takes. The containers are empty network namespaces, made beforehand, so that only what the agent does is measured.
import { setTimeout as pause } from 'node:timers/promises';
import { attached } from '../../src/api/requests.ts';
import { apiPath } from '../../src/api/client.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { kernelSlabBytes, type Processes } from '../processes.ts';
import { type Measure, table } from '../report.ts';
import { median, type Samples } from '../samples.ts';
import type { Labs, Node } from './lab.ts';

export interface Attaching {
  readonly labs: Labs;
  readonly processes: Processes;
  /** Each with an agent of its own, because memory that was needed once is not given back. */
  readonly rounds: number;
  /** Attached and detached again, in each round with few and with many. */
  readonly samples: number;
  say(text: string): void;
}

const FEW = 1;
const MANY = 200;
const NETWORK = 'guests';
const SERVICE = 'guest';
/** Room for many, and for what is attached and detached meanwhile: an address is not given out again at once. */
const SUBNET = '10.200.0.0/20';
/** By the command, which takes its own start besides. */
const COMMANDS = 5;
/** What the kernel told of the last change has been looked at by then. */
const SETTLE_MS = 1000;
const COLUMNS = { [FEW]: `${FEW} present`, [MANY]: `${MANY} present` } as const;

/** Milliseconds, medians of one round. */
interface Cost {
  readonly attach: number;
  readonly detach: number;
  readonly command: number;
  /** Of the agent, for both; milliseconds. */
  readonly cpu: number;
}

interface Round {
  readonly few: Cost;
  readonly many: Cost;
  /** More for each container, bytes. */
  readonly rss: number;
  readonly kernel: number;
}

/** The section of the results, as Markdown. There is no lab before and after. */
export async function measureAttaching(attaching: Attaching): Promise<string> {
  attaching.say('attaching containers ');
  const rounds: Round[] = [];
  for (let round = 0; round < attaching.rounds; round++) {
    attaching.say('.');
    const [node] = await attaching.labs.up(attaching.processes, 1);
    if (node !== undefined) rounds.push(await measureRound(attaching, node));
    await attaching.labs.down();
  }
  attaching.say('\n');
  const each = (value: (cost: Cost) => number): Samples =>
    new Map([
      [COLUMNS[FEW], rounds.map(({ few }) => value(few))],
      [COLUMNS[MANY], rounds.map(({ many }) => value(many))],
    ]);
  const once = (value: (round: Round) => number): Samples => new Map([[COLUMNS[MANY], rounds.map(value)]]);
  const measures: readonly Measure[] = [
    { title: 'attach, from the request to the answer, ms', samples: each(({ attach }) => attach), digits: 1 },
    { title: 'detach, ms', samples: each(({ detach }) => detach), digits: 1 },
    { title: '– CPU of the agent for both, ms', samples: each(({ cpu }) => cpu), digits: 1 },
    { title: '`vipmesh attach`, with its own start, ms', samples: each(({ command }) => command), digits: 0 },
    {
      title: `the ${MANY + 1}st beside the ${FEW + 1}nd, times`,
      samples: once(({ few, many }) => many.attach / few.attach),
      digits: 2,
      goal: { kind: 'most', value: 1.5 },
    },
    { title: 'resident memory of the agent for each, KiB', samples: once(({ rss }) => rss / 1024), digits: 1 },
    { title: 'kernel memory for each, KiB', samples: once(({ kernel }) => kernel / 1024), digits: 1 },
  ];
  return [
    `## ${MANY} containers`,
    '',
    table([COLUMNS[FEW], COLUMNS[MANY]], measures, COLUMNS[MANY]),
    '',
    `Medians of ${attaching.rounds} agents, each with the median of ${attaching.samples} containers attached and detached again.`,
  ].join('\n');
}

async function measureRound({ samples }: Attaching, node: Node): Promise<Round> {
  const kernel = new LinuxKernel();
  try {
    const names = Array.from({ length: MANY + 1 }, (_, index) => `guest-${index}`);
    for (const name of names) await kernel.ensureNamespace(name);
    await node.cli('network', 'create', '--attachable', '--subnet', SUBNET, NETWORK);
    await node.cli('service', 'create', '--name', SERVICE, '--network', NETWORK);
    const [spare = '', ...guests] = names;
    for (const name of guests.slice(0, FEW)) await attach(node, name);
    const few = await costOf(node, spare, samples);
    const before = await memoryOf(node);
    for (const name of guests.slice(FEW)) await attach(node, name);
    const after = await memoryOf(node);
    const many = await costOf(node, spare, samples);
    const more = MANY - FEW;
    return { few, many, rss: (after.rss - before.rss) / more, kernel: (after.kernel - before.kernel) / more };
  } finally {
    for (const name of kernel.listNamespaces('guest-')) kernel.deleteNamespace(name);
    kernel.close();
  }
}

/** One container, attached and detached again and again. */
async function costOf(node: Node, name: string, samples: number): Promise<Cost> {
  const times = { attach: [] as number[], detach: [] as number[], command: [] as number[] };
  const cpuBefore = node.usage.cpuSeconds();
  for (let sample = 0; sample < samples; sample++) {
    const begun = performance.now();
    const id = await attach(node, name);
    const done = performance.now();
    await detach(node, id);
    times.attach.push(done - begun);
    times.detach.push(performance.now() - done);
  }
  await pause(SETTLE_MS);
  const cpu = ((node.usage.cpuSeconds() - cpuBefore) * 1000) / samples;
  for (let sample = 0; sample < COMMANDS; sample++) {
    const begun = performance.now();
    const id = await node.start(['attach', '--netns', pathOf(name), '--service', SERVICE]).done();
    times.command.push(performance.now() - begun);
    await detach(node, id.trim());
  }
  return { attach: median(times.attach), detach: median(times.detach), command: median(times.command), cpu };
}

async function memoryOf(node: Node): Promise<{ readonly rss: number; readonly kernel: number }> {
  await pause(SETTLE_MS);
  return { rss: node.usage.rssBytes(), kernel: kernelSlabBytes() };
}

async function attach({ client }: Node, name: string): Promise<string> {
  return attached.parse(await client.post('/vipmesh/attachments', { Service: SERVICE, Netns: pathOf(name) })).ID;
}

async function detach({ client }: Node, id: string): Promise<void> {
  await client.delete(apiPath`/vipmesh/attachments/${id}`);
}

function pathOf(name: string): string {
  return `/run/netns/${name}`;
}
