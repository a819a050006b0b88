// Random commands on overlay networks, with containers that come and go: when all is removed, the node's kernel is as it was.
import '../netns/support/node.ts';
import t from 'tap';
import type { IpAddress, Subnet } from '../../src/model/address.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { kernelState, mayBeNode, namespaces } from '../netns/support/node.ts';
import { openDescriptors } from '../support/tcp-rig.ts';
import { openMeshWorld } from './support/mesh-world.ts';
import { RandomCommands } from './support/random-commands.ts';

const SEED = 20_260_821;
const COMMANDS = 1000;
const SETTLE_EVERY = 20;

t.test(`${COMMANDS} random commands on overlay networks`, async (t) => {
  if (!(await mayBeNode(t))) return;
  t.comment(`seed ${SEED}`);
  const before = kernelState();
  const random = seededRandom(SEED);
  const world = await openMeshWorld(t, { workers: 2, privileged: true, random });
  const commands = new RandomCommands(world, {
    driver: 'overlay',
    subnets: Array.from({ length: 5 }, (_, i) => `10.66.${i}.0/25` as Subnet),
    endpoints: Array.from({ length: 12 }, (_, i) => `127.122.0.${i + 1}` as IpAddress),
    random,
  });
  // The first network and container bring along what stays: the node's scope, sockets to talk with the kernel.
  await commands.begin();
  await commands.removeAll();
  await world.settled();
  const [known, descriptors] = [world.known(), openDescriptors().length];
  let most = 0;
  for (let made = 1; made <= COMMANDS; made++) {
    await commands.step();
    if (made % SETTLE_EVERY !== 0) continue;
    await world.settled();
    most = Math.max(most, namespaces().length);
  }
  const { done, refused } = commands.tally;
  t.comment(`${done} done, refused: ${JSON.stringify(Object.fromEntries(refused))}; ${most} namespaces at most`);
  t.ok(done > COMMANDS / 3, 'many were done');
  t.ok(most > 5, 'networks and containers were there');
  t.same(world.mesh.overlayProblems, []);

  await commands.removeAll();
  await world.settled();
  t.same(namespaces(), before.namespaces, 'namespaces');
  t.equal(world.mesh.listeners.all().length, 0, 'listeners');
  t.same(world.known(), known, 'what workers are told');
  while (openDescriptors().length > descriptors) await world.settled();
  t.equal(openDescriptors().length, descriptors, 'descriptors');
  t.same(world.mesh.overlaySockets.ids(), []);
  t.same(world.complaints.filter(isBug), [], 'nothing went wrong on the way');
  await world.close();
  t.same(kernelState(), before, 'links, addresses, routes, namespaces, mounts');
});

/** A network whose service has left it goes with its last container, and a machine may be busy. */
function isBug(line: string): boolean {
  return !/^(a removed network is kept while it has containers|links of a container are slow to come up)/.test(line);
}
