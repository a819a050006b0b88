// A catalog of many services on three nodes: memory, what a change costs beside one with a single service, and how soon an agent serves.
import { fill } from '../prefill.ts';
import { table } from '../report.ts';
import { quantile } from '../samples.ts';
import { change, type Changes, prepare, SERVICE } from './changes.ts';
import { BenchLab, type BenchNode, rest, until } from './lab.ts';
import type { Resolvers } from './resolvers.ts';
import { rowsOf } from './rows.ts';
import { type Extent, type Part, restart, untilNamed } from './web.ts';

const ENDPOINTS = 20;
/** etcd takes requests of 1.5 MiB. */
const BATCH_RECORDS = 1000;
const QUIET_MS = 5000;
/** Changes before those that are measured: V8 compiles what it has seen often. */
const WARM_UP = 20;
/** A change beside many services costs at most so many times what it costs beside one: it is flat, and what is measured is not exact. */
const FLAT = 1.5;

interface Measured extends Changes {
  readonly bytes: number;
  /** Of one agent for one change, without what it takes at rest. */
  readonly cpuMs: number;
  /** From the start of an agent to its resolver's right answer, seconds. */
  readonly starts: readonly number[];
}

export const many: Part = {
  name: 'many',
  async measure(extent, say) {
    const lab = await BenchLab.up(3);
    const resolvers = await prepare(lab);
    say('changes beside 1 service …\n');
    const few = await measure(lab, resolvers, extent);
    const column = `${extent.services.toLocaleString('en-US')} services`;
    say(`changes beside ${column} …\n`);
    await addServices(lab, extent.services);
    const lots = await measure(lab, resolvers, extent);
    resolvers.close();
    await lab.down();
    return report(column, few, lots);
  },
};

async function addServices(lab: BenchLab, count: number): Promise<void> {
  const store = lab.openStore();
  await fill(store, { services: count, endpoints: ENDPOINTS }, BATCH_RECORDS);
  await store.close();
  await until('every agent knows them', async () => {
    const all = await Promise.all(lab.nodes.map((node) => node.status()));
    return all.every(
      ({ Counts, Cluster }) => Counts.Services > count && Cluster?.Nodes.every(({ Behind }) => Behind === 0) === true,
    );
  });
}

async function measure(lab: BenchLab, resolvers: Resolvers, { changes, runs }: Extent): Promise<Measured> {
  await change(lab, resolvers, WARM_UP);
  const cpu = () => lab.nodes.reduce((sum, node) => sum + node.usage.cpuSeconds(), 0) / lab.nodes.length;
  const [quiet, quietFrom] = [cpu(), performance.now()];
  await rest(QUIET_MS);
  const perMs = (cpu() - quiet) / (performance.now() - quietFrom);
  const [before, from] = [cpu(), performance.now()];
  const times = await change(lab, resolvers, changes);
  const spent = cpu() - before - perMs * (performance.now() - from);
  const bytes = Math.max(...lab.nodes.map((node) => node.usage.rssBytes()));
  const starts: number[] = [];
  const knows = (node: BenchNode) => untilNamed([node], SERVICE, 1);
  for (let run = 0; run < runs; run++) starts.push(...(await restart(lab.node(3), [knows])));
  return { ...times, bytes, cpuMs: (spent * 1000) / changes, starts };
}

function report(column: string, few: Measured, lots: Measured): string {
  const columns = new Map([
    ['1 service', [few]],
    [column, [lots]],
  ]);
  const row = rowsOf(columns);
  const flat = (value: (one: Measured) => number) => new Map([[column, Number((FLAT * value(few)).toFixed(2))]]);
  const effect = (part: number) => (one: Measured) => quantile(Float64Array.from(one.effect), part);
  const cpu = (one: Measured) => one.cpuMs;
  return [
    '## Many services',
    '',
    `Three nodes, services of ${ENDPOINTS} endpoints each. The change is the same as above, beside them; flat is what costs at most ${FLAT} times as much.`,
    '',
    table(
      [...columns.keys()],
      [
        row('in effect on a node, from the command, median ms', 1, effect(0.5), flat(effect(0.5))),
        row('– 99 of 100 within, ms', 1, effect(0.99)),
        row('CPU time of one agent for one change, ms', 2, cpu, flat(cpu)),
        row('resident memory of the largest agent, MiB', 0, (one) => one.bytes / 2 ** 20),
        row('start of an agent to its right answer of DNS, s', 2, (one) => one.starts),
      ],
      '',
    ),
  ].join('\n');
}
