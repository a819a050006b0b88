// Names that the servers know, asked for as fast as they answer.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { DNSMASQ, UNBOUND } from '../contenders.ts';
import type { Processes, Usage } from '../processes.ts';
import type { Goal, Measure } from '../report.ts';
import { alternate, pick } from '../samples.ts';
import type { Flood, Flooded } from './flood.ts';

interface Bench {
  readonly processes: Processes;
  readonly extent: { readonly rounds: number; readonly seconds: number };
  say(text: string): void;
}

/** A server, and how to reach it. */
export interface Flooding {
  readonly name: string;
  readonly port: number;
  /** Absent: 127.0.0.1. */
  readonly address?: string;
  /** Words before the program that asks, such as `nsenter --net=PATH`. */
  readonly through?: readonly string[];
  readonly process: (Usage & { readonly pid: number }) | undefined;
}

/** As many as `dnsperf -c 8 -q 200` has. */
const SOCKETS = 8;
const UNDER_WAY = 25;
const WARM_UP_SECONDS = 1;
const SERVER_CPU = '0';
const CLIENT_CPU = '1';

/** What they are called in all tables, and which part of the better peer's rate is wanted. */
export const LOCAL_NAMES = ['names of the mesh, as many as it answers, questions/s', 1.5] as const;

export interface FloodOptions {
  /** Whom vipmesh is held against. */
  readonly peers?: readonly string[];
  readonly isEcho?: boolean;
  /** Whoever asks takes together what comes together. */
  readonly coalesces?: boolean;
  /** For CPU time. */
  readonly cpuGoal?: Goal;
}

/** Each server has a CPU for itself while it is asked, and whoever asks has another. */
export async function measureFlood(
  { processes, extent, say }: Bench,
  title: string,
  atLeast: number,
  contenders: readonly Flooding[],
  file: string,
  { peers = [DNSMASQ, UNBOUND], isEcho = false, coalesces = false, cpuGoal }: FloodOptions = {},
): Promise<readonly Measure[]> {
  say(`${title} …\n`);
  const apart = availableParallelism() > 1;
  if (apart) for (const one of contenders) pin(one);
  const ask = async (one: Flooding, seconds: number) => {
    const { address = '127.0.0.1', port, through = [] } = one;
    const flood: Flood = { address, port, file, sockets: SOCKETS, underWay: UNDER_WAY, seconds, isEcho, coalesces };
    const script = fileURLToPath(new URL('./flood.js', import.meta.url));
    const words = [...through, process.execPath, script, JSON.stringify(flood)];
    const [command = '', ...rest] = apart ? ['taskset', '-c', CLIENT_CPU, ...words] : words;
    const before = one.process?.cpuSeconds() ?? Number.NaN;
    const flooded = JSON.parse(await processes.run('flood', command, rest)) as Flooded;
    const cpu = (one.process?.cpuSeconds() ?? Number.NaN) - before;
    return { ...flooded, cpuMicroseconds: (cpu * 1e6) / (flooded.rate * seconds), share: cpu / seconds };
  };
  for (const one of contenders) await ask(one, WARM_UP_SECONDS);
  const results = await alternate(contenders, extent.rounds, (one) => ask(one, extent.seconds));
  const failures = pick(results, ({ lost, wrong }) => lost + wrong);
  const any = [...failures.values()].some((values) => values.some((value) => value > 0));
  return [
    {
      title,
      samples: pick(results, ({ rate }) => rate),
      digits: 0,
      goal: { kind: 'ratio', of: peers, atLeast },
    },
    {
      title: `– CPU µs per ${isEcho ? 'datagram there and back' : 'question'}`,
      samples: pick(results, (one) => one.cpuMicroseconds),
      digits: 2,
      ...(cpuGoal && { goal: cpuGoal }),
    },
    { title: '– CPUs in use, of one', samples: pick(results, ({ share }) => share), digits: 2 },
    ...(any ? [{ title: '– lost, or answered wrong', samples: failures, digits: 0 }] : []),
  ];
}

/** All threads of a process to one CPU. */
function pin({ process: running }: Flooding): void {
  if (running === undefined) return;
  execFileSync('taskset', ['-a', '-p', '-c', SERVER_CPU, String(running.pid)], { stdio: 'ignore' });
}
