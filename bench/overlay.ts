// `npm run bench:overlay`: containers on overlay networks, in a lab of real agents on this machine. `-- --quick` and
// `-- --only PART,…`: printed only. See README.md.
import { becomeMachine } from './overlay/own-machine.ts';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Stage } from './contenders.ts';
import { type Frame, runBench } from './frame.ts';
import { peerVersions } from './install.ts';
import { describeMachine } from './machine.ts';
import { measureAttaching } from './overlay/attach.ts';
import { measureStarts } from './overlay/first-answer.ts';
import { Labs } from './overlay/lab.ts';
import { PEERS } from './overlay/peers.ts';
import { measureRestarts } from './overlay/restart.ts';
import { measureTraffic } from './overlay/traffic.ts';
import { BenchError } from './processes.ts';

const FULL = { rounds: 5, seconds: 3, starts: 7, agents: 3, attached: 20, kills: 9 } as const;
const QUICK = { rounds: 2, seconds: 1, starts: 3, agents: 1, attached: 10, kills: 3 } as const;
const PARTS = ['starts', 'traffic', 'attaching', 'kills'] as const;
type Part = (typeof PARTS)[number];
/** Connections of the load generator at once, and some to spare. */
const CONNECTIONS = 1000;
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/OVERLAY.md', import.meta.url));

const labs = new Labs();

async function run({ quick, processes, directory, say }: Frame): Promise<void> {
  const startedAt = performance.now();
  const wanted = chosen(process.argv);
  await becomeMachine();
  // What a lab writes goes with the rest.
  process.env.TMPDIR = directory;
  const extent = quick ? QUICK : FULL;
  const stage = new Stage(processes, directory, CONNECTIONS);
  const isWanted = (part: Part): boolean => wanted.includes(part);
  const sections: string[] = [];
  if (isWanted('traffic') || isWanted('starts')) {
    const [here, there] = await labs.up(processes, 2);
    if (here === undefined || there === undefined) throw new BenchError('the lab has lost its nodes');
    const starts = isWanted('starts')
      ? [await measureStarts({ processes, stage, rounds: extent.starts, say }, [here, there])]
      : [];
    if (isWanted('traffic')) sections.push(await measureTraffic({ processes, stage, extent, say }, [here, there]));
    sections.push(...starts);
    await labs.down();
  }
  const { agents, attached, kills } = extent;
  if (isWanted('attaching'))
    sections.push(await measureAttaching({ labs, processes, rounds: agents, samples: attached, say }));
  if (isWanted('kills')) sections.push(await measureRestarts({ labs, processes, rounds: kills, say }));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const text = [
    '# Results of `npm run bench:overlay`',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${seconds} s in all. Medians (least–most); of traffic, ${extent.rounds} rounds of ${extent.seconds} s, and CPU time is that of the agent or of HAProxy, of all its threads.`,
    'How it is measured: README.md.',
    '',
    ...describeMachine().map((line) => `- ${line}`),
    `- ${peerVersions(PEERS).join(', ')}`,
    '',
    ...sections.flatMap((section) => [section, '']),
  ].join('\n');
  say(`\n${text}`);
  if (!quick && wanted === PARTS) writeFileSync(RESULTS, text);
}

/** Throws BenchError for parts that do not exist. */
function chosen(words: readonly string[]): readonly Part[] {
  const at = words.indexOf('--only');
  if (at < 0) return PARTS;
  return (words[at + 1] ?? '').split(',').map((name) => {
    const part = PARTS.find((one) => one === name);
    if (part === undefined) throw new BenchError(`there is no part "${name}"; there are ${PARTS.join(', ')}`);
    return part;
  });
}

await runBench(run, { stop: () => labs.stop(), kill: () => labs.kill() });
