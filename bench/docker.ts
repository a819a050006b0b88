// `npm run bench:docker`: beside a real Docker Engine, in namespaces of its own: a published port of docker-proxy's and one of the
// agent's to the same container, and the resolver of each in containers of one network. `-- --quick`: printed only. See README.md.
import { PEERS, requirePeers } from './docker/peers.ts';
import { mayBeNode } from '../test/netns/support/node.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Docker, makeDocker } from '../test/netns/support/docker-engine.ts';
import { type Flooding, measureFlood } from './dns/flooding.ts';
import { DIRECT, MEBIBYTE, OURS, SMALL, Stage } from './contenders.ts';
import { type Frame, runBench } from './frame.ts';
import { peerVersions } from './install.ts';
import { describeMachine } from './machine.ts';
import { measureRates, type RateBench, type RateContender, type WrkCase } from './measures.ts';
import { BenchError, type Processes, type Usage, usageOf } from './processes.ts';
import { type Goal, type Measure, table } from './report.ts';
import { alternate, pick } from './samples.ts';

const FULL = { rounds: 5, seconds: 4 } as const;
const QUICK = { rounds: 1, seconds: 1 } as const;
const CONNECTIONS = 1000;
const DOCKER = 'Docker';
const NETWORK = 'bench';
const PORTS = { docker: 8081, ours: 8082 } as const;
/** A connection that came between the start of the port and that of the server may be answered by nobody. */
const ANSWER_DEADLINE_MS = 1000;
const atLeast = (ratio: number): Goal => ({ kind: 'ratio', of: [DOCKER], atLeast: ratio });
const CPU: Goal = { kind: 'least', of: [DOCKER], atMost: 1 };
const CASES: readonly WrkCase[] = [
  { title: 'keep-alive, requests/s', path: SMALL, connections: 64, atLeast: 1.5, cpuGoal: CPU },
  {
    title: 'a connection per request, requests/s',
    path: SMALL,
    connections: 64,
    close: true,
    atLeast: 1.5,
    cpuGoal: CPU,
  },
  // docker-proxy splices too.
  { title: 'bodies of 1 MiB, bodies/s', path: MEBIBYTE, connections: 16, atLeast: 1.2, cpuGoal: CPU },
];
const PROGRAM = fileURLToPath(new URL('../src/main.js', import.meta.url));
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/DOCKER.md', import.meta.url));

let clean = () => {};

async function run({ quick, processes, directory, say }: Frame): Promise<void> {
  const startedAt = performance.now();
  requirePeers();
  let missing = '';
  const refuse = (message: string) => {
    missing = message;
  };
  if (!(await mayBeNode({ pass: refuse, fail: refuse }))) throw new BenchError(`there can be no node here: ${missing}`);
  const made = makeDocker();
  clean = made.clean;
  say('starting the Docker Engine …\n');
  const docker = await made.start();
  const bench: RateBench = { processes, extent: quick ? QUICK : FULL, say };
  const agent = startAgent(processes, directory, docker);
  await docker.run('network', 'create', NETWORK);
  const ports = await measurePorts(bench, docker, new Stage(processes, directory, CONNECTIONS), agent);
  const names = await measureNames(bench, docker, join(directory, 'names'), agent);
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const text = [
    '# Results of `npm run bench:docker`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${seconds} s in all. Medians (least–most) of ${bench.extent.rounds} rounds of ${bench.extent.seconds} s.`,
    '',
    ...describeMachine().map((line) => `- ${line}`),
    `- ${peerVersions(PEERS).join(', ')}, Docker Engine ${(await docker.run('version', '-f', '{{.Server.Version}}')).trim()}`,
    '',
    ...['## A published port', '', table([DIRECT, OURS, DOCKER], ports, OURS), ''],
    ...['## Names of containers, asked for in a container', '', table([OURS, DOCKER], names, OURS), ''],
  ].join('\n');
  say(`\n${text}`);
  if (!quick) writeFileSync(RESULTS, text);
}

function startAgent(processes: Processes, directory: string, docker: Docker): Usage & { readonly pid: number } {
  return processes.start('vipmesh', process.execPath, [
    ...[PROGRAM, 'agent', '--docker', docker.socket, '--workers', '1', '--admin', '127.0.0.1:7980'],
    ...['--state-dir', join(directory, 'state'), '--socket', join(directory, 'agent.sock'), '--log-format', 'json'],
  ]);
}

