// An agent is killed (kill -9) with few and with many containers attached, and started again: how soon everything serves.
import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { closeNetns, inNetns, openNetns } from '../../src/native/netns.ts';
import type { Processes } from '../processes.ts';
import { type Measure, table } from '../report.ts';
import { median, type Samples } from '../samples.ts';
import { Asker, ResolverAsker } from './asking.ts';
import { attachGuest, GUEST_SERVICE, guestPath, guestVip, withGuests } from './guests.ts';
import type { Labs, Node } from './lab.ts';

export interface Restarts {
  readonly labs: Labs;
  readonly processes: Processes;
  /** With few, and then with many; in one lab. */
  readonly rounds: number;
  say(text: string): void;
}

const FEW = 1;
const MANY = 200;
/** M12 of the promises: everything serves again within this time. */
const GOAL_MS = 1000;
const PORT = 80;
const COLUMNS = { [FEW]: `${FEW} attached`, [MANY]: `${MANY} attached` } as const;
/** The agent has done all that it had to when it takes hardly any CPU for so long. */
const REST_MS = 500;
const AT_REST_SECONDS = 0.03;
/** Of a machine that is busy: who waits this long waits for ever. */
const REST_PATIENCE_MS = 60_000;

/** Since the new agent's process began. */
interface Restart {
  /** Milliseconds until a container's connection to the VIP is answered by another container. */
  readonly vip: number;
  /** Milliseconds until the resolvers of all containers have answered. */
  readonly resolvers: number;
  /** CPU seconds of the agent by then. */
  readonly cpu: number;
  /** CPU seconds until it has looked at everything and rests. */
  readonly cpuAtRest: number;
}

/** The section of the results, as Markdown. There is no lab before and after. */
export async function measureRestarts({ labs, processes, rounds, say }: Restarts): Promise<string> {
  say('kill -9 with containers attached ');
  const [first] = await labs.up(processes, 1);
  if (first === undefined) return '';
  const [few, many] = await withGuests(first, MANY, async (names) => {
    const vip = await guestVip(first);
    await attachGuest(first, names[0] ?? '');
    const close = serveIn(names[0] ?? '');
    const measured: Restart[][] = [];
    let node = first;
    for (const count of [FEW, MANY]) {
      for (const name of names.slice(FEW, count)) await attachGuest(node, name);
      const restarts: Restart[] = [];
      for (let round = 0; round < rounds; round++) {
        say('.');
        const done = await restart({ labs, processes, node, vip }, names.slice(0, count));
        node = done.node;
        restarts.push(done);
      }
      measured.push(restarts);
    }
    close();
    return measured;
  });
  await labs.down();
  say('\n');
  return sectionOf(few ?? [], many ?? [], rounds);
}

interface Before {
  readonly labs: Labs;
  readonly processes: Processes;
  readonly node: Node;
  readonly vip: string;
}

async function restart(
  { labs, processes, node: killed, vip }: Before,
  guests: readonly string[],
): Promise<Restart & { readonly node: Node }> {
  const client = new Asker(guestPath(guests.at(-1) ?? ''));
  const resolvers = guests.map((name) => new ResolverAsker(guestPath(name), GUEST_SERVICE));
  await rest(killed);
  const { node, begunAt } = await labs.replaceAgent(processes, killed);
  const vipAt = client.untilAnswered(vip, PORT);
  // One after the other: once the last one to come is there, all others answer at once, and asking costs the agent little.
  for (const resolver of resolvers) await resolver.untilAnswered();
  const resolversAt = performance.now();
  const result = { vip: (await vipAt) - begunAt, resolvers: resolversAt - begunAt, cpu: node.usage.cpuSeconds() };
  await rest(node);
  for (const one of [client, ...resolvers]) one.close();
  return { ...result, cpuAtRest: node.usage.cpuSeconds(), node };
}

/** Resolves when the agent has nothing more to do. */
async function rest({ usage }: Node): Promise<void> {
  for (const deadline = performance.now() + REST_PATIENCE_MS; performance.now() < deadline; ) {
    const before = usage.cpuSeconds();
    await pause(REST_MS);
    if (usage.cpuSeconds() - before <= AT_REST_SECONDS) return;
  }
}

/** A server in a container; what stops it. */
function serveIn(name: string): () => void {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end('here'));
  });
  const netns = openNetns(guestPath(name));
  // Without a host, Node.js makes the socket at once: in that namespace.
  inNetns(netns, () => server.listen(PORT));
  closeNetns(netns);
  return () => server.close();
}

function sectionOf(few: readonly Restart[], many: readonly Restart[], rounds: number): string {
  const each = (value: (restart: Restart) => number): Samples =>
    new Map([
      [COLUMNS[FEW], few.map(value)],
      [COLUMNS[MANY], many.map(value)],
    ]);
  const goal = { kind: 'most', value: GOAL_MS } as const;
  const measures: readonly Measure[] = [
    { title: 'a VIP answers, ms', samples: each(({ vip }) => vip), digits: 0, goal },
    { title: "all containers' resolvers answer, ms", samples: each(({ resolvers }) => resolvers), digits: 0, goal },
    { title: '– CPU of the agent until then, s', samples: each(({ cpu }) => cpu), digits: 2 },
    { title: '– CPU until it has looked at everything, s', samples: each(({ cpuAtRest }) => cpuAtRest), digits: 2 },
  ];
  const worst = median(many.map(({ cpu }) => cpu)) - median(few.map(({ cpu }) => cpu));
  return [
    '## An agent that was killed',
    '',
    table([COLUMNS[FEW], COLUMNS[MANY]], measures, COLUMNS[MANY]),
    '',
    `${rounds} times each, from the start of the new agent's process; ${MANY - FEW} containers more cost it ${worst.toFixed(2)} s of CPU until all are served.`,
  ].join('\n');
}
