// A thousand containers that come and go on two nodes, whose agents are killed at any moment: what is left is what should be there.
import { mayHaveLab, type Node, startLab } from './support/lab.ts';
import { randomInt } from 'node:crypto';
import { setTimeout as later } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { createClient } from '../../src/api/client.ts';
import { openNetns } from '../../src/native/netns.ts';
import { close } from '../../src/native/libc.ts';
import type { Observed } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { Dice } from '../simulation/support/seeds.ts';
import { serveTcp, tryTcp } from '../support/netns.ts';
import { Attacher, type Hollow, makeHollows, removeHollows } from './support/hollow.ts';
import { endpointsOf } from './support/lab-mesh.ts';
import { descriptors, namespaces } from './support/node.ts';
import { until } from './support/tasks.ts';

const STACK = `services:
  keeper: {networks: [back, front]}
  inner: {networks: [back], x-vipmesh: {drain: 0s}}
  outer: {networks: [front], x-vipmesh: {drain: 0s}}
networks:
  back: {driver: overlay, attachable: true, internal: true, ipam: {config: [{subnet: 10.99.0.0/24}]}}
  front: {driver: overlay, attachable: true, ipam: {config: [{subnet: 10.98.0.0/24}]}}
`;
/** Containers that come and go in each part of the test. */
const QUIET = 700;
const KILLING = 300;
const KILLS = 4;
/** So many at the same time on each node. */
const WIDTH = 12;
/** A kill comes up to so long after its turn: anywhere in an attachment. */
const MAX_DELAY_MS = 80;
const PORT = 8000;

/** A node whose agent is killed now and then. */
class Shaken {
  readonly node: Node;
  readonly attacher: Attacher;
  kills = 0;
  /** Resolves when the agent is ready. */
  up: Promise<void> = Promise.resolve();

  constructor(node: Node) {
    this.node = node;
    this.attacher = new Attacher(node.socket);
  }

  kill(): Promise<void> {
    this.kills++;
    this.up = this.node.killAgent().then(() => this.node.restartAgent());
    return this.up;
  }
}

/** A container that is started and stopped for as long as `next` says so. */
async function churn(on: Shaken, hollow: Hollow, service: string, next: () => boolean): Promise<void> {
  while (next()) {
    const { kills, attacher } = on;
    try {
      await attacher.attach(hollow, service);
      await attacher.detach(hollow);
    } catch (error) {
      if (on.kills === kills) throw error;
      // Whether it was attached when the agent was killed is for the next agent to say.
      await on.up;
      await until(
        `${hollow.name} is detached`,
        async () => {
          await attacher.detach(hollow).catch(() => undefined);
          return attacher.list().catch(() => [hollow.name]);
        },
        (names) => !names.includes(hollow.name),
      );
    }
  }
}

/** Namespace → lines. */
type Everything = Readonly<Record<string, readonly string[]>>;

/** What is configured in each namespace, the nodes' own among them, as lines. */
async function everything(kernel: LinuxKernel): Promise<Everything> {
  const found: Record<string, readonly string[]> = { node1: linesOf(await kernel.own.observe()) };
  for (const name of namespaces()) {
    try {
      const namespace = await kernel.openNamespace(`/run/netns/${name}`);
      if (namespace === undefined) continue;
      found[name] = linesOf(await namespace.observe());
      namespace.close();
    } catch (error) {
      // One that is being removed is a plain file for a moment.
      found[name] = [String(error)];
    }
  }
  return found;
}

/** Lines that are there too much, and too little. */
function differences(before: Everything, now: Everything): readonly string[] {
  const flat = (all: Everything) =>
    Object.entries(all).flatMap(([name, lines]) => [name, ...lines.map((line) => `${name}: ${line}`)]);
  const [old, current] = [flat(before), flat(now)];
  return [
    ...current.filter((line) => !old.includes(line)).map((line) => `+ ${line}`),
    ...old.filter((line) => !current.includes(line)).map((line) => `- ${line}`),
  ];
}

/** Without the addresses that the kernel gives to each link itself, some time after it came up. */
function linesOf({ links, addresses, routes, neighbours, forwarding }: Observed): readonly string[] {
  return [
    ...links.map(({ name, kind, up, master }) => ({ name, kind, up, master })),
    ...addresses.filter(({ address }) => !address.startsWith('fe80')),
    ...routes.filter(({ destination }) => !destination.startsWith('fe80')),
    ...neighbours,
    ...forwarding,
  ]
    .map((one) => JSON.stringify(one))
    .sort();
}

