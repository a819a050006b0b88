// `npm run bench:dns`: the resolver as a forwarder, beside dnsmasq and unbound. `-- --quick`: printed only. See README.md.
import { writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { bindUdp } from '../src/native/datagram-socket.ts';
import { close } from '../src/native/libc.ts';
import { localAddress } from '../src/native/stream-socket.ts';
import { type Contender, DNSMASQ, OURS, Stage, UNBOUND } from './contenders.ts';
import { type ControlPlaneExtent, measureControlPlane } from './control-plane.ts';
import { LOCAL_NAMES, measureFlood } from './dns/flooding.ts';
import type { PacedAnswers, PacedQuestions } from './dns/paced-questions.ts';
import { DnsServers, LOCAL_NAME } from './dns/servers.ts';
import { measureTruth } from './dns/truth.ts';
import { type Frame, runBench } from './frame.ts';
import { installPeers, type Peer, peerVersions } from './install.ts';
import { describeMachine } from './machine.ts';
import { BenchError, type Processes } from './processes.ts';
import { type Measure, table } from './report.ts';
import { alternate, pick, type Samples } from './samples.ts';

interface Extent {
  readonly rounds: number;
  readonly seconds: number;
}

const FULL: Extent = { rounds: 5, seconds: 4 };
const QUICK: Extent = { rounds: 3, seconds: 1 };
const PEERS: readonly Peer[] = ['dnsmasq-base', 'unbound', 'dnsperf'];
const WARM_UP_SECONDS = 1;
/** Questions a second while latency is measured: little beside what the resolver can do. */
const PACED_RATE = 5_000;
/** Questions to an upstream that never answers, under way at any time. */
const PENDING = 1_000;
/** What many names cost, and what one change among them: 1 ms. */
const MANY = { sizes: [10, 1000, 10_000], endpoints: 3, effectMs: 1 } as const;
const MANY_NAMES: Readonly<Record<'full' | 'quick', ControlPlaneExtent>> = {
  full: { starts: 3, changes: 300, ...MANY },
  quick: { starts: 1, changes: 50, ...MANY },
};
/** While services come, go and change. */
const QUESTIONS = 2_000_000;
const QUICK_QUESTIONS = 200_000;
const UDP = ['-c', '8', '-q', '200'];
/** That a contender may have; these rows need few. */
const CONNECTIONS = 200;
const CACHED = 'names from outside that are kept';
const IDLE = 'idle';
const BLACK_HOLE = 'upstream silent';
/** Until the number that is to be waiting is, and nothing of the round before. */
const FILL_MS = 4_500;
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/DNS.md', import.meta.url));

interface Rate {
  readonly rate: number;
  readonly lost: number;
  readonly cpuMicroseconds: number;
}

/** `dnsperf` with two threads: with one it is busier than the servers. */
async function dnsperf(
  processes: Processes,
  subject: Contender,
  queryFile: string,
  seconds: number,
  how: readonly string[],
): Promise<Rate> {
  const before = subject.process?.cpuSeconds() ?? Number.NaN;
  const output = await processes.run('dnsperf', 'dnsperf', [
    ...['-s', '127.0.0.1', '-p', `${subject.port}`, '-d', queryFile, '-l', `${seconds}`, '-T', '2', ...how],
  ]);
  const cpu = (subject.process?.cpuSeconds() ?? Number.NaN) - before;
  const read = (pattern: RegExp): number => {
    const found = pattern.exec(output)?.[1];
    if (found === undefined) throw new BenchError(`${pattern} is not in this output:\n${output}`);
    return Number(found);
  };
  const completed = read(/Queries completed:\s+(\d+)/);
  const good = Number(/NOERROR (\d+)/.exec(output)?.[1] ?? 0);
  const lost = read(/Queries lost:\s+(\d+)/) + completed - good;
  return { rate: read(/Queries per second:\s+([\d.]+)/), lost, cpuMicroseconds: (cpu * 1e6) / completed };
}

async function rates(
  { processes, say }: Frame,
  extent: Extent,
  title: string,
  contenders: readonly Contender[],
  queryFile: string,
  how: readonly string[],
  goal?: NonNullable<Measure['goal']>,
): Promise<readonly Measure[]> {
  say(`${title} …\n`);
  for (const one of contenders) await dnsperf(processes, one, queryFile, WARM_UP_SECONDS, how);
  const measure = (one: Contender) => dnsperf(processes, one, queryFile, extent.seconds, how);
  const results = await alternate(contenders, extent.rounds, measure);
  const lost = pick(results, (one) => one.lost);
  const any = [...lost.values()].some((values) => values.some((value) => value > 0));
  return [
    { title, samples: pick(results, ({ rate }) => rate), digits: 0, ...(goal === undefined ? {} : { goal }) },
    { title: '– CPU µs per question', samples: pick(results, (one) => one.cpuMicroseconds), digits: 2 },
    ...(any ? [{ title: '– lost, or answered wrong', samples: lost, digits: 0 }] : []),
  ];
}

/** Local names while nothing else happens, and while an upstream owes a thousand answers. */
async function latency({ processes, say }: Frame, extent: Extent, servers: DnsServers): Promise<readonly Measure[]> {
  say('local names while the upstream is silent …\n');
  // Nobody reads what comes in there: a reader would be one process more that is woken for every question.
  const silent = bindUdp('127.0.0.1', 0);
  const ours = await servers.ours(localAddress(silent).port);
  const script = fileURLToPath(new URL('./dns/paced-questions.js', import.meta.url));
  const hopeless = fileURLToPath(new URL('./dns/hopeless-questions.js', import.meta.url));
  const options: PacedQuestions = { port: ours.port, name: LOCAL_NAME, rate: PACED_RATE, seconds: extent.seconds };
  const ask = async (port: number): Promise<PacedAnswers> => {
    // Others ask for these: a client that did so itself would be later with what is measured.
    const others = processes.start('others', process.execPath, [hopeless, `${port}`, `${PENDING}`]);
    await pause(FILL_MS);
    const answers = await processes.run('paced-questions', process.execPath, [script, JSON.stringify(options)]);
    await others.stop();
    return JSON.parse(answers);
  };
  // When nothing is to happen, they ask somebody else as often: what they take of two CPUs is not the resolver's doing.
  const cases = [
    { name: IDLE, port: localAddress(silent).port },
    { name: BLACK_HOLE, port: ours.port },
  ];
  await ask(localAddress(silent).port);
  const results = await alternate(cases, latencyRounds(extent), ({ port }) => ask(port));
  await ours.process?.stop();
  close(silent);
  const p99 = pick(results, (one) => one.p99);
  return [
    { title: 'p50, µs', samples: pick(results, (one) => one.p50), digits: 0 },
    { title: 'p99, µs', samples: p99, digits: 0 },
    { title: '– questions without an answer', samples: pick(results, (one) => one.sent - one.answered), digits: 0 },
    {
      title: 'p99 of that of idle, round by round',
      samples: ratios(p99),
      digits: 2,
      goal: { kind: 'most', value: 1.2, column: BLACK_HOLE },
    },
  ];
}

/** What one pause of the machine makes late is the p99 of a round, so it differs more from round to round than rates do. */
function latencyRounds({ rounds }: Extent): number {
  return 2 * rounds + 1;
}

function ratios(p99: Samples): Samples {
  const [idle, busy] = [p99.get(IDLE) ?? [], p99.get(BLACK_HOLE) ?? []];
  return new Map([[BLACK_HOLE, busy.map((value, round) => value / (idle[round] ?? Number.NaN))]]);
}

/** By our own load generator, and by the one that everybody knows. */
async function localNames(frame: Frame, extent: Extent): Promise<readonly Measure[]> {
  const { processes, directory } = frame;
  const stage = new Stage(processes, directory, CONNECTIONS);
  const contenders = [await stage.oursNames(), await stage.dnsmasq(), await stage.unbound()];
  const file = stage.queryFile();
  const byDnsperf = await rates(frame, extent, 'names of the mesh, by dnsperf, questions/s', contenders, file, UDP);
  const flooded = await measureFlood({ ...frame, extent }, ...LOCAL_NAMES, contenders, file);
  await Promise.all(contenders.map((one) => one.process?.stop()));
  return [...flooded, ...byDnsperf];
}

async function run(frame: Frame): Promise<void> {
  const startedAt = performance.now();
  const { quick, processes, directory, say } = frame;
  installPeers(PEERS, say);
  const extent = quick ? QUICK : FULL;
  const local = await localNames(frame, extent);
  const servers = new DnsServers(processes, directory);
  const upstream = await servers.outside();
  const [ours, dnsmasq, unbound] = [
    await servers.ours(upstream),
    await servers.dnsmasq(upstream),
    await servers.unbound(upstream),
  ];
  const file = servers.queryFile();
  const byDnsperf = await rates(
    frame,
    extent,
    `${CACHED}, by dnsperf, questions/s`,
    [ours, dnsmasq, unbound],
    file,
    UDP,
  );
  const tcp = ['-m', 'tcp', '-c', '8', '-q', '80', '-O', 'num-queries-per-conn=20'];
  const overTcp = await rates(
    frame,
    extent,
    `${CACHED}, over TCP, 20 on a connection, questions/s`,
    [ours, unbound],
    file,
    tcp,
    {
      kind: 'ratio',
      of: [UNBOUND],
      atLeast: 1,
    },
  );
  const title = `${CACHED}, as many as it answers, questions/s`;
  const flooded = await measureFlood({ ...frame, extent }, title, 1.3, [ours, dnsmasq, unbound], file);
  await Promise.all([ours, dnsmasq, unbound].map((one) => one.process?.stop()));
  const waiting = await latency(frame, extent, servers);
  const truth = await measureTruth(frame, quick ? QUICK_QUESTIONS : QUESTIONS);
  const many = await measureControlPlane(processes, directory, MANY_NAMES[quick ? 'quick' : 'full'], say);
  const text = [
    '# Results of `npm run bench:dns`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${Math.round((performance.now() - startedAt) / 1000)} s in all. Medians of ${extent.rounds} rounds of ${extent.seconds} s (least–most); CPU time is that of the server, of all its threads.`,
    'How it is measured: README.md.',
    '',
    ...describeMachine().map((line) => `- ${line}`),
    `- ${peerVersions(PEERS).join(', ')}`,
    '',
    table([OURS, DNSMASQ, UNBOUND], [...local, ...flooded, ...byDnsperf, ...overTcp], OURS),
    '',
    `Local names over UDP, ${PACED_RATE.toLocaleString('en-US')} questions a second, while ${PENDING.toLocaleString('en-US')} others wait for an upstream that never answers, in ${latencyRounds(extent)} rounds:`,
    '',
    table([IDLE, BLACK_HOLE], waiting, BLACK_HOLE),
    '',
    many,
    '',
    truth,
  ].join('\n');
  say(`\n${text}`);
  if (!quick) writeFileSync(RESULTS, text);
}

await runBench(run);
