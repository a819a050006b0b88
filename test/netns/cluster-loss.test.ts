// M3: a fifth of the packets of a node is lost, in either direction, and the CPUs are busy: nobody is suspected, nothing is removed.
import { mayHaveLab, type Node, startLab } from './support/lab.ts';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { inNetns } from '../../src/native/netns.ts';
import { endWithProcess } from '../support/agent.ts';
import { does, namesOf, publishWeb, statesOf, tasksOf, WEB } from './support/lab-mesh.ts';
import { startServer, until } from './support/tasks.ts';

/** Three leases; longer by hand: VIPMESH_LOSS_S=600. */
const LOSSES_S = Number(process.env.VIPMESH_LOSS_S ?? 30);

const NEIGHBOURS = '/proc/sys/net/ipv4/neigh';

/** Takes all the CPU that it gets. */
function startHog(): ChildProcess {
  const hog = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  endWithProcess(() => hog.kill('SIGKILL'));
  return hog;
}

async function metric(node: Node, name: string): Promise<number> {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await node.metrics())?.[1]);
}

/** Half a minute has as many neighbour entries that grow old as a quarter of an hour has usually. */
function agesFast({ netns }: Node): void {
  inNetns(netns, () => {
    for (const device of readdirSync(NEIGHBOURS)) {
      writeFileSync(join(NEIGHBOURS, device, 'base_reachable_time_ms'), '1000');
      writeFileSync(join(NEIGHBOURS, device, 'delay_first_probe_time'), '1');
    }
  });
}

t.test('M3: loss and no CPU remove nobody', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await publishWeb(mesh, [two, three]);
  await does(one, 'service', 'create', '--name', 'own');
  const task = await startServer(two.runner, 'own');
  await until(
    'the task is known',
    () => tasksOf(one, 'own'),
    (list) => list.length === 1,
  );
  const own = await tasksOf(one, 'own');
  const suspicions = () => Promise.all(mesh.nodes.map((node) => metric(node, 'vipmesh_node_suspicions_total')));
  // On a machine that is busy with the start of everything, somebody may have been late.
  const before = await suspicions();
  for (const node of mesh.nodes) agesFast(node);
  two.lose(20);
  const hogs = Array.from({ length: availableParallelism() }, startHog);
  const began = Date.now();
  const wrong: string[] = [];
  while (Date.now() - began < LOSSES_S * 1000) {
    const states = await statesOf(one);
    if (states !== 'node1 ready, node2 ready, node3 ready') wrong.push(states);
    const names = (await namesOf(three, `tasks.${WEB}`)).join();
    if (names !== [two.address, three.address].sort().join()) wrong.push(names);
    const tasks = (await tasksOf(three, 'own')).join();
    if (tasks !== own.join()) wrong.push(tasks);
  }
  t.same(wrong, [], 'all are ready, all the time');
  t.same(await suspicions(), before, 'nobody suspects anybody');
  for (const hog of hogs) {
    const ended = once(hog, 'exit');
    hog.kill('SIGKILL');
    await ended;
  }
  two.lose(0);
  t.equal(task.run.exitCode, null);
  await mesh.down();
});
