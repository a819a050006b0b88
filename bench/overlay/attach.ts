// What it takes to attach one container more (`vipmesh attach`), when there are few and when there are many, and what memory each
// one takes. The containers are empty network namespaces, made beforehand, so that only what the agent does is measured.
import { setTimeout as pause } from 'node:timers/promises';
import { kernelSlabBytes, type Processes } from '../processes.ts';
import { type Measure, table } from '../report.ts';
import { median, type Samples } from '../samples.ts';
import { attachGuest, detachGuest, GUEST_SERVICE, guestPath, withGuests } from './guests.ts';
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

function measureRound({ samples }: Attaching, node: Node): Promise<Round> {
  return withGuests(node, MANY + 1, async ([spare = '', ...guests]) => {
    for (const name of guests.slice(0, FEW)) await attachGuest(node, name);
    const few = await costOf(node, spare, samples);
    const before = await memoryOf(node);
    for (const name of guests.slice(FEW)) await attachGuest(node, name);
    const after = await memoryOf(node);
    const many = await costOf(node, spare, samples);
    const more = MANY - FEW;
    return { few, many, rss: (after.rss - before.rss) / more, kernel: (after.kernel - before.kernel) / more };
  });
}

/** One container, attached and detached again and again. */
async function costOf(node: Node, name: string, samples: number): Promise<Cost> {
  const times = { attach: [] as number[], detach: [] as number[], command: [] as number[] };
  const cpuBefore = node.usage.cpuSeconds();
  for (let sample = 0; sample < samples; sample++) {
    const begun = performance.now();
    const id = await attachGuest(node, name);
    const done = performance.now();
    await detachGuest(node, id);
    times.attach.push(done - begun);
    times.detach.push(performance.now() - done);
  }
  await pause(SETTLE_MS);
  const cpu = ((node.usage.cpuSeconds() - cpuBefore) * 1000) / samples;
  for (let sample = 0; sample < COMMANDS; sample++) {
    const begun = performance.now();
    const id = await node.start(['attach', '--netns', guestPath(name), '--service', GUEST_SERVICE]).done();
    times.command.push(performance.now() - begun);
    await detachGuest(node, id.trim());
  }
  return { attach: median(times.attach), detach: median(times.detach), command: median(times.command), cpu };
}

async function memoryOf(node: Node): Promise<{ readonly rss: number; readonly kernel: number }> {
  await pause(SETTLE_MS);
  return { rss: node.usage.rssBytes(), kernel: kernelSlabBytes() };
}
