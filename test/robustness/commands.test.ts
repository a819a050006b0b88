// 10,000 random commands while the data plane runs: what does not concern a connection leaves it alone, and when all is removed
// nothing is left: no listener, descriptor, name, number or record.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import type { IpAddress, Subnet } from '../../src/model/address.ts';
import type { PortNumber } from '../../src/model/port.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { unusedPort } from '../support/ports.ts';
import { bytesInUse } from '../support/memory.ts';
import { openDescriptors } from '../support/tcp-rig.ts';
import { type MeshWorld, openMeshWorld } from './support/mesh-world.ts';
import { RandomCommands } from './support/random-commands.ts';

const SEED = 20_260_811;
const COMMANDS = 10_000;
/** The mesh works on while commands are made; now and then it is waited for, as an agent under less load would be. */
const SETTLE_EVERY = 20;
const MOST_GROWTH = 2 * 1024 * 1024;
const BYSTANDER = 'bystander';

t.comment(`seed ${SEED}`);

t.test(`${COMMANDS} random commands`, async (t) => {
  const random = seededRandom(SEED);
  const world = await openMeshWorld(t, { workers: 2, privileged: false, random });
  const bystander = await openBystander(world);
  t.equal(await bystander.hear('before'), 'before');
  const stayed = () => world.store.list('').then(({ entries }) => entries.map(({ key }) => key).sort());
  const [records, known, descriptors] = [await stayed(), world.known(), openDescriptors().length];
  const commands = new RandomCommands(world, {
    driver: 'local',
    subnets: Array.from({ length: 6 }, (_, i) => `127.120.${i}.0/25` as Subnet),
    endpoints: Array.from({ length: 12 }, (_, i) => `127.122.0.${i + 1}` as IpAddress),
    spared: BYSTANDER,
    random,
  });

  let halfWay = 0;
  for (let made = 1; made <= COMMANDS; made++) {
    await commands.step();
    if (made % SETTLE_EVERY === 0) await world.settled();
    if (made !== COMMANDS / 2) continue;
    await commands.removeAll();
    await world.settled();
    halfWay = bytesInUse();
  }
  const { done, refused } = commands.tally;
  t.comment(`${done} done, refused: ${JSON.stringify(Object.fromEntries(refused))}`);
  t.ok(done > COMMANDS / 3, 'many were done');
  t.ok([...refused.values()].reduce((sum, count) => sum + count, 0) > COMMANDS / 50, 'some were refused');
  t.equal(await bystander.hear('after'), 'after', 'a connection that nothing concerned goes on');

  await commands.removeAll();
  await world.settled();
  t.equal(bytesInUse() - halfWay < MOST_GROWTH, true, `${bytesInUse() - halfWay} bytes more than half way`);
  t.same(await stayed(), records, 'records');
  t.equal(world.mesh.listeners.all().length, bystander.frontends, 'listeners');
  while (openDescriptors().length > descriptors) await world.settled();
  t.equal(openDescriptors().length, descriptors, 'descriptors');
  t.same(sorted(world.known()), sorted(known), 'what workers are told');
  // Numbers are also held by what is not eligible, and while one thing takes the place of another; a leak would be in the hundreds.
  for (const [kind, { highest, most }] of Object.entries(world.numbers))
    t.ok(highest < 2 * most, `${kind}: highest number ${highest}, at most ${most} at once`);
  t.same(world.complaints.filter(isBug), [], 'nothing went wrong on the way');

  bystander.close();
  await world.close();
});

interface Bystander {
  readonly frontends: number;
  /** What comes back through the mesh. */
  hear(word: string): Promise<string>;
  close(): void;
}

/** A service that echoes, and a connection to its published port that stays open. */
async function openBystander({ control, mesh }: MeshWorld): Promise<Bystander> {
  const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await control.createNetwork({
    name: BYSTANDER,
    driver: 'local',
    subnets: ['127.123.0.0/24' as Subnet],
    ipv6: false,
    internal: false,
    attachable: true,
    labels: {},
    options: {},
  });
  const publishedPort = unusedPort() as PortNumber;
  await control.createService({
    name: BYSTANDER,
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'dnsrr',
    networks: [{ network: BYSTANDER, aliases: [] }],
    publish: [
      { protocol: 'tcp', mode: 'ingress', targetPort: 80 as PortNumber, publishedPort, hostAddress: '127.0.0.1' },
    ],
    expose: [],
    endpoints: [{ address: '127.0.0.1' as IpAddress, port }],
    health: 'none',
    drainTimeoutMs: 0,
  });
  await mesh.settled();
  const client: Socket = connect(publishedPort, '127.0.0.1').setEncoding('utf8');
  await once(client, 'connect');
  return {
    frontends: mesh.listeners.all().length,
    async hear(word) {
      client.write(word);
      return String((await once(client, 'data'))[0]);
    },
    close() {
      client.destroy();
      server.close();
    },
  };
}

function sorted(values: readonly unknown[]): readonly string[] {
  return values.map((value) => JSON.stringify(value)).sort();
}

/** That a port is taken by another program is no fault of ours. */
function isBug(line: string): boolean {
  return !line.startsWith('cannot listen; trying again');
}
