// Whether what the resolver says is true while services come, go and change all the time.
import { randomInt } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '../../src/api/client.ts';
import { agentStatus } from '../../src/api/status-schema.ts';
import { runTruth, type Truth } from '../../test/support/truth/run.ts';
import type { Frame } from '../frame.ts';
import { freePort } from '../processes.ts';

const WORKERS = 2;
const SERVICES = 40;
/** Questions a second: the changes, and whoever makes them, need the machine's CPUs, too. */
const RATE = 20_000;
/** Between two changes of a service. */
const PAUSE_MS = 100;

/** The section of the results, as Markdown. */
export async function measureTruth(
  { processes, directory, say }: Pick<Frame, 'processes' | 'directory' | 'say'>,
  questions: number,
): Promise<string> {
  say(`${questions.toLocaleString('en-US')} questions while services change …\n`);
  const folder = mkdtempSync(join(directory, 'truth-'));
  const [port, admin] = [await freePort(), await freePort()];
  const socket = join(folder, 'api.sock');
  const agent = processes.start('vipmesh-truth', process.execPath, [
    ...[fileURLToPath(new URL('../../src/main.js', import.meta.url)), 'agent', '--workers', String(WORKERS)],
    ...['--state-dir', join(folder, 'state'), '--socket', socket, '--drain', '1s'],
    // Nobody is there: what is not ours fails at once.
    ...['--dns', `127.0.0.11:${port}`, '--admin', `127.0.0.1:${admin}`, '--upstream', `127.0.0.1:${await freePort()}`],
  ]);
  const client = createClient(socket);
  const isReady = async () => (await client.get('/vipmesh/status', agentStatus)).State === 'ready';
  await agent.until(() => isReady().catch(() => false), 'get ready');
  const seed = randomInt(1_000_000_000);
  const asked = { questions, rate: RATE, services: SERVICES, seed, pauseMs: PAUSE_MS };
  const truth = await runTruth({ client, address: '127.0.0.11', port, ...asked });
  await agent.stop();
  return report(truth, seed);
}

function report(truth: Truth, seed: number): string {
  const { answers, commands, meanings, untrue, unanswered, late, latestMs, effectMs, seconds, examples } = truth;
  const number = (value: number) => value.toLocaleString('en-US');
  const effect = (share: number) => (effectMs[Math.floor(share * (effectMs.length - 1))] ?? Number.NaN).toFixed(1);
  return [
    '## Whether answers are true while services change',
    '',
    `${number(answers)} questions over UDP in ${Math.round(seconds)} s to ${WORKERS} workers, at random among all names of ${SERVICES} services and of some whose health check passes and fails (A, AAAA, SRV, PTR; names, aliases, \`tasks.NAME\`), while ${number(commands)} commands created and removed them, renamed their aliases, and added, removed, drained and took back endpoints: ${number(meanings)} times a name came to mean something else. Seed ${seed}.`,
    '',
    `- answers that were true at no moment between question and answer: **${number(untrue)}**; questions without an answer: ${number(unanswered)}`,
    `- answers to questions that were asked after a command which ended what they say had been acknowledged, and before it was in effect: ${number(late)}, the latest ${latestMs.toFixed(1)} ms after it`,
    `- from the acknowledgement to the agent saying that it is in effect in every worker (with asking it): median ${effect(0.5)} ms, 99 of 100 within ${effect(0.99)} ms`,
    ...examples.map((example) => `- untrue: ${example}`),
    '',
  ].join('\n');
}
