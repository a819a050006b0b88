// `npm run bench`: vipmesh beside its peers on this machine, in one run. `-- --quick`: a minute or two, printed only. See README.md.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { descriptorLimit } from '../src/native/rlimit.ts';
import { type ControlPlaneExtent, measureControlPlane } from './control-plane.ts';
import { DIRECT, DNSMASQ, HAPROXY, NGINX, OURS, Stage, UNBOUND } from './contenders.ts';
import { LOCAL_NAMES, measureFlood } from './dns/flooding.ts';
import { type Frame, runBench } from './frame.ts';
import { installPeers, type Peer, peerVersions } from './install.ts';
import { type AutocannonResult, runAutocannon } from './load.ts';
import { describeMachine } from './machine.ts';
import { type Bench, type Extent, measureDns, measureHttp, measureMemory } from './measures.ts';
import { table } from './report.ts';

const FULL: Extent = { rounds: 5, seconds: 4, idleRounds: 5, idleConnections: 9_000 };
const QUICK: Extent = { rounds: 3, seconds: 1, idleRounds: 1, idleConnections: 2_000 };
/** What the product promises of a change: 5 ms. */
const MANY_SERVICES = { sizes: [10, 1000, 10_000], endpoints: 10, effectMs: 5 } as const;
const CONTROL_PLANE: Readonly<Record<'full' | 'quick', ControlPlaneExtent>> = {
  full: { starts: 5, changes: 500, ...MANY_SERVICES },
  quick: { starts: 1, changes: 100, ...MANY_SERVICES },
};
const AUTOCANNON_SECONDS = { full: 10, quick: 2 } as const;
const PEERS: readonly Peer[] = [
  'wrk',
  'haproxy',
  'nginx-light',
  'libnginx-mod-stream',
  'dnsmasq-base',
  'unbound',
  'dnsperf',
];
/** Descriptors that a proxy needs besides those of its connections. */
const SPARE_DESCRIPTORS = 500;
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/RESULTS.md', import.meta.url));

async function run({ quick, processes, directory, say }: Frame): Promise<void> {
  const startedAt = performance.now();
  installPeers(PEERS, say);
  const wanted = quick ? QUICK : FULL;
  const most = Math.floor((descriptorLimit() - SPARE_DESCRIPTORS) / 2);
  const extent = { ...wanted, idleConnections: Math.min(wanted.idleConnections, most) };
  const bench: Bench = { processes, extent, say };
  const stage = new Stage(processes, directory, Math.max(extent.idleConnections + 400, 1_000));

  const backend = await stage.backend();
  const names = await stage.oursNames();
  const ours = await stage.ours(backend.port, names.port);
  const haproxy = await stage.haproxy(backend.port);
  const nginx = await stage.nginx(backend.port, names.port);

  const http = await measureHttp(bench, [backend, ours.tcp, haproxy, nginx.tcp]);
  say('autocannon …\n');
  const cannon = await runAutocannon(
    processes,
    `http://localhost:${ours.tcp.port}/small`,
    AUTOCANNON_SECONDS[quick ? 'quick' : 'full'],
  );
  await haproxy.process?.stop();
  const throughUdp = await measureDns(
    bench,
    'datagrams there and back through a UDP port, queries/s',
    [{ ...names, name: DIRECT, process: undefined }, ours.udp, nginx.udp],
    stage,
  );
  await Promise.all([ours.tcp.process?.stop(), nginx.tcp.process?.stop()]);
  const memory = await measureMemory(bench, backend, [
    { name: OURS, start: async () => (await stage.ours(backend.port, names.port)).tcp },
    { name: HAPROXY, start: () => stage.haproxy(backend.port) },
    { name: NGINX, start: async () => (await stage.nginx(backend.port, names.port)).tcp },
  ]);
  const servers = [names, await stage.dnsmasq(), await stage.unbound()];
  const byDnsperf = await measureDns(bench, 'names of the mesh, by dnsperf, queries/s', servers, stage);
  const dns = [...(await measureFlood(bench, ...LOCAL_NAMES, servers, stage.queryFile())), ...byDnsperf];
  const controlPlane = await measureControlPlane(processes, directory, CONTROL_PLANE[quick ? 'quick' : 'full'], say);
  const text = report(extent, (performance.now() - startedAt) / 1000, cannon, [
    table([DIRECT, OURS, HAPROXY, NGINX], [...http, ...throughUdp, ...memory], OURS),
    table([OURS, DNSMASQ, UNBOUND], dns, OURS),
    controlPlane,
  ]);
  say(`\n${text}`);
  if (!quick) writeFileSync(RESULTS, text);
}

function report(extent: Extent, seconds: number, cannon: AutocannonResult, tables: readonly string[]): string {
  const cpu = 'CPU time is user and system time of the proxy or server, of all its threads and processes.';
  return [
    '# Results of `npm run bench`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${Math.round(seconds)} s in all. Medians of ${extent.rounds} rounds of ${extent.seconds} s (least–most); ${cpu}`,
    'How it is measured: README.md.',
    '',
    ...describeMachine().map((line) => `- ${line}`),
    `- ${peerVersions(PEERS).join(', ')}`,
    '',
    ...tables.flatMap((one) => [one, '']),
    `\`autocannon -c 64\` on a published port: ${Math.round(cannon.rate).toLocaleString('en-US')} requests/s, p99 ${cannon.p99Ms} ms, ${cannon.errors} errors.`,
    '',
  ].join('\n');
}

await runBench(run);
