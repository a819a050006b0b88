// M1, M2: a server is killed, or everything sent to it is lost, at a steady rate of new connections; HAProxy in the same rig.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HAPROXY, OURS } from '../contenders.ts';
import { table } from '../report.ts';
import { alternate } from '../samples.ts';
import { httpGet } from '../../test/netns/support/clients.ts';
import { BenchLab, type BenchNode, rest, type Started, until } from './lab.ts';
import { failed, startLoad } from './load.ts';
import { rowsOf } from './rows.ts';
import { type Extent, type Part, publishWeb, SERVER_PORT, untilNamed, WEB, WEB_PORT } from './web.ts';

const PER_SECOND = 200;
const PEER_PORT = 8180;
/** It has met the one that is gone. */
const SLOW_MS = 500;
const BEFORE_MS = 1000;
const AFTER_MS = 6000;
/** Each takes about ten seconds, for both contenders and both faults. */
const MOST_RUNS = 3;
/** HAProxy's checks have found a server to be well again by then. */
const RECOVERED_MS = 2500;

interface Fault {
  readonly title: string;
  begin(): Promise<void>;
  end(): Promise<void>;
}

interface Met {
  readonly attempts: number;
  readonly errors: number;
  readonly slow: number;
  /** Seconds after the fault at which the last slow one began; 0: there was none. */
  readonly lastSlow: number;
  readonly slowestMs: number;
}

export const endpointDeath: Part = {
  name: 'endpoint',
  async measure({ runs }: Extent, say) {
    const lab = await BenchLab.up(4);
    const [one, two, three, four] = [lab.node(1), lab.node(2), lab.node(3), lab.node(4)];
    const started = await publishWeb(lab, [two, three, four]);
    const stopPeer = await startPeer(one, [two, three, four]);
    const contenders = [
      { name: OURS, port: WEB_PORT },
      { name: HAPROXY, port: PEER_PORT },
    ];
    const sections: string[] = [];
    for (const fault of [killing(four, started.at(-1) as Started), losing(four)]) {
      say(`${fault.title} …\n`);
      const met = await alternate(contenders, Math.min(runs, MOST_RUNS), async ({ port }) => {
        const seen = await strike(one, port, fault);
        await fault.end();
        await untilNamed(lab.nodes, WEB, 3);
        await rest(RECOVERED_MS);
        return seen;
      });
      sections.push(report(fault.title, met));
    }
    stopPeer();
    await lab.down();
    return ['## An endpoint dies', '', TEXT, ...sections].join('\n');
  },
};

const TEXT = `Three servers, each on a node of its own, behind a port of a fourth; ${PER_SECOND} new connections a second. HAProxy beside the agent, with the same servers: checks each second (\`fall 2\`), \`option redispatch\`, \`retries 3\`, \`timeout connect 5s\`. Counted is who came after the fault.`;

async function strike(node: BenchNode, port: number, fault: Fault): Promise<Met> {
  const load = await startLoad(node, { perSecond: PER_SECOND, targets: [`${node.address}:${port}`] });
  await rest(BEFORE_MS);
  await fault.begin();
  const from = Date.now();
  await rest(AFTER_MS);
  const after = (await load.stop()).filter(({ startedAt }) => startedAt > from);
  const slow = after.filter((one) => one.endedAt - one.startedAt > SLOW_MS);
  return {
    attempts: after.length,
    errors: failed(after).length,
    slow: slow.length,
    lastSlow: Math.max(0, ...slow.map(({ startedAt }) => startedAt - from)) / 1000,
    slowestMs: Math.max(...after.map((one) => one.endedAt - one.startedAt)),
  };
}

function killing(node: BenchNode, first: Started): Fault {
  let server = first;
  return {
    title: 'A server is killed (SIGKILL)',
    begin: async () => {
      server.process.kill('SIGKILL');
      await server.ended;
    },
    end: async () => {
      server = await node.serve();
    },
  };
}

function losing(node: BenchNode): Fault {
  const [program = '', ...words] = [...node.through, 'nft', '-f', '-'];
  const nft = (input: string) => execFileSync(program, words, { input });
  const drop = `chain input { type filter hook input priority 0; tcp dport ${SERVER_PORT} drop; }`;
  return {
    title: 'What is sent to a server is lost (nftables `drop`)',
    begin: async () => void nft(`table inet bench_hole {\n${drop}\n}\n`),
    end: async () => void nft('delete table inet bench_hole\n'),
  };
}

/** Resolves when it answers, with what ends it. */
async function startPeer(node: BenchNode, servers: readonly BenchNode[]): Promise<() => void> {
  const file = join(mkdtempSync(join(tmpdir(), 'haproxy-')), 'haproxy.cfg');
  const lines = [
    ...['defaults', '  mode tcp', '  timeout connect 5s', '  timeout client 1m', '  timeout server 1m'],
    ...['  retries 3', '  option redispatch', 'frontend published', `  bind ${node.address}:${PEER_PORT}`],
    ...['  default_backend servers', 'backend servers', '  balance roundrobin'],
    '  default-server check inter 1s fall 2 rise 1',
    ...servers.map(({ name, address }) => `  server ${name} ${address}:${SERVER_PORT}`),
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const [program = '', ...words] = [...node.through, 'haproxy', '-db', '-f', file];
  const child = spawn(program, words, { stdio: 'ignore', detached: true });
  await until('HAProxy answers', async () => / met /.test(await httpGet(node.netns, node.address, PEER_PORT)));
  return () => void child.kill('SIGKILL');
}

function report(title: string, met: ReadonlyMap<string, readonly Met[]>): string {
  const row = rowsOf(met);
  const ours = (most: number) => new Map([[OURS, most]]);
  return [
    '',
    `### ${title}`,
    '',
    table(
      [...met.keys()],
      [
        row('new connections that failed', 0, (one) => one.errors, ours(0)),
        row('– of', 0, (one) => one.attempts),
        row(`– that took longer than ${SLOW_MS} ms`, 0, (one) => one.slow),
        row('– the last of these began after the fault, s', 2, (one) => one.lastSlow, ours(3)),
        {
          ...row('the slowest new connection, ms', 0, (one) => one.slowestMs),
          goal: { kind: 'least', of: [HAPROXY], atMost: 2 },
        },
      ],
      OURS,
    ),
  ].join('\n');
}
