// The measurements, one after another; each compares its contenders in rounds.
import { type Contender, HAPROXY, MEBIBYTE, NGINX, SMALL, type Stage } from './contenders.ts';
import { measureIdle } from './idle.ts';
import { type LoadResult, runDnsperf, runPaced, runWrk } from './load.ts';
import type { Processes, Usage } from './processes.ts';
import type { Goal, Measure } from './report.ts';
import { alternate, median, pick } from './samples.ts';

/** How much is measured. */
export interface Extent {
  readonly rounds: number;
  /** Of each round and contender. */
  readonly seconds: number;
  readonly idleRounds: number;
  readonly idleConnections: number;
}

export interface Bench {
  readonly processes: Processes;
  readonly extent: Extent;
  say(text: string): void;
}

export type RateBench = Pick<Bench, 'processes' | 'say'> & { readonly extent: Pick<Extent, 'rounds' | 'seconds'> };

/** A contender of this machine's own network, or one that is reached through another namespace. */
export interface RateContender extends Pick<Contender, 'name' | 'port'> {
  /** 127.0.0.1 by default. */
  readonly address?: string;
  /** The words before the load generator. */
  readonly through?: readonly string[];
  readonly process: Usage | undefined;
}

const WARM_UP_SECONDS = 1;
const PEERS = [HAPROXY, NGINX] as const;

export interface WrkCase {
  readonly title: string;
  readonly path: string;
  readonly connections: number;
  readonly close?: boolean;
  /** Of the better peer. */
  readonly atLeast: number;
  /** For CPU time per request. */
  readonly cpuGoal?: Goal;
}

const WRK_CASES: readonly WrkCase[] = [
  { title: 'keep-alive, requests/s', path: SMALL, connections: 64, atLeast: 1.0 },
  { title: 'a connection per request, requests/s', path: SMALL, connections: 64, close: true, atLeast: 0.9 },
  { title: 'bodies of 1 MiB, bodies/s', path: MEBIBYTE, connections: 16, atLeast: 1.1 },
];

export async function measureHttp(bench: Bench, contenders: readonly Contender[]): Promise<readonly Measure[]> {
  const goal = ({ atLeast }: WrkCase): Goal => ({ kind: 'ratio', of: PEERS, atLeast });
  const measures = await measureRates(bench, contenders, goal);
  return [...measures, ...(await measureLatency(bench, contenders, measures))];
}

/** Requests by keep-alive, with a connection for each, and for large bodies. */
export async function measureRates(
  bench: RateBench,
  contenders: readonly RateContender[],
  goal: (one: WrkCase) => Goal,
  cases: readonly WrkCase[] = WRK_CASES,
): Promise<readonly Measure[]> {
  const measures: Measure[] = [];
  for (const one of cases) {
    bench.say(`${one.title} …\n`);
    for (const contender of contenders) await wrk(bench, contender, one, WARM_UP_SECONDS);
    const results = await alternate(contenders, bench.extent.rounds, (contender) =>
      wrk(bench, contender, one, bench.extent.seconds),
    );
    measures.push(...rateMeasures(one.title, 'request', results, goal(one), one.cpuGoal));
  }
  return measures;
}

/** At half of what the slower of the peers can do, so that all are asked the same, however fast we are. */
export async function measureLatency(
  bench: RateBench,
  contenders: readonly Contender[],
  measures: readonly Measure[],
  p99Goal?: Goal,
): Promise<readonly Measure[]> {
  const peaks = PEERS.map((name) => median(measures[0]?.samples.get(name) ?? []));
  const rate = Math.floor(Math.min(...peaks) / 2);
  bench.say(`latency at ${rate} requests/s …\n`);
  const results = await alternate(contenders, bench.extent.rounds, ({ port }) =>
    runPaced(bench.processes, { port, path: SMALL, rate, connections: 64, seconds: bench.extent.seconds }),
  );
  const load = `at ${rate.toLocaleString('en-US')} requests/s`;
  return [
    { title: `median latency ${load}, µs`, samples: pick(results, ({ p50 }) => p50), digits: 0 },
    {
      title: `p99 latency ${load}, µs`,
      samples: pick(results, ({ p99 }) => p99),
      digits: 0,
      ...(p99Goal && { goal: p99Goal }),
    },
    ...errorMeasure(pick(results, ({ errors }) => errors)),
  ];
}

