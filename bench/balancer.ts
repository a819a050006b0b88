// `npm run bench:balancer`: the balancer beside HAProxy and nginx stream, in about twelve minutes. `-- --quick`: one, printed only.
// See README.md.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { descriptorLimit } from '../src/native/rlimit.ts';
import { measureStalled } from './balancer/stalled.ts';
import { type Contender, HAPROXY, MEBIBYTE, NGINX, OURS, SIXTEEN, SMALL, Stage } from './contenders.ts';
import { type FloodOptions, measureFlood } from './dns/flooding.ts';
import { type Frame, runBench } from './frame.ts';
import { installPeers, type Peer, peerVersions } from './install.ts';
import { describeMachine } from './machine.ts';
import { type Bench, type Extent, measureLatency, measureMemory, measureRates, type WrkCase } from './measures.ts';
import { freePort, type Processes } from './processes.ts';
import { type Goal, type Measure, table } from './report.ts';
import { median } from './samples.ts';

const FULL: Extent = { rounds: 5, seconds: 4, idleRounds: 3, idleConnections: 9_000 };
const QUICK: Extent = { rounds: 1, seconds: 1, idleRounds: 1, idleConnections: 1_000 };
const PEERS: readonly Peer[] = ['wrk', 'haproxy', 'nginx-light', 'libnginx-mod-stream'];
const BOTH = [HAPROXY, NGINX] as const;
const CPU: Goal = { kind: 'least', of: BOTH, atMost: 1 };
const KEEP_ALIVE: WrkCase = {
  title: 'keep-alive, requests/s',
  path: SMALL,
  connections: 64,
  atLeast: 1.05,
  cpuGoal: CPU,
};
const CONNECTIONS: WrkCase = {
  title: 'a connection per request, requests/s',
  path: SMALL,
  connections: 64,
  close: true,
  atLeast: 1,
  cpuGoal: CPU,
};
const CASES: readonly WrkCase[] = [
  KEEP_ALIVE,
  CONNECTIONS,
  { title: 'bodies of 16 KiB, bodies/s', path: SIXTEEN, connections: 64, atLeast: 1.05, cpuGoal: CPU },
  { title: 'bodies of 1 MiB, bodies/s', path: MEBIBYTE, connections: 16, atLeast: 1.3, cpuGoal: CPU },
];
const MANY = [1, 100, 1000];
const ENDPOINTS = 10;
/** How much dearer a connection may be beside a thousand services than beside none. */
const FLAT = 1.1;
const ECHOES = 'datagrams there and back through a UDP port, packets/s';
const COALESCED_ECHOES = 'the same between ends that coalesce, packets/s';
const ECHO: FloodOptions = { peers: [NGINX], isEcho: true, cpuGoal: { kind: 'least', of: [NGINX], atMost: 1 } };
const SPARE_DESCRIPTORS = 500;
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/BALANCER.md', import.meta.url));

async function run({ quick, processes, directory, say }: Frame): Promise<void> {
  const startedAt = performance.now();
  installPeers(PEERS, say);
  const wanted = quick ? QUICK : FULL;
  const most = Math.floor((descriptorLimit() - SPARE_DESCRIPTORS) / 2);
  const extent = { ...wanted, idleConnections: Math.min(wanted.idleConnections, most) };
  const bench: Bench = { processes, extent, say };
  const stage = new Stage(processes, directory, Math.max(extent.idleConnections + 400, 2_000));
  const backend = await stage.backend('*');
  const echo = await startEcho(processes);
  const coalescingEcho = await startEcho(processes, 'coalesce');

  const rates = await measureThreads(bench, stage, { backend: backend.port, echo, threads: 1 });
  const coalesced = await measureEchoes(bench, stage, backend.port, coalescingEcho);
  const memory = await measureMemories(bench, stage, backend, echo);
  const twice = await measureThreads(bench, stage, { backend: backend.port, echo, threads: 2 });
  const many = await measureMany(bench, stage, backend.port);
  const text = report(extent, (performance.now() - startedAt) / 1000, [
    ['One worker, one thread each', table([OURS, ...BOTH], [...rates, ...coalesced, ...memory], OURS)],
    ['Two workers, two threads each', table([OURS, ...BOTH], twice, OURS)],
    [
      `Services of ${ENDPOINTS} endpoints, one worker`,
      table(
        MANY.map((services) => `${services} services`),
        many,
        '',
      ),
    ],
  ]);
  say(`\n${text}`);
  if (!quick) writeFileSync(RESULTS, text);
}

