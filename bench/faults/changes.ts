// M13: how soon a change is in effect everywhere, seen from outside and by the agents themselves, and what it costs etcd.
import { table } from '../report.ts';
import { quantile } from '../samples.ts';
import { addEndpoint, type Extent, makeNetwork, NETWORK, type Part, removeEndpoint } from './web.ts';
import { BenchLab, rest } from './lab.ts';
import { Resolvers } from './resolvers.ts';
import { rowsOf } from './rows.ts';

const SIZES = [3, 5, 25] as const;
/** Seconds. */
const GOALS = new Map([
  [columnOf(5), 0.5],
  [columnOf(25), 1],
]);
/** The service whose endpoint comes and goes. */
export const SERVICE = 'moving';
const STAYS = '192.0.2.250:80';
const MOVES = '192.0.2.1:80';
/** After a start agents still write. */
const SETTLE_MS = 5000;

export interface Changes {
  /** Milliseconds from the call, one of each change and node. */
  readonly effect: readonly number[];
  /** Milliseconds until the call was answered, one of each change. */
  readonly call: readonly number[];
}

interface Size extends Changes {
  readonly ownP99Ms: number;
  readonly writesAtRest: number;
  readonly proposalsAtRest: number;
  readonly writesPerChange: number;
  readonly proposalsPerChange: number;
}

export const changes: Part = {
  name: 'changes',
  async measure(extent, say) {
    const sizes = new Map<string, readonly Size[]>();
    for (const size of SIZES) {
      say(`changes on ${size} nodes …\n`);
      sizes.set(columnOf(size), [await measureSize(size, extent)]);
    }
    return report(sizes);
  },
};

/** One endpoint comes and goes, on one node after the other. */
export async function change(lab: BenchLab, resolvers: Resolvers, count: number): Promise<Changes> {
  const [effect, call]: [number[], number[]] = [[], []];
  let id = '';
  for (let turn = 0; turn < count; turn++) {
    const node = lab.node((turn % lab.nodes.length) + 1);
    const from = performance.now();
    const everywhere = resolvers.until(turn % 2 === 0 ? 2 : 1);
    if (turn % 2 === 0) id = await addEndpoint(node, SERVICE, MOVES);
    else await removeEndpoint(node, id);
    call.push(performance.now() - from);
    effect.push(...(await everywhere).map((at) => at - from));
  }
  return { effect, call };
}

/** The service that `change` changes. Resolves when every node knows it. */
export async function prepare(lab: BenchLab): Promise<Resolvers> {
  await makeNetwork(lab);
  const words = ['--network', NETWORK, '--no-healthcheck', '--endpoint', STAYS];
  await lab.node(1).cli('service', 'create', '--name', SERVICE, ...words);
  const resolvers = await Resolvers.open(lab.nodes, `tasks.${SERVICE}`);
  await resolvers.until(1);
  return resolvers;
}

async function measureSize(size: number, extent: Extent): Promise<Size> {
  const lab = await BenchLab.up(size);
  await rest(SETTLE_MS);
  const began = await counters(lab);
  await rest(extent.restSeconds * 1000);
  const rested = await counters(lab);
  const resolvers = await prepare(lab);
  const before = await counters(lab);
  const measured = await change(lab, resolvers, extent.changes);
  const after = await counters(lab);
  resolvers.close();
  const { Cluster } = await lab.node(1).status();
  await lab.down();
  const atRest = difference(began, rested);
  const changing = difference(before, after);
  const writesAtRest = atRest.writes / atRest.seconds;
  const proposalsAtRest = atRest.proposals / atRest.seconds;
  return {
    ...measured,
    ownP99Ms: Math.max(...(Cluster?.Nodes.map(({ P99 = 0 }) => P99) ?? [])),
    writesAtRest,
    proposalsAtRest,
    writesPerChange: (changing.writes - writesAtRest * changing.seconds) / extent.changes,
    proposalsPerChange: (changing.proposals - proposalsAtRest * changing.seconds) / extent.changes,
  };
}

interface Counters {
  readonly writes: number;
  readonly proposals: number;
  readonly seconds: number;
}

/** etcd's, since it started. */
async function counters(lab: BenchLab): Promise<Counters> {
  const writes = await lab.etcdMetric('etcd_debugging_mvcc_put_total');
  const proposals = await lab.etcdMetric('etcd_server_proposals_committed_total');
  return { writes, proposals, seconds: performance.now() / 1000 };
}

function difference(from: Counters, to: Counters): Counters {
  return {
    writes: to.writes - from.writes,
    proposals: to.proposals - from.proposals,
    seconds: to.seconds - from.seconds,
  };
}

function columnOf(size: number): string {
  return `${size} nodes`;
}

function report(sizes: ReadonlyMap<string, readonly Size[]>): string {
  const row = rowsOf(sizes);
  const share = (what: 'effect' | 'call', part: number) => (size: Size) =>
    quantile(Float64Array.from(size[what]), part) / 1000;
  return [
    '## Changes',
    '',
    'An endpoint comes and goes, commanded on one node after the other; every node’s resolver is asked for it all the time.',
    '',
    table(
      [...sizes.keys()],
      [
        row('the command is answered, median s', 3, share('call', 0.5)),
        row('in effect on a node, from the command, median s', 3, share('effect', 0.5)),
        row('– 99 of 100 within, s', 3, share('effect', 0.99), GOALS),
        row('– the worst, s', 3, share('effect', 1)),
        row('as the agents tell it, p99 of the slowest node, s', 3, (size) => size.ownP99Ms / 1000),
        row('etcd at rest: keys written a second', 2, (size) => size.writesAtRest),
        row('– proposals a second (writes, new leases)', 2, (size) => size.proposalsAtRest),
        row('etcd per change: keys written', 2, (size) => size.writesPerChange),
        row('– proposals', 2, (size) => size.proposalsPerChange),
      ],
      '',
    ),
  ].join('\n');
}
