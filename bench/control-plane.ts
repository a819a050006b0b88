// What many services cost the control plane: how soon an agent that is started serves them (scenario K5), what memory it takes,
// and how long one change takes until every worker has it.
import { createSocket } from 'node:dgram';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode, encode, RECURSION_DESIRED } from 'dns-packet';
import type { ChangeKind, ChangeResult } from './change-process.ts';
import { type Extent as Amount, prefill, serviceName, vipOf, WITH_PORT } from './prefill.ts';
import { BenchError, freePort, type Processes } from './processes.ts';
import { type Measure, table } from './report.ts';
import { quantile, type Samples } from './samples.ts';

export interface ControlPlaneExtent {
  /** Starts of the agent for each number of services. */
  readonly starts: number;
  /** Changes of each kind. */
  readonly changes: number;
  /** Services: a column for each. */
  readonly sizes: readonly number[];
  /** Of each service. */
  readonly endpoints: number;
  /** What a change may take until it is in effect, with the most services. */
  readonly effectMs: number;
}

/** Scenario K5. */
const GOALS = { startSeconds: 2, startServices: 1000 } as const;
const WORKERS = 2;
const ASK_EVERY_MS = 5;
const DEADLINE_MS = 60_000;

interface Start {
  /** Seconds from the start of the process. */
  readonly answerSeconds: number;
  readonly readySeconds: number;
  /** Of all threads, until it was ready: what the start would take on a machine that has nothing else to do. */
  readonly cpuSeconds: number;
  readonly bytes: number;
}

/** The section of the results, as Markdown. */
export async function measureControlPlane(
  processes: Processes,
  directory: string,
  extent: ControlPlaneExtent,
  say: (text: string) => void,
): Promise<string> {
  const starts = new Map<string, readonly Start[]>();
  const changes = new Map<string, ChangeResult>();
  for (const services of extent.sizes) {
    say(`control plane with ${services} services …\n`);
    const stateDir = join(directory, `state-${services}`);
    await prefill(join(stateDir, 'store'), { services, endpoints: extent.endpoints } satisfies Amount);
    const found: Start[] = [];
    for (let round = 0; round < extent.starts; round++)
      found.push(await startAgent(processes, directory, stateDir, services));
    starts.set(columnOf(services), found);
    changes.set(columnOf(services), await runChanges(processes, stateDir, extent.changes));
    rmSync(stateDir, { recursive: true });
  }
  const columns = extent.sizes.map(columnOf);
  return [
    '## Many services',
    '',
    `Services of ${extent.endpoints} endpoints on one \`local\` network, in the store before the agent starts; the first ${WITH_PORT.toLocaleString('en-US')} of them have a port, which takes a socket per worker. ${WORKERS} workers.`,
    '',
    table(columns, [...startMeasures(starts), ...changeMeasures(changes, extent)], columnOf(GOALS.startServices)),
  ].join('\n');
}

function columnOf(services: number): string {
  return `${services.toLocaleString('en-US')} services`;
}

/** From nothing but a state directory, which is left as it was. */
async function startAgent(processes: Processes, directory: string, stateDir: string, services: number): Promise<Start> {
  const [dnsPort, adminPort] = [await freePort(), await freePort()];
  const own = join(directory, 'started');
  cpSync(stateDir, own, { recursive: true });
  const last = services - 1;
  const startedAt = performance.now();
  const agent = processes.start('agent', process.execPath, [
    fileURLToPath(new URL('../src/main.js', import.meta.url)),
    'agent',
    ...['--state-dir', own, '--socket', join(directory, 'agent.sock'), '--dns', `127.0.0.11:${dnsPort}`],
    ...['--admin', `127.0.0.1:${adminPort}`, '--workers', String(WORKERS), '--log-format', 'json'],
  ]);
  const [answeredAt] = await Promise.all([
    untilAnswered(dnsPort, serviceName(last), vipOf(last)),
    agent.until(async () => isReady(agent.output()), 'get ready', DEADLINE_MS),
  ]);
  const readyAt = readyTime(agent.output());
  const [cpuSeconds, bytes] = [agent.cpuSeconds(), agent.rssBytes()];
  await agent.stop();
  rmSync(own, { recursive: true });
  return {
    answerSeconds: (answeredAt - startedAt) / 1000,
    readySeconds: (readyAt - performance.timeOrigin - startedAt) / 1000,
    cpuSeconds,
    bytes,
  };
}

