// H9: a rolling update, start-first, at 500 connections a second through two nodes' published ports.
import { z } from 'zod';
import { endpointListing } from '../../src/api/schema.ts';
import { table } from '../report.ts';
import { quantile } from '../samples.ts';
import { BenchLab, type Started, until } from './lab.ts';
import { failed, startLoad, stopAll } from './load.ts';
import { rowsOf } from './rows.ts';
import { type Part, WEB, WEB_PORT } from './web.ts';

const TASKS = 10;
const PER_SECOND = 500;
const OURS = 'vipmesh';

interface Update {
  readonly seconds: number;
  readonly attempts: number;
  readonly errors: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
}

export const update: Part = {
  name: 'update',
  async measure({ runs }, say) {
    const lab = await BenchLab.up(3);
    const words = ['-p', `${WEB_PORT}:8000`, '--health-http', '/health', '--health-interval', '200ms'];
    await lab.node(1).cli('service', 'create', '--name', WEB, ...words);
    const tasks = await Promise.all(Array.from({ length: TASKS }, (_, number) => startHealthy(lab, number)));
    const updates: Update[] = [];
    for (let run = 0; run < runs; run++) {
      say(`rolling update ${run + 1} …\n`);
      updates.push(await roll(lab, tasks));
    }
    await lab.down();
    return report(updates);
  },
};

/** Replaces all of them, in place. */
async function roll(lab: BenchLab, tasks: Started[]): Promise<Update> {
  const loads = await Promise.all(
    [lab.node(1), lab.node(2)].map((node) =>
      startLoad(node, { perSecond: PER_SECOND / 2, targets: [`${node.address}:${WEB_PORT}`] }),
    ),
  );
  const from = performance.now();
  for (const [number, old] of tasks.entries()) {
    tasks[number] = await startHealthy(lab, number);
    old.process.kill('SIGTERM');
    await old.ended;
  }
  const seconds = (performance.now() - from) / 1000;
  const attempts = await stopAll(loads);
  const times = Float64Array.from(attempts, (one) => one.endedAt - one.startedAt);
  return {
    seconds,
    attempts: attempts.length,
    errors: failed(attempts).length,
    p99Ms: quantile(times, 0.99),
    slowestMs: quantile(times, 1),
  };
}

async function startHealthy(lab: BenchLab, number: number): Promise<Started> {
  const node = lab.node((number % lab.nodes.length) + 1);
  const task = await node.run(WEB);
  await until(`${task.name} is healthy`, async () => {
    const all = await node.client.get('/vipmesh/endpoints', z.array(endpointListing));
    return all.some(({ Task, Health }) => Task === task.name && Health === 'healthy');
  });
  return task;
}

function report(updates: readonly Update[]): string {
  const row = rowsOf(new Map([[OURS, updates]]));
  return [
    '## A rolling update',
    '',
    `Ten tasks on three nodes, one after the other: a new one is started (\`vipmesh run\`), is healthy, then an old one gets SIGTERM. ${PER_SECOND} new connections a second through the published ports of two nodes.`,
    '',
    table(
      [OURS],
      [
        row('connections that failed', 0, (one) => one.errors, 0),
        row('– of', 0, (one) => one.attempts),
        row('99 of 100 answered within, ms', 1, (one) => one.p99Ms),
        row('– the slowest, ms', 0, (one) => one.slowestMs),
        row('the update takes, s', 1, (one) => one.seconds),
      ],
      OURS,
    ),
  ].join('\n');
}
