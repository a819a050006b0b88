// Questions in great number while services come, go and change: every answer must have been true at some moment between its
// question and its arrival.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { decode, encode, type RecordType, RECURSION_DESIRED } from 'dns-packet';
import type { ApiClient } from '../../../src/api/client.ts';
import { dockerNetwork } from '../../../src/api/schema.ts';
import { agentStatus } from '../../../src/api/status-schema.ts';
import { Dice } from '../../simulation/support/seeds.ts';
import type { Asked, Asking } from './asker.ts';
import { type Answered, History } from './history.ts';
import { monotonicMs } from './moment.ts';
import { AilingService, answerOf, ChangingService, type Churning, NETWORK } from './services.ts';

export interface TruthOptions {
  readonly client: ApiClient;
  /** The agent's resolver. */
  readonly address: string;
  readonly port: number;
  readonly questions: number;
  /** Questions a second, at most. */
  readonly rate: number;
  readonly services: number;
  readonly seed: number;
  /** Between two changes of one service, on average. */
  readonly pauseMs: number;
}

export interface Truth {
  readonly answers: number;
  /** Questions that nobody answered within five seconds. */
  readonly unanswered: number;
  /** Commands that the agent acknowledged, and meanings of names that became different by them. */
  readonly commands: number;
  readonly meanings: number;
  /** Answers that were true at no moment of their way, and the first of them in words. */
  readonly untrue: number;
  readonly examples: readonly string[];
  /** Answers to questions that were asked after what they say had been ended by a command that was acknowledged. */
  readonly late: number;
  /** By how much the latest was. */
  readonly latestMs: number;
  /** Ascending: how long each command took to be in effect after it was acknowledged, as far as the agent says. */
  readonly effectMs: readonly number[];
  readonly seconds: number;
}

const AILING = 4;
const EXAMPLES = 10;
const LOOK_AGAIN_MS = 2;
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

export async function runTruth(options: TruthOptions): Promise<Truth> {
  const { client, seed } = options;
  await client.post('/networks/create', { Name: NETWORK, Driver: 'local' });
  const network = await client.get(`/networks/${NETWORK}`, dockerNetwork);
  const prefix = network.IPAM.Config[0]?.Subnet.split('.').slice(0, 2).join('.') ?? '';
  // VIPs are given out from the beginning of the subnet.
  const placesOf = (index: number) =>
    Array.from({ length: 4 }, (_, i) => `${prefix}.${200 + (index >> 6)}.${1 + (index & 63) * 4 - 1 + i}`);
  const all: Churning[] = Array.from(
    { length: options.services },
    (_, i) => new ChangingService(client, new Dice(seed + 1 + i), i, placesOf(i)),
  );
  for (let i = 0; i < AILING; i++) all.push(new AilingService(client, i, `${prefix}.250.${i + 1}`));
  const history = new History();
  for (const one of all) for (const [question, answer] of one.meaning()) history.begin(question, answer);
  const questions = all.flatMap((one) => [...one.meaning().keys()]);
  const stop = new AbortController();
  const effectMs: number[] = [];
  const watcher = new Watcher(client);
  const churns = all.map((one, i) =>
    churn(one, { ...options, watcher, history, effectMs, dice: new Dice(seed - 1 - i) }, stop.signal),
  );
  const failed = Promise.all(churns).then(() => undefined);
  failed.catch(() => undefined);
  const startedAt = monotonicMs();
  const asked = await Promise.race([ask(options, questions, stop.signal), failed]);
  const seconds = (monotonicMs() - startedAt) / 1000;
  stop.abort();
  await failed;
  for (const one of all) await one.close();
  if (asked === undefined) throw new Error('services ceased to change before all questions were asked');
  effectMs.sort((a, b) => a - b);
  return {
    ...judge(history, questions, asked),
    unanswered: asked.unanswered,
    commands: effectMs.length,
    meanings: history.changes,
    effectMs,
    seconds,
  };
}

interface Churn {
  readonly watcher: Watcher;
  readonly history: History;
  readonly effectMs: number[];
  readonly dice: Dice;
  readonly pauseMs: number;
}