/** The same server in one container, by both ports. */
async function measurePorts(bench: RateBench, docker: Docker, stage: Stage, agent: Usage): Promise<readonly Measure[]> {
  await docker.start(
    ...['--name', 'web', '--network', NETWORK, '-p', `${PORTS.docker}:80`],
    ...['--label', 'vipmesh.service=web', '--label', `vipmesh.publish=${PORTS.ours}:80`, 'box'],
  );
  // The image has no server worth measuring: the machine's own runs in the container's namespace.
  const inside = [`--net=/proc/${await docker.pidOf('web')}/ns/net`, '--', 'nginx'];
  const nginx = bench.processes.start('nginx', 'nsenter', [...inside, ...stage.backendWords('web', '80')]);
  await nginx.until(() => answers(PORTS.docker), 'answer at the port of docker-proxy');
  await nginx.until(() => answers(PORTS.ours), "answer at the agent's port");
  const address = (
    await docker.run('inspect', '-f', `{{.NetworkSettings.Networks.${NETWORK}.IPAddress}}`, 'web')
  ).trim();
  const contenders: readonly RateContender[] = [
    { name: DIRECT, address, port: 80, process: undefined },
    { name: OURS, port: PORTS.ours, process: agent },
    // docker-proxy is a child of the engine, which does nothing else meanwhile.
    { name: DOCKER, port: PORTS.docker, process: usageOf(docker.pid()) },
  ];
  return measureRates(bench, contenders, (one) => atLeast(one.atLeast), CASES);
}

/** Questions in two containers of one network; the agent answers in one of them, Docker in the other. */
async function measureNames(
  bench: RateBench,
  docker: Docker,
  file: string,
  agent: Usage & { readonly pid: number },
): Promise<readonly Measure[]> {
  await docker.start('--name', 'asks-us', '--network', NETWORK, '--label', 'vipmesh.service=asks', 'box');
  await docker.start('--name', 'asks-docker', '--network', NETWORK, 'box');
  writeFileSync(file, 'web A\n');
  const engine = { pid: docker.pid(), ...usageOf(docker.pid()) };
  const contender = async (name: string, container: string, process: Flooding['process']) => ({
    ...{ name, process, address: '127.0.0.11', port: 53 },
    through: ['nsenter', `--net=/proc/${await docker.pidOf(container)}/ns/net`, '--'],
  });
  const contenders = [await contender(OURS, 'asks-us', agent), await contender(DOCKER, 'asks-docker', engine)];
  const ask = async ({ address, through, process }: (typeof contenders)[number], seconds: number) => {
    const before = process?.cpuSeconds() ?? Number.NaN;
    const [command = '', ...words] = [...through, 'dnsperf', '-s', address, '-d', file, '-l', `${seconds}`, '-c', '4'];
    const output = await bench.processes.run('dnsperf', command, words);
    const [, completed = 'NaN'] = /Queries completed:\s+(\d+)/.exec(output) ?? [];
    const [, good = '0'] = /NOERROR (\d+)/.exec(output) ?? [];
    const [, rate = 'NaN'] = /Queries per second:\s+([\d.]+)/.exec(output) ?? [];
    const cpu = (((process?.cpuSeconds() ?? Number.NaN) - before) * 1e6) / Number(completed);
    return { rate: Number(rate), wrong: Number(completed) - Number(good), cpu };
  };
  bench.say('names …\n');
  for (const one of contenders) await ask(one, 1);
  const results = await alternate(contenders, bench.extent.rounds, (one) => ask(one, bench.extent.seconds));
  const title = 'as many as it answers, questions/s';
  const flooded = await measureFlood(bench, title, 4, contenders, file, { peers: [DOCKER] });
  return [
    ...flooded,
    { title: 'by dnsperf, questions/s', samples: pick(results, ({ rate }) => rate), digits: 0, goal: atLeast(1.5) },
    { title: '– CPU µs per question', samples: pick(results, ({ cpu }) => cpu), digits: 2 },
    { title: '– not answered with an address', samples: pick(results, ({ wrong }) => wrong), digits: 0 },
  ];
}

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}${SMALL}`, { signal: AbortSignal.timeout(ANSWER_DEADLINE_MS) })).ok;
  } catch {
    return false;
  }
}

await runBench(run, { stop: async () => clean(), kill: () => clean() });
