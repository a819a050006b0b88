// The measuring itself, in the machine that faults.ts has made.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeMachine } from '../machine.ts';
import { BenchError } from '../processes.ts';
import { changes } from './changes.ts';
import { endpointDeath } from './endpoint-death.ts';
import { many } from './many.ts';
import { nodeDeath } from './node-death.ts';
import { outage } from './outage.ts';
import { update } from './update.ts';
import type { Extent, Part } from './web.ts';

const PARTS: readonly Part[] = [endpointDeath, nodeDeath, outage, update, changes, many];
const FULL: Extent = { runs: 5, changes: 100, outageSeconds: 60, restSeconds: 20, services: 1000 };
const QUICK: Extent = { runs: 1, changes: 20, outageSeconds: 12, restSeconds: 5, services: 100 };
/** Of compiled code: dist/bench/faults; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../../bench/FAULTS.md', import.meta.url));

async function run(quick: boolean, parts: readonly Part[]): Promise<void> {
  const startedAt = performance.now();
  const [load = 0] = loadavg();
  const sections: string[] = [];
  for (const part of parts) {
    const from = performance.now();
    sections.push(await part.measure(quick ? QUICK : FULL, say));
    say(`${part.name}: ${Math.round((performance.now() - from) / 1000)} s\n`);
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const text = [
    '# Results of `npm run bench:faults`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${seconds} s in all. Where there are several runs: median (least–most). Goals are held against the worst.`,
    'How it is measured: [README.md](README.md).',
    '',
    ...[...describeMachine(), etcdVersion(), `load average when it began: ${load.toFixed(1)}`].map(
      (line) => `- ${line}`,
    ),
    '',
    ...sections.flatMap((section) => [section, '']),
  ].join('\n');
  say(`\n${text}`);
  if (!quick && parts.length === PARTS.length) writeFileSync(RESULTS, text);
}

/** Throws BenchError for parts that do not exist. */
function chosen(only: string | undefined): readonly Part[] {
  if (only === undefined) return PARTS;
  const names = only.split(',');
  const unknown = names.find((name) => !PARTS.some((part) => part.name === name));
  if (unknown !== undefined)
    throw new BenchError(`there is no part "${unknown}"; there are ${PARTS.map(({ name }) => name).join(', ')}`);
  return PARTS.filter(({ name }) => names.includes(name));
}

function etcdVersion(): string {
  const { stdout } = spawnSync('etcd', ['--version'], { encoding: 'utf8' });
  return `etcd ${/\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? 'of unknown version'}`;
}

function say(text: string): void {
  process.stdout.write(text);
}

try {
  const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } } });
  await run(values.quick, chosen(values.only));
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error instanceof BenchError ? error.message : String((error as Error).stack)}\n`);
  process.exit(1);
}