/** Each proxy is started anew for every round, because memory that was needed once is not given back. */
export async function measureMemory(
  bench: Bench,
  direct: Contender,
  start: readonly { readonly name: string; readonly start: () => Promise<Contender> }[],
  goal: Goal = { kind: 'most', value: 1 },
): Promise<readonly Measure[]> {
  const { idleConnections: connections, idleRounds } = bench.extent;
  bench.say(`memory of ${connections} idle connections …\n`);
  const all = [{ name: direct.name, start: async () => direct }, ...start];
  const results = await alternate(all, idleRounds, async (one) => {
    const contender = await one.start();
    await wrk(bench, contender, { path: SMALL, connections: 64 }, WARM_UP_SECONDS);
    const result = await measureIdle(contender, connections);
    if (contender !== direct) await contender.process?.stop();
    return result;
  });
  const amount = connections.toLocaleString('en-US');
  return [
    { title: 'resident at rest, MiB', samples: pick(results, ({ restBytes }) => restBytes / 2 ** 20), digits: 1 },
    {
      title: `resident, more per connection with ${amount} idle, KiB`,
      samples: pick(results, ({ rssBytes }) => rssBytes / 1024),
      digits: 2,
      goal,
    },
    {
      title: 'kernel memory of all sockets on the way, per connection, KiB',
      samples: pick(results, ({ kernelBytes }) => kernelBytes / 1024),
      digits: 1,
    },
  ];
}

export async function measureDns(
  bench: Bench,
  title: string,
  contenders: readonly Contender[],
  stage: Stage,
): Promise<readonly Measure[]> {
  bench.say(`${title} …\n`);
  const queryFile = stage.queryFile();
  const measure = (contender: Contender, seconds: number): Promise<LoadResult> =>
    runDnsperf(bench.processes, contender.process, { port: contender.port, queryFile, seconds });
  for (const contender of contenders) await measure(contender, WARM_UP_SECONDS);
  const results = await alternate(contenders, bench.extent.rounds, (one) => measure(one, bench.extent.seconds));
  return rateMeasures(title, 'query (CPU seconds per million queries)', results, undefined);
}

function rateMeasures(
  title: string,
  unit: string,
  results: ReadonlyMap<string, readonly LoadResult[]>,
  goal: Measure['goal'],
  cpuGoal?: Goal,
): readonly Measure[] {
  return [
    { title, samples: pick(results, ({ rate }) => rate), digits: 0, ...(goal === undefined ? {} : { goal }) },
    {
      title: `– CPU µs per ${unit}`,
      samples: pick(results, ({ cpuMicroseconds }) => cpuMicroseconds),
      digits: 2,
      ...(cpuGoal && { goal: cpuGoal }),
    },
    ...errorMeasure(pick(results, ({ errors }) => errors)),
  ];
}

/** A row for errors only when there were any. */
function errorMeasure(samples: Measure['samples']): readonly Measure[] {
  const any = [...samples.values()].some((values) => values.some((value) => value > 0));
  return any ? [{ title: '– errors', samples, digits: 0 }] : [];
}

function wrk(
  bench: RateBench,
  contender: RateContender,
  one: Pick<WrkCase, 'path' | 'connections' | 'close'>,
  seconds: number,
): Promise<LoadResult> {
  const { address, through } = contender;
  return runWrk(bench.processes, contender.process, {
    ...(address === undefined ? {} : { address }),
    ...(through === undefined ? {} : { through }),
    port: contender.port,
    path: one.path,
    connections: one.connections,
    seconds,
    close: one.close ?? false,
  });
}
