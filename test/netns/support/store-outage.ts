// M9: what a mesh does while its store is away for longer than its leases, and when it is back; the same for each way of being away.
import { type Lab, mayHaveLab, type Node, startLab } from './lab.ts';
import { spawnSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { findProgram } from '../../support/requirements.ts';
import { connectFrom, httpGet, type LineConnection, lines } from './clients.ts';
import {
  does,
  HTTP_PORT,
  namesOf,
  openTo,
  publishWeb,
  statesOf,
  statusOf,
  tasksOf,
  untilEligible,
  untilStore,
  WEB,
} from './lab-mesh.ts';
import { failures, type NodeAttempt, type NodeLoad, startNodeLoad } from './node-client.ts';
import { kill, startServer, type Task, until } from './tasks.ts';

const OWN_HTTP = 8081;
const OWN_LINES = 7071;
/** The lease is 10 s. */
const AWAY_S = 12;

export interface Outage {
  begin(mesh: Lab): void | Promise<void>;
  end(mesh: Lab): void | Promise<void>;
}

/** Takes whatever goes to the store on its node away, and gives it back. */
export function dropStoreTraffic(drop: boolean): void {
  const table = 'inet vipmesh_test_store';
  const chain = 'chain input { type filter hook input priority 0; tcp dport 2379 drop; }';
  const rules = drop ? `table ${table} {\n${chain}\n}` : `delete table ${table}`;
  const { status, stderr } = spawnSync(findProgram('nft') ?? 'nft', ['-f', '-'], { input: `${rules}\n` });
  if (status !== 0) throw new Error(String(stderr));
}

interface World {
  readonly mesh: Lab;
  readonly stays: readonly Task[];
  /** Ends while the store is away. */
  readonly leaving: Task;
  /** Is killed while the store is away. */
  readonly victim: Task;
  readonly loads: readonly NodeLoad[];
  readonly open: readonly LineConnection[];
}

interface Moments {
  readonly beganAt: number;
  readonly ends: Ends;
  readonly endedAt: number;
}

/** When the tasks that end while the store is away were told to, and when they had. */
interface Ends {
  readonly victim: Span;
  readonly leaving: Span;
}

interface Span {
  readonly from: number;
  readonly to: number;
}

export function testOutage(name: string, outage: Outage): void {
  t.test(`M9: the store is ${name}`, async (t) => {
    if (!(await mayHaveLab(t))) return;
    const world = await makeWorld();
    const { mesh, loads, open } = world;
    const before = await tasksOf(mesh.node(1), 'own');
    const beganAt = Date.now();
    await outage.begin(mesh);
    const ends = await whileAway(t, world);
    for (const connection of open) t.match(await connection.ask('away'), / away$/, 'an open connection goes on');
    const endedAt = Date.now();
    await outage.end(mesh);
    await afterwards(t, world, before);
    await Promise.all(loads.map((load) => load.begun(20)));
    const attempts = (await Promise.all(loads.map((load) => load.stop()))).flat();
    for (const connection of open) {
      t.match(await connection.ask('back'), / back$/, 'an open connection goes on');
      connection.socket.destroy();
    }
    judge(t, world, attempts, { beganAt, ends, endedAt });
    await mesh.down();
  });
}

async function makeWorld(): Promise<World> {
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  await does(one, 'service', 'create', '--name', 'own', '-p', `${OWN_HTTP}:8000`, '-p', `${OWN_LINES}:7000`);
  const tasks = await Promise.all([two, two, three, three].map((node) => startServer(node.runner, 'own')));
  const [first, victim, second, leaving] = tasks;
  if (first === undefined || second === undefined || victim === undefined || leaving === undefined)
    throw new Error('four are four');
  for (const node of mesh.nodes) await untilAnswered(node, tasks);
  const loads = [one, two].map((node) =>
    startNodeLoad(node, {
      perSecond: 60,
      targets: [`${node.address}:${HTTP_PORT}`, `${node.address}:${OWN_HTTP}`],
      names: [`tasks.${WEB}`, WEB],
    }),
  );
  await Promise.all(loads.map((load) => load.begun(20)));
  const fromContainer = lines(connectFrom(first.netns, second.address, 7000));
  await fromContainer.line();
  const open = [await openTo(one, two), await openOwn(one, second.name), fromContainer];
  return { mesh, stays: [first, second], victim, leaving, loads, open };
}

async function whileAway(t: Test, { mesh, stays, victim, leaving, loads }: World): Promise<Ends> {
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  for (const node of mesh.nodes) await untilStore(node, false);
  await Promise.all(loads.map((load) => load.begun(20)));
  const ends = {
    victim: await spanOf(async () => {
      kill(victim.pid, 'SIGKILL');
      t.equal(await victim.ended, 137, 'a task is killed');
    }),
    leaving: await spanOf(async () => {
      leaving.run.kill('SIGTERM');
      t.equal(await leaving.ended, 0, 'another ends');
    }),
  };
  for (const what of ['an agent starts with its own copy', 'and again, although it has never been put on record']) {
    await three.killAgent();
    await three.restartAgent();
    const { Cluster } = await statusOf(three);
    t.match(Cluster?.Store, { Connected: false, ServingCopy: true }, what);
  }
  t.match(await httpGet(three.netns, three.address, HTTP_PORT), ' met ', 'and serves');
  await untilEligible(mesh.nodes, WEB, [two, three]);
  await untilAnswered(three, stays);
  await until(
    'the store is away for longer than a lease',
    () => silentFor(one),
    (seconds) => seconds > AWAY_S,
  );
  await Promise.all(loads.map((load) => load.begun(20)));
  return ends;
}

/** Everything is on record as it is, and changes are everywhere again. */
async function afterwards(t: Test, { mesh, victim, leaving }: World, before: readonly string[]): Promise<void> {
  const kept = before.filter((line) => ![leaving, victim].some(({ name }) => line.startsWith(`${name} `)));
  for (const node of mesh.nodes) {
    await untilStore(node, true);
    const own = await until(
      `${node.name} knows what is left`,
      () => tasksOf(node, 'own'),
      (list) => list.join() === kept.join(),
    );
    t.equal(own.length, 2, `${node.name}: what ended is gone, what stays has its ids and addresses`);
    await until(
      `${node.name} sees all nodes`,
      () => statesOf(node),
      (states) => states === 'node1 ready, node2 ready, node3 ready',
    );
  }
  await does(mesh.node(2), 'service', 'create', '--name', 'later', '--network', 'back', '--detach');
  await until(
    'a change is everywhere',
    () => namesOf(mesh.node(3), 'later'),
    (found) => found.length === 1,
  );
}

/**
 * What was open to a task at its end may fail with it. So may what other nodes had sent to the one that leaves, because without the
 * store they cannot be told of it before.
 */
function judge(
  t: Test,
  { stays, victim, leaving }: World,
  attempts: readonly NodeAttempt[],
  { beganAt, ends, endedAt }: Moments,
): void {
  const failed = failures(attempts, ['node2', 'node3', ...[...stays, victim, leaving].map(({ name }) => name)]);
  const during = attempts.filter(({ startedAt }) => startedAt > beganAt && startedAt < endedAt);
  const spans = [ends.victim, ends.leaving];
  t.same(
    failed.filter((one) => !wasCut(one, spans)).map((one) => describe(one, endedAt)),
    [],
    `0 of ${during.length} fail while it is away, 0 of ${attempts.length} in all`,
  );
  const open = attempts.filter((one) => wasOpen(one, spans));
  t.ok(
    failed.length <= Math.max(4, Math.ceil(open.length / 2)),
    `${failed.length} of ${open.length} that were open meanwhile were open to a task that ended`,
  );
  t.notOk(
    attempts.some(
      ({ startedAt, outcome }) =>
        (startedAt > ends.victim.to && outcome === victim.name) ||
        (startedAt > ends.leaving.to && outcome === leaving.name),
    ),
    'neither is met again',
  );
  t.comment(`the slowest took ${Math.round(Math.max(...during.map((one) => one.endedAt - one.startedAt)))} ms`);
}

async function spanOf(work: () => Promise<void>): Promise<Span> {
  const from = Date.now();
  await work();
  return { from, to: Date.now() };
}

/** Whether it was open when a task ended. */
function wasOpen({ startedAt, endedAt }: NodeAttempt, spans: readonly Span[]): boolean {
  return spans.some(({ from, to }) => startedAt <= to && endedAt >= from);
}

/** Whether it ended as connections do with a task: reset (EPIPE after a FIN), or with half an answer. */
function wasCut(attempt: NodeAttempt, spans: readonly Span[]): boolean {
  return ['ECONNRESET', 'EPIPE', 'CUT'].includes(attempt.outcome) && wasOpen(attempt, spans);
}

function describe({ kind, target, outcome, startedAt, endedAt }: NodeAttempt, back: number): string {
  return `${kind} ${target} ${outcome}, from ${Math.round(startedAt - back)} to ${Math.round(endedAt - back)} ms after its return`;
}

/** Until connections through a node's published port meet all of these tasks and no others. */
async function untilAnswered(node: Node, tasks: readonly Task[]): Promise<void> {
  const wanted = tasks.map(({ name }) => name).sort();
  await until(
    `${node.name} sends to ${wanted}`,
    async () => {
      const answers = await Promise.all(
        Array.from({ length: 2 * tasks.length }, () => httpGet(node.netns, node.address, OWN_HTTP)),
      );
      return [...new Set(answers.map((text) => text.split(' ')[0] ?? ''))].sort();
    },
    (met) => met.join() === wanted.join(),
  );
}

async function openOwn(node: Node, name: string): Promise<LineConnection> {
  for (;;) {
    const connection = lines(connectFrom(node.netns, node.address, OWN_LINES));
    if ((await connection.line()) === name) return connection;
    connection.socket.destroy();
  }
}

async function silentFor(node: Node): Promise<number> {
  return Number(/^vipmesh_store_silent_seconds (\S+)$/m.exec(await node.metrics())?.[1]);
}