interface Between {
  readonly backend: number;
  readonly echo: number;
  /** Of each proxy. With more than one, only what depends on that is measured. */
  readonly threads: number;
}

async function measureThreads(bench: Bench, stage: Stage, between: Between): Promise<readonly Measure[]> {
  const { backend, echo, threads } = between;
  const ours = await stage.ours(backend, echo, threads);
  const haproxy = await stage.haproxy(backend, threads);
  const nginx = await stage.nginx(backend, echo, threads);
  const proxies = [ours.tcp, haproxy, nginx.tcp];
  const ratio = ({ atLeast }: WrkCase): Goal => ({ kind: 'ratio', of: BOTH, atLeast });
  const measures = [...(await measureRates(bench, proxies, ratio, threads === 1 ? CASES : [KEEP_ALIVE, CONNECTIONS]))];
  if (threads === 1) {
    measures.push(...(await measureLatency(bench, proxies, measures, CPU)));
    await haproxy.process?.stop();
    // The names do not matter: what is asked comes back as it is.
    measures.push(...(await measureFlood(bench, ECHOES, 1.5, [ours.udp, nginx.udp], stage.queryFile(), ECHO)));
  }
  for (const { process } of proxies) await process?.stop();
  return measures;
}

/** As programs talk that let the kernel cut and join datagrams, such as those of QUIC. */
async function measureEchoes(bench: Bench, stage: Stage, backend: number, echo: number): Promise<readonly Measure[]> {
  const [ours, nginx] = [await stage.ours(backend, echo), await stage.nginx(backend, echo)];
  const options = { ...ECHO, coalesces: true };
  const both = [ours.udp, nginx.udp];
  const measures = await measureFlood(bench, COALESCED_ECHOES, 1.5, both, stage.queryFile(), options);
  for (const { process } of both) await process?.stop();
  return measures;
}

async function measureMemories(
  bench: Bench,
  stage: Stage,
  backend: Contender,
  echo: number,
): Promise<readonly Measure[]> {
  const start = [
    { name: OURS, start: async () => (await stage.ours(backend.port, echo)).tcp },
    { name: HAPROXY, start: () => stage.haproxy(backend.port) },
    { name: NGINX, start: async () => (await stage.nginx(backend.port, echo)).tcp },
  ];
  const idle = await measureMemory(bench, backend, start, { kind: 'least', of: [HAPROXY], atMost: 1 });
  return [...idle, ...(await measureStalled(bench, start))];
}

/** What a connection costs when the one service that is asked is the last of many. */
async function measureMany(bench: Bench, stage: Stage, backend: number): Promise<readonly Measure[]> {
  const agents: Contender[] = [];
  for (const services of MANY) {
    bench.say(`starting ${services} services …\n`);
    agents.push(await stage.oursMany(backend, { services, endpoints: ENDPOINTS }));
  }
  const [first, last] = [agents[0]?.name ?? '', agents.at(-1)?.name ?? ''];
  const all = await measureRates(bench, agents, () => ({ kind: 'most', value: 0 }), [CONNECTIONS, KEEP_ALIVE]);
  for (const { process } of agents) await process?.stop();
  return all.map(({ goal: _, ...measure }) => {
    if (!measure.title.includes('CPU')) return measure;
    const least = median(measure.samples.get(first) ?? []);
    const value = Math.round(least * FLAT * 100) / 100;
    return { ...measure, goal: { kind: 'most', value, column: last } };
  });
}

async function startEcho(processes: Processes, ...words: readonly string[]): Promise<number> {
  const port = await freePort();
  const script = fileURLToPath(new URL('./balancer/udp-echo.js', import.meta.url));
  const echo = processes.start('udp-echo', process.execPath, [script, `${port}`, ...words]);
  await echo.until(async () => echo.output().includes('listening'), 'listen');
  return port;
}

function report(extent: Extent, seconds: number, tables: readonly (readonly [string, string])[]): string {
  const cpu = 'CPU time is user and system time of the proxy, of all its threads and processes.';
  return [
    '# Results of `npm run bench:balancer`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${Math.round(seconds)} s in all. Medians of ${extent.rounds} rounds of ${extent.seconds} s (least–most); ${cpu}`,
    'How it is measured: README.md.',
    '',
    ...describeMachine().map((line) => `- ${line}`),
    `- ${peerVersions(PEERS).join(', ')}`,
    '',
    ...tables.flatMap(([title, one]) => [`## ${title}`, '', one, '']),
  ].join('\n');
}

await runBench(run);
