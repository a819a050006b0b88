// M3: a node loses its power. When is it out of balancing on every other node, when out of the store, and what do clients see?
import { table } from '../report.ts';
import type { EtcdStore } from '../../src/store/etcd/store.ts';
import { decodeRecord, recordKey } from '../../src/store/record.ts';
import { BenchLab, type BenchNode, rest } from './lab.ts';
import { failed, startLoad, stopAll } from './load.ts';
import { Resolvers } from './resolvers.ts';
import { rowsOf } from './rows.ts';
import { type Extent, type Part, publishWeb, untilNamed, WEB, WEB_PORT } from './web.ts';

const PER_SECOND = 50;
/** A connection that takes longer has met the dead node: that node's kernel answers nothing, and another is tried later. */
const SLOW_MS = 500;
/** So long after the lease's end connections are looked at. */
const AFTERWARDS_MS = 1000;
const OURS = 'vipmesh';

interface Death {
  /** Seconds from the moment at which the power went. */
  readonly outOfNames: number;
  readonly outOfStore: number;
  readonly lastMet: number;
  readonly slowestSeconds: number;
  readonly errors: number;
  readonly attempts: number;
}

export const nodeDeath: Part = {
  name: 'death',
  async measure({ runs }: Extent, say) {
    const lab = await BenchLab.up(3);
    const [one, two, three] = [lab.node(1), lab.node(2), lab.node(3)];
    await publishWeb(lab, [two, three]);
    await one.cli('service', 'create', '--name', 'own');
    const store = lab.openStore();
    const deaths: Death[] = [];
    for (let run = 0; run < runs; run++) {
      say(`node death ${run + 1} …\n`);
      await three.run('own');
      deaths.push(await die([one, two], three, store));
      await three.heal();
      await three.serve();
      three.launchAgent();
      await three.agentReady();
      await untilNamed(lab.nodes, WEB, 2);
    }
    await store.close();
    await lab.down();
    return report(deaths);
  },
};

async function die(survivors: readonly BenchNode[], victim: BenchNode, store: EtcdStore): Promise<Death> {
  const resolvers = await Resolvers.open(survivors, `tasks.${WEB}`);
  const loads = await Promise.all(
    survivors.map((node) => startLoad(node, { perSecond: PER_SECOND, targets: [`${node.address}:${WEB_PORT}`] })),
  );
  await resolvers.until(2);
  const gone = untilGone(store, victim.id);
  const [from, fromEpoch] = [performance.now(), Date.now()];
  const outOfNames = resolvers.until(1);
  await victim.cut();
  const cutAt = Date.now();
  await victim.killAll();
  const outOfNamesAt = Math.max(...(await outOfNames));
  const outOfStoreAt = await gone;
  await rest(AFTERWARDS_MS);
  resolvers.close();
  // What was open to it when it died has died with it.
  const after = (await stopAll(loads)).filter(({ startedAt }) => startedAt > cutAt);
  const met = after.filter((one) => one.endedAt - one.startedAt > SLOW_MS);
  return {
    outOfNames: (outOfNamesAt - from) / 1000,
    outOfStore: (outOfStoreAt - from) / 1000,
    lastMet: Math.max(0, ...met.map(({ startedAt }) => startedAt - fromEpoch)) / 1000,
    slowestSeconds: Math.max(...after.map((one) => one.endedAt - one.startedAt)) / 1000,
    errors: failed(after).length,
    attempts: after.length,
  };
}

/** Resolves when the node's presence and its tasks have gone from the store, with the time. */
async function untilGone(store: EtcdStore, id: string): Promise<number> {
  const { revision, entries } = await store.list('');
  const left = new Set([recordKey('presence', id)]);
  for (const { key, value } of entries) {
    const record = decodeRecord(key, value);
    if (record?.kind === 'task' && record.value.nodeId === id && record.value.source !== 'static') left.add(key);
  }
  return new Promise((resolve) => {
    const watch = store.watch(revision, {
      onCommit: ({ writes }) => {
        for (const { key, value } of writes) if (value === null) left.delete(key);
        if (left.size > 0) return;
        watch.close();
        resolve(performance.now());
      },
      onGap: () => undefined,
    });
  });
}

function report(deaths: readonly Death[]): string {
  const row = rowsOf(new Map([[OURS, deaths]]));
  return [
    '## A node dies',
    '',
    `Three nodes; one loses its cable, and everything on it is killed. ${2 * PER_SECOND} new connections a second come in on the other two, half of them for the dead one.`,
    '',
    table(
      [OURS],
      [
        row('out of every other node’s DNS and balancing, s', 2, (one) => one.outOfNames, 3),
        row('it and its tasks out of the store, s', 2, (one) => one.outOfStore, 11),
        row('the last connection that began and met it, s', 2, (one) => one.lastMet, 3),
        row('new connections that failed', 0, (one) => one.errors, 0),
        row('– of', 0, (one) => one.attempts),
        row('the slowest new connection, s', 2, (one) => one.slowestSeconds),
      ],
      OURS,
    ),
  ].join('\n');
}
