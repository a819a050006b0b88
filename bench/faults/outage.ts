// M9: the store is away while connections and questions come in. What do they see, and how soon does an agent serve that starts then?
import { execFileSync } from 'node:child_process';
import { table } from '../report.ts';
import { BenchLab, type BenchNode, rest, until } from './lab.ts';
import { failed, startLoad, stopAll } from './load.ts';
import { rowsOf } from './rows.ts';
import { type Extent, type Part, publishWeb, restart, untilAnswered, untilNamed, WEB, WEB_PORT } from './web.ts';

const PER_SECOND = 200;
const AFTERWARDS_MS = 5000;
/** An agent writes its copy a second after a change. */
const SETTLE_MS = 3000;
const DROP = `table inet bench_store {
chain input { type filter hook input priority 0; tcp dport 2379 drop; }
}
`;

interface Kind {
  readonly name: string;
  begin(lab: BenchLab): Promise<void>;
  end(lab: BenchLab): Promise<void>;
}

const KINDS: readonly Kind[] = [
  { name: 'killed', begin: (lab) => lab.killEtcd(), end: (lab) => lab.restartEtcd() },
  { name: 'frozen', begin: async (lab) => lab.signalEtcd('SIGSTOP'), end: async (lab) => lab.signalEtcd('SIGCONT') },
  { name: 'unreachable', begin: async () => nft(DROP), end: async () => nft('delete table inet bench_store\n') },
];

interface Outage {
  readonly seconds: number;
  readonly attempts: number;
  readonly errors: number;
  readonly slowestSeconds: number;
  /** From the end of the outage until every agent has its store again, seconds. */
  readonly backSeconds: number;
  /** From the start of an agent, seconds. */
  readonly toNames: readonly number[];
  readonly toPort: readonly number[];
}

export const outage: Part = {
  name: 'outage',
  async measure(extent, say) {
    const outages = new Map<string, readonly Outage[]>();
    for (const kind of KINDS) {
      say(`the store is ${kind.name} …\n`);
      const lab = await BenchLab.up(3);
      await publishWeb(lab, [lab.node(2), lab.node(3)]);
      outages.set(kind.name, [await endure(lab, kind, extent)]);
      await lab.down();
    }
    return report(outages);
  },
};

async function endure(lab: BenchLab, kind: Kind, extent: Extent): Promise<Outage> {
  const loads = await Promise.all(
    [lab.node(1), lab.node(2)].map((node) =>
      startLoad(node, {
        perSecond: PER_SECOND,
        targets: [`${node.address}:${WEB_PORT}`],
        names: [`tasks.${WEB}`, WEB],
      }),
    ),
  );
  await rest(SETTLE_MS);
  await kind.begin(lab);
  const from = performance.now();
  await until('the agents notice', () => haveStore(lab, false));
  const [toNames, toPort]: [number[], number[]] = [[], []];
  for (let run = 0; run < extent.runs; run++) {
    const signs = [(node: BenchNode) => untilNamed([node], WEB, 2), untilAnswered];
    const [named = Number.NaN, answered = Number.NaN] = await restart(lab.node(3), signs);
    toNames.push(named);
    toPort.push(answered);
  }
  await rest(Math.max(0, extent.outageSeconds * 1000 - (performance.now() - from)));
  const to = performance.now();
  await kind.end(lab);
  await until('the store is back', () => haveStore(lab, true));
  const backAt = performance.now();
  await rest(AFTERWARDS_MS);
  const attempts = await stopAll(loads);
  return {
    seconds: (to - from) / 1000,
    attempts: attempts.length,
    errors: failed(attempts).length,
    slowestSeconds: Math.max(...attempts.map((one) => one.endedAt - one.startedAt)) / 1000,
    backSeconds: (backAt - to) / 1000,
    toNames,
    toPort,
  };
}

async function haveStore(lab: BenchLab, connected: boolean): Promise<boolean> {
  const all = await Promise.all(lab.nodes.map((node) => node.status()));
  return all.every(({ Cluster }) => Cluster?.Store.Connected === connected);
}

function nft(rules: string): void {
  execFileSync('nft', ['-f', '-'], { input: rules });
}

function report(outages: ReadonlyMap<string, readonly Outage[]>): string {
  const row = rowsOf(outages);
  return [
    '## The store is away',
    '',
    `Three nodes; ${2 * PER_SECOND} new connections and a tenth as many questions a second come in on two of them; the third one’s agent is killed and started again meanwhile.`,
    '',
    table(
      [...outages.keys()],
      [
        row('away for, s', 0, (one) => one.seconds),
        row('connections and questions that failed', 0, (one) => one.errors, 0),
        row('– of', 0, (one) => one.attempts),
        row('– the slowest, s', 2, (one) => one.slowestSeconds),
        row('start of an agent to its right answer of DNS, s', 2, (one) => one.toNames, 2),
        row('– to an answer through its published port, s', 2, (one) => one.toPort, 2),
        row('back until every agent has it, s', 2, (one) => one.backSeconds),
      ],
      '',
    ),
  ].join('\n');
}