function isReady(log: string): boolean {
  return log.includes('"message":"ready"');
}

/** When the log says that the agent was ready, in milliseconds since the epoch. */
function readyTime(log: string): number {
  for (const line of log.split('\n')) {
    if (!line.startsWith('{')) continue;
    const { time, message } = JSON.parse(line) as { readonly time: string | number; readonly message: string };
    if (message === 'ready') return new Date(time).getTime();
  }
  throw new BenchError(`the agent did not say that it was ready:\n${log}`);
}

/** Resolves with the time when the resolver gives that address for the name. Nobody listens for the first questions, and none is waited for. */
async function untilAnswered(port: number, name: string, address: string): Promise<number> {
  const socket = createSocket('udp4');
  const message = encode({
    type: 'query',
    id: 1,
    flags: RECURSION_DESIRED,
    questions: [{ name, type: 'A', class: 'IN' }],
  });
  socket.on('error', () => {});
  const ask = setInterval(() => socket.send(message, port, '127.0.0.11'), ASK_EVERY_MS);
  try {
    return await new Promise<number>((resolve, reject) => {
      const deadline = setTimeout(() => reject(new BenchError(`nobody says what ${name} is`)), DEADLINE_MS);
      socket.on('message', (bytes) => {
        if (!decode(bytes).answers?.some((answer) => answer.type === 'A' && answer.data === address)) return;
        clearTimeout(deadline);
        resolve(performance.now());
      });
    });
  } finally {
    clearInterval(ask);
    socket.close();
  }
}

async function runChanges(processes: Processes, stateDir: string, rounds: number): Promise<ChangeResult> {
  const script = fileURLToPath(new URL('./change-process.js', import.meta.url));
  const output = await processes.run('changes', process.execPath, [script, join(stateDir, 'store'), String(rounds)]);
  return JSON.parse(output) as ChangeResult;
}

function startMeasures(starts: ReadonlyMap<string, readonly Start[]>): readonly Measure[] {
  const of = (value: (start: Start) => number): Samples =>
    new Map([...starts].map(([column, list]) => [column, list.map(value)]));
  const goal = { kind: 'most', value: GOALS.startSeconds } as const;
  return [
    { title: 'start to the first right answer of DNS, s', samples: of((one) => one.answerSeconds), digits: 2, goal },
    { title: 'start to ready, s', samples: of((one) => one.readySeconds), digits: 2, goal },
    { title: '– CPU time of all threads, s', samples: of((one) => one.cpuSeconds), digits: 2 },
    { title: 'resident when ready, MiB', samples: of((one) => one.bytes / 2 ** 20), digits: 0 },
  ];
}

const CHANGE_TITLES: Readonly<Record<ChangeKind, string>> = {
  health: "a task's health",
  endpoint: 'an endpoint comes or goes',
  service: 'a new service with a port',
  removal: 'a service removed',
};

/** Of many changes the median and what 99 of 100 stay below are told, instead of the least and the most. */
function changeMeasures(
  changes: ReadonlyMap<string, ChangeResult>,
  { sizes, effectMs }: ControlPlaneExtent,
): readonly Measure[] {
  const of = (kind: ChangeKind, what: 'effect' | 'whole', share: number): Samples =>
    new Map([...changes].map(([column, result]) => [column, [quantile(Float64Array.from(result[kind][what]), share)]]));
  return (Object.keys(CHANGE_TITLES) as ChangeKind[]).flatMap((kind): Measure[] => [
    {
      title: `${CHANGE_TITLES[kind]}: from the commit to all workers, median ms`,
      samples: of(kind, 'effect', 0.5),
      digits: 2,
      goal: { kind: 'most', value: effectMs, column: columnOf(Math.max(...sizes)) },
    },
    { title: '– 99 of 100 within, ms', samples: of(kind, 'effect', 0.99), digits: 2 },
    { title: '– from the call, with the decision and the disk, median ms', samples: of(kind, 'whole', 0.5), digits: 2 },
  ]);
}