function openCount({ pid }: Node): number {
  return descriptors(pid).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

t.test('a thousand containers come and go', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab({ nodes: 2 });
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const bare = await everything(kernel);
  await createClient(mesh.node(1).socket).post('/vipmesh/stacks/churn', { File: 'churn', Text: STACK });
  const shaken = mesh.nodes.map((node) => new Shaken(node));
  const [keepers, comers] = await containers(t, shaken);
  const addresses = await Promise.all(
    keepers.map(async ({ hollow, on }) => (await on.attacher.attach(hollow, 'churn_keeper'))[0]?.address ?? ''),
  );
  const netns = keepers.map(({ hollow }) => openNetns(hollow.path));
  const servers = netns.map((one) => serveTcp(one, PORT));
  t.teardown(() => {
    for (const fd of [...servers, ...netns]) close(fd);
  });

  /** The keepers find each other, and the agents have nothing more than them. */
  const isAsBefore = async (t: Test, before: Everything) => {
    for (const { node, attacher } of shaken) {
      await until(
        `${node.name} knows the keepers only`,
        () => endpointsOf(node),
        (all) => all.length === 2 * keepers.length,
      );
      t.equal((await attacher.list()).length, 1, `${node.name} has one container`);
    }
    await until(
      'the kernel has what it had',
      async () => differences(before, await everything(kernel)),
      (lines) => lines.length === 0,
    );
    for (const [from, to] of [
      [0, 1],
      [1, 0],
    ] as const)
      t.match(tryTcp(netns[from] ?? -1, addresses[to] ?? '', PORT, servers[to]), ' met at ');
  };
  const run = (service: string, count: number) => {
    let begun = 0;
    const next = () => begun++ < count;
    const all = comers.map(({ hollow, on }) => churn(on, hollow, service, next));
    return { begun: () => begun, ended: Promise.all(all) };
  };

  await until(
    'each knows the other',
    () => Promise.all(mesh.nodes.map((node) => endpointsOf(node))),
    (all) => all.every((list) => list.length === 2 * keepers.length),
  );
  t.match(tryTcp(netns[0] ?? -1, addresses[1] ?? '', PORT, servers[1]), ' met at ');
  const before = await everything(kernel);
  const held = mesh.nodes.map(openCount);

  await t.test('in peace', async (t) => {
    await run('churn_inner', QUIET).ended;
    await isAsBefore(t, before);
    for (const [index, node] of mesh.nodes.entries())
      await until(
        `${node.name} has no descriptor left over`,
        () => openCount(node),
        (now) => now <= (held[index] ?? 0),
      );
  });

  const seed = Number(process.env.VIPMESH_SEED ?? randomInt(1_000_000));
  await t.test(`while agents are killed (again with VIPMESH_SEED=${seed})`, async (t) => {
    const dice = new Dice(seed);
    const { begun, ended } = run('churn_outer', KILLING);
    for (let kill = 0; kill < KILLS; kill++) {
      await until('it goes on', begun, (count) => count >= (kill * KILLING) / KILLS);
      await later(dice.below(MAX_DELAY_MS));
      await dice.pick(shaken as [Shaken, ...Shaken[]]).kill();
    }
    await ended;
    await isAsBefore(t, before);
  });

  await t.test('and the last ones', async (t) => {
    await Promise.all(keepers.map(({ hollow, on }) => on.attacher.detach(hollow)));
    const hollow = [...keepers, ...comers].map(({ hollow: { name } }) => name);
    const own = (all: Everything) => Object.fromEntries(Object.entries(all).filter(([name]) => !hollow.includes(name)));
    await until(
      'nothing is left on the nodes',
      async () => differences(bare, own(await everything(kernel))),
      // Each agent keeps its bridge to the outside until it ends.
      (lines) => lines.every((line) => line.includes('"vmeg-')),
    );
    const now = await everything(kernel);
    for (const name of hollow) t.same(now[name], now[hollow[0] ?? ''], `${name} is as bare as the others`);
    t.equal(now[hollow[0] ?? '']?.length, 3, 'a loopback with its addresses');
  });
  await mesh.down();
});

interface Placed {
  readonly hollow: Hollow;
  readonly on: Shaken;
}

/** One for each node that stays, and those that come and go. */
async function containers(t: Test, nodes: readonly Shaken[]): Promise<readonly [readonly Placed[], readonly Placed[]]> {
  const place = async (kind: string, count: number) => {
    const placed = await Promise.all(
      nodes.map(async (on) => {
        const names = Array.from({ length: count }, (_, index) => `${kind}${index + 1}-${on.node.name}`);
        return (await makeHollows(names)).map((hollow) => ({ hollow, on }));
      }),
    );
    return placed.flat();
  };
  const [keepers, comers] = [await place('keeper', 1), await place('comer', WIDTH)];
  t.teardown(() => removeHollows([...keepers, ...comers].map(({ hollow }) => hollow)));
  return [keepers, comers];
}