async function churn(
  one: Churning,
  { watcher, history, effectMs, dice, pauseMs }: Churn,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    const from = monotonicMs();
    await one.change();
    const acknowledged = monotonicMs();
    const known = await watcher.inEffect();
    effectMs.push(known - acknowledged);
    for (const [question, answer] of one.meaning()) history.change(question, answer, from, acknowledged, known);
    await sleep(2 * pauseMs * (dice.below(1000) / 1000));
  }
}

/** Tells when commits were in effect. Everybody who waits shares its questions: they cost the agent more than the changes do. */
class Watcher {
  readonly #client: ApiClient;
  #round: Promise<number> | undefined;

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** Everything that was acknowledged before the call is in effect at the time that it resolves with. */
  async inEffect(): Promise<number> {
    // A round that has begun may know less than was acknowledged meanwhile.
    await this.#round;
    this.#round ??= this.#ask().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #ask(): Promise<number> {
    let wanted: number | undefined;
    for (;;) {
      const { Revision, AppliedRevision } = await this.#client.get('/vipmesh/status', agentStatus);
      wanted ??= Revision;
      if (AppliedRevision >= wanted) return monotonicMs();
      await sleep(LOOK_AGAIN_MS);
    }
  }
}

async function ask(options: TruthOptions, questions: readonly string[], stop: AbortSignal): Promise<Asked> {
  const { address, port, seed } = options;
  const messages = questions.map((text) => {
    const [name = '', type] = text.split(' ');
    const question = { name, type: type as RecordType, class: 'IN' as const };
    return Uint8Array.from(encode({ type: 'query', id: 0, flags: RECURSION_DESIRED, questions: [question] }));
  });
  const asking: Asking = { address, port, questions: messages, count: options.questions, rate: options.rate, seed };
  const thread = new Worker(new URL('./asker.js', import.meta.url), { workerData: asking });
  try {
    const [asked] = (await once(thread, 'message', { signal: stop })) as [Asked];
    return asked;
  } finally {
    await thread.terminate();
  }
}

function judge(
  history: History,
  questions: readonly string[],
  { question, answer, sentAt, receivedAt, texts }: Asked,
): Pick<Truth, 'answers' | 'untrue' | 'examples' | 'late' | 'latestMs'> {
  const said = texts.map((text) => answerText(Buffer.from(`\0\0${text}`, 'latin1')));
  const examples: string[] = [];
  let [untrue, late, latestMs] = [0, 0, 0];
  for (let row = 0; row < question.length; row++) {
    const text = questions[question[row] as number] as string;
    const one = said[answer[row] as number] as { question: string; answer: string };
    const answered: Answered = {
      question: text,
      answer: one.answer,
      sentAt: sentAt[row] as number,
      receivedAt: receivedAt[row] as number,
    };
    const verdict = history.judge(answered);
    if (one.question !== text || !verdict.true) {
      untrue++;
      if (examples.length < EXAMPLES) examples.push(tell(history, answered, one.question));
    } else if (verdict.lateMs > 0) {
      late++;
      latestMs = Math.max(latestMs, verdict.lateMs);
    }
  }
  return { answers: question.length, untrue, examples, late, latestMs };
}

function tell(history: History, { question, answer, sentAt, receivedAt }: Answered, echoed: string): string {
  const way = (receivedAt - sentAt).toFixed(1);
  return `${question} was answered ${answer} (for ${echoed}) after ${way} ms; true (ms from the answer on): ${history.tell(question, receivedAt)}`;
}

/** What a message says, in the words of `Churning.meaning`. */
function answerText(message: Buffer): { readonly question: string; readonly answer: string } {
  const packet = decode(message);
  const [asked] = packet.questions ?? [];
  const rcode = RCODES[message.readUInt16BE(2) & 0xf] ?? '?';
  const addresses = new Map(
    (packet.additionals ?? []).flatMap((one) => (one.type === 'A' ? [[one.name, one.data] as const] : [])),
  );
  const records = (packet.answers ?? []).map((record) => {
    if (record.type === 'SRV') return `${record.data.port}=${addresses.get(record.data.target)}`;
    return record.type === asked?.type && 'data' in record ? String(record.data) : record.type;
  });
  const answer = rcode === 'NOERROR' ? answerOf(records) : [rcode, ...records].join(' ');
  return { question: `${asked?.name} ${asked?.type}`, answer };
}
