// `npm run bench:overlay`: containers on overlay networks, in a lab of real agents on this machine. `-- --quick`: printed only. See README.md.
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
import { measureTraffic } from './overlay/traffic.ts';
import { BenchError } from './processes.ts';

const FULL = { rounds: 5, seconds: 3, starts: 7, agents: 3, attached: 20 } as const;
const QUICK = { rounds: 2, seconds: 1, starts: 3, agents: 1, attached: 10 } as const;
/** Connections of the load generator at once, and some to spare. */
const CONNECTIONS = 1000;
/** Of compiled code: dist/bench; the results belong beside the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/OVERLAY.md', import.meta.url));

const labs = new Labs();

async function run({ quick, processes, directory, say }: Frame): Promise<void> {
  const startedAt = performance.now();
  await becomeMachine();
  // What a lab writes goes with the rest.
  process.env.TMPDIR = directory;
  const extent = quick ? QUICK : FULL;
  const stage = new Stage(processes, directory, CONNECTIONS);
  const [here, there] = await labs.up(processes, 2);
  if (here === undefined || there === undefined) throw new BenchError('the lab has lost its nodes');
  const starts = await measureStarts({ processes, stage, rounds: extent.starts, say }, [here, there]);
  const traffic = await measureTraffic({ processes, stage, extent, say }, [here, there]);
  await labs.down();
  const attaching = await measureAttaching({ labs, processes, rounds: extent.agents, samples: extent.attached, say });
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
    ...[traffic, starts, attaching].flatMap((section) => [section, '']),
  ].join('\n');
  say(`\n${text}`);
  if (!quick) writeFileSync(RESULTS, text);
}

await runBench(run, { stop: () => labs.stop(), kill: () => labs.kill() });
