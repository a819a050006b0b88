// Who reaches whom: containers of six networks on three nodes, each pair by address, by VIP and by name; and what of it passes
// between the nodes.
import './support/postgres.ts';
import { mayHaveLab, startLab, type Lab } from './support/lab.ts';
import t, { type Test } from 'tap';
import { closeNetns, openNetns } from '../../src/native/netns.ts';
import { close } from '../../src/native/libc.ts';
import { createClient } from '../../src/api/client.ts';
import { hasWaiting, isConnected, knock, serveTcp, tryTcp } from '../support/netns.ts';
import { needsPrograms } from '../support/requirements.ts';
import { api, lookup, summary } from './support/clients.ts';
import { Capture } from './support/frames.ts';
import { Attacher, type Hollow, makeHollows, type Place, removeHollows } from './support/hollow.ts';
import { endpointsOf } from './support/lab-mesh.ts';
import { postgresCommand } from './support/postgres.ts';
import { spawnRun, startServer, until } from './support/tasks.ts';

/** Stack → its network `back`. Two have the same addresses, and one has those of the nodes. */
const NETWORKS = {
  red: 'internal: true, ipam: {config: [{subnet: 10.90.0.0/24}]}',
  blue: 'internal: true, ipam: {config: [{subnet: 10.90.0.0/24}]}',
  green: 'ipam: {config: [{subnet: 198.18.0.0/24}]}',
  grey: 'internal: true, enable_ipv6: true, ipam: {config: [{subnet: 10.92.0.0/24}, {subnet: "fd00:92::/64"}]}',
  gold: 'internal: true, ipam: {config: [{subnet: 10.93.0.0/24}]}',
  teal: 'internal: true, ipam: {config: [{subnet: 10.94.0.0/24}]}',
} as const;
const STACKS = Object.keys(NETWORKS) as readonly (keyof typeof NETWORKS)[];
const PER_NETWORK = 5;
const FIRST_PORT = 20_000;
/** The last container of this stack is on the network of that one, too. */
const BOTH = { stack: 'teal', also: 'gold' } as const;
const VNI = 'com.docker.network.driver.overlay.vxlanid_list';

interface Container extends Hollow {
  /** Its own service, of which it is the only task. */
  readonly service: string;
  readonly places: readonly Place[];
  /** Network → address. */
  readonly vips: ReadonlyMap<string, string>;
  /** Nobody else listens on it. */
  readonly port: number;
  readonly server: number;
  readonly netns: number;
}

function stackOf(stack: keyof typeof NETWORKS): string {
  const services = Array.from({ length: PER_NETWORK }, (_, index) => {
    const both = stack === BOTH.stack && index === PER_NETWORK - 1;
    return `  s${index + 1}: {networks: [back${both ? ', more' : ''}]}\n`;
  });
  const more = stack === BOTH.stack ? `  more: {external: true, name: ${BOTH.also}_back}\n` : '';
  return `services:\n${services.join('')}networks:\n  back: {driver: overlay, attachable: true, ${NETWORKS[stack]}}\n${more}`;
}

async function makeContainers(t: Test, mesh: Lab): Promise<readonly Container[]> {
  const [one] = mesh.nodes;
  if (one === undefined) return [];
  const client = createClient(one.socket);
  for (const stack of STACKS) await client.post(`/vipmesh/stacks/${stack}`, { File: stack, Text: stackOf(stack) });
  const names = STACKS.flatMap((stack) => Array.from({ length: PER_NETWORK }, (_, i) => `${stack}_s${i + 1}`));
  const hollows = await makeHollows(names);
  t.teardown(() => removeHollows(hollows));
  const vips = await vipsOf(one.socket);
  return Promise.all(
    hollows.map(async (hollow, index) => {
      // So that no two networks are spread alike.
      const node = mesh.node(((index + Math.floor(index / PER_NETWORK)) % mesh.nodes.length) + 1);
      const places = await new Attacher(node.socket).attach(hollow, hollow.name);
      const [netns, port] = [openNetns(hollow.path), FIRST_PORT + index];
      const server = serveTcp(netns, port);
      t.teardown(() => {
        close(server);
        closeNetns(netns);
      });
      return { ...hollow, service: hollow.name, places, vips: vips.get(hollow.name) ?? new Map(), port, server, netns };
    }),
  );
}

async function vipsOf(socket: string): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const [networks, services] = await Promise.all([
    api<readonly { readonly Id: string; readonly Name: string }[]>(socket, '/networks'),
    api<
      readonly {
        readonly Spec: { readonly Name: string };
        readonly Endpoint: { readonly VirtualIPs: readonly { readonly NetworkID: string; readonly Addr: string }[] };
      }[]
    >(socket, '/services'),
  ]);
  const nameOf = new Map(networks.map(({ Id, Name }) => [Id, Name]));
  return new Map(
    services.map(({ Spec, Endpoint }) => [
      Spec.Name,
      new Map(
        Endpoint.VirtualIPs.filter(({ Addr }) => !Addr.includes(':')).map(({ NetworkID, Addr }) => [
          nameOf.get(NetworkID) ?? '',
          Addr.split('/')[0] ?? '',
        ]),
      ),
    ]),
  );
}

async function vnisOf(socket: string): Promise<ReadonlyMap<string, number>> {
  const networks = await api<readonly { readonly Name: string; readonly Options: Readonly<Record<string, string>> }[]>(
    socket,
    '/networks',
  );
  return new Map(networks.flatMap(({ Name, Options }) => (VNI in Options ? [[Name, Number(Options[VNI])]] : [])));
}

function networksOf({ places }: Container): ReadonlySet<string> {
  return new Set(places.map(({ network }) => network));
}

/** The model: what the target has on a network is for those who are on it, and for nobody else. */
function mayReach(from: Container, network: string): boolean {
  return networksOf(from).has(network);
}

/** Network and address of everything at which the target can be had, by address and by VIP. */
function waysTo(target: Container): readonly Place[] {
  const vips = [...target.vips].map(([network, address]) => ({ network, address }));
  return [...target.places, ...vips];
}

t.test('containers of six networks on three nodes', async (t) => {
  if (!needsPrograms(t, 'postgres', 'initdb', 'psql') || !(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const all = await makeContainers(t, mesh);
  const first = mesh.node(1);
  for (const node of mesh.nodes)
    await until(
      `${node.name} knows all of them`,
      () => endpointsOf(node),
      (list) => list.filter(({ Eligible }) => Eligible).length === all.length + 1,
    );
  const isVipFor = (from: Container, address: string) =>
    all.some(({ vips }) => [...vips].some(([network, vip]) => vip === address && mayReach(from, network)));
  const vnis = await vnisOf(first.socket);
  t.equal(new Set(vnis.values()).size, STACKS.length, 'each network has a number of its own');
  t.equal(
    all.flatMap(({ places }) => places).length,
    5 * PER_NETWORK + 2 * PER_NETWORK + 1,
    'one has two networks, and five have two addresses',
  );
  const underlay = watchUnderlay(t);

  await t.test('reach each other by address and by VIP where they share a network, over that network', async (t) => {
    const surprises: string[] = [];
    let tried = 0;
    for (const from of all) {
      underlay.read();
      for (const to of all)
        for (const { network, address } of waysTo(to)) {
          if (!mayReach(from, network)) continue;
          const met = tryTcp(from.netns, address, to.port, to.server);
          tried++;
          if (!/ met at /.test(met)) surprises.push(`${from.name} to ${to.name} at ${address}: ${met}`);
        }
      const allowed = [...networksOf(from)].map((network) => vnis.get(network));
      const used = underlay.read();
      t.ok(
        [...used].every((vni) => allowed.includes(vni)),
        `${from.name}: ${[...used]} of ${allowed}`,
      );
      t.ok(used.size > 0, 'others are on other nodes');
    }
    t.same(surprises, []);
    t.ok(tried > 300, `${tried} pairs`);
  });

  await t.test('and nowhere else', async (t) => {
    const knocks = all.flatMap((from) =>
      all.flatMap((to) =>
        waysTo(to)
          .filter(({ network }) => !mayReach(from, network))
          .map(({ address }) => ({ from, to, address, fd: knock(from.netns, address, to.port) })),
      ),
    );
    t.teardown(() => {
      for (const { fd } of knocks) close(fd);
    });
    // Whoever was sent before them would have been there before they are.
    for (const from of all) {
      const to = all.find((other) => other !== from && mayReach(from, other.places[0]?.network ?? ''));
      t.match(tryTcp(from.netns, to?.places[0]?.address ?? '', to?.port ?? 0, to?.server), ' met at ', from.name);
    }
    t.same(
      // One of its own networks may have the same VIP, which lets in, and then finds nobody on that port.
      knocks
        .filter(({ from, address, fd }) => isConnected(fd) && !isVipFor(from, address))
        .map(({ from, to, address }) => `${from.name} to ${to.name} at ${address}`),
      [],
    );
    t.same(
      all.filter(({ server }) => hasWaiting(server)).map(({ name }) => name),
      [],
      'nobody was reached',
    );
    t.ok(knocks.length > 1500, `${knocks.length} pairs`);
  });

  await t.test('by name: who shares no network does not know it', async (t) => {
    const surprises: string[] = [];
    for (const from of all)
      for (const to of all) {
        const known = [...networksOf(from)].find((network) => to.vips.has(network));
        const expected = known === undefined ? 'NXDOMAIN aa ra | SOA' : `NOERROR aa ra | ${to.vips.get(known)}`;
        const answer = summary(await lookup(from.netns, to.service));
        if (answer !== expected) surprises.push(`${from.name} asks for ${to.service}: ${answer}, not ${expected}`);
      }
    t.same(surprises, []);
    for (const from of all) {
      const own = all.find(({ service }) => service === `${from.service.split('_')[0]}_s1`);
      const [network] = from.places.map((place) => place.network);
      const vip = own?.vips.get(network ?? '') ?? '';
      t.equal(
        summary(await lookup(from.netns, 's1')),
        `NOERROR aa ra | ${vip}`,
        `${from.name}: one name in six stacks`,
      );
    }
  });

  await t.test('PostgreSQL on one node, psql by its name on another', (t) => psqlAcross(t, mesh));

  await t.test('between the nodes there are tunnels, and nothing of what is in them', async (t) => {
    underlay.read();
    t.same([...underlay.inner], ['unicast'], 'nobody calls out in a tunnel');
    t.ok(underlay.plain.size > 0, 'the nodes themselves talk to each other and to the store');
    const nodes = mesh.nodes.map(({ address }) => address);
    const isOfNodes = (address: string) =>
      nodes.includes(address) || /^(fe80|ff02)::/.test(address) || address === '::';
    t.same(
      [...underlay.plain].filter((line) => !line.split(' ').slice(1).every(isOfNodes)),
      [],
    );
  });
  await mesh.down();
});

interface Underlay {
  /** What was in tunnels. */
  readonly inner: ReadonlySet<string>;
  /** `ARP 198.18.0.1 198.18.0.2`: what was not, each once. */
  readonly plain: ReadonlySet<string>;
  /** The networks of what has passed since this was last asked. */
  read(): ReadonlySet<number>;
}

/** Everything that passes between the nodes. */
function watchUnderlay(t: Test): Underlay {
  const netns = openNetns('/run/netns/vmlab-lab-switch');
  const capture = new Capture(netns);
  t.teardown(() => {
    capture.close();
    closeNetns(netns);
  });
  const [inner, plain] = [new Set<string>(), new Set<string>()];
  const read = () => {
    const captured = capture.read();
    for (const frame of captured.frames) inner.add(frame.inner);
    for (const { kind, addresses } of captured.plain) plain.add([kind, ...addresses].join(' '));
    return new Set(captured.frames.map(({ vni }) => vni));
  };
  return { inner, plain, read };
}

const SHOP = `services:
  postgres: {networks: [back], expose: ["5432"], x-vipmesh: {health: {tcp: 5432, interval: 100ms}}}
  app: {networks: [back]}
networks:
  back: {driver: overlay, attachable: true, ipam: {config: [{subnet: 10.95.0.0/24}]}}
`;

async function psqlAcross(t: Test, mesh: Lab): Promise<void> {
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await createClient(one.socket).post('/vipmesh/stacks/shop', { File: 'shop', Text: SHOP });
  spawnRun(two.runner, ['--service', 'shop_postgres', '--', ...postgresCommand()]);
  const app = await startServer(three.runner, 'shop_app');
  const [server] = await until(
    'the database is known to be well on the other node',
    async () => (await endpointsOf(three)).filter(({ Service, Eligible }) => Service === 'shop_postgres' && Eligible),
    (found) => found.length === 1,
  );
  const vip = (await vipsOf(one.socket)).get('shop_postgres')?.get('shop_back');
  t.equal(summary(await lookup(app.netns, 'postgres')), `NOERROR aa ra | ${vip}`);
  t.not(server?.Address, vip);
  const inApp = (...command: string[]) => three.cli('run', '--service', 'shop_app', '--', ...command);
  const psql = (sql: string) => inApp('psql', '-h', 'postgres', '-U', 'postgres', '-Atc', sql);
  t.match(await psql('select host(inet_server_addr()), inet_server_port()'), {
    code: 0,
    stdout: `${server?.Address}|5432\n`,
  });
  t.match(await psql("create table big as select repeat('x', 1000) as line from generate_series(1, 5000)"), {
    code: 0,
  });
  const counted = await inApp('sh', '-c', "psql -h postgres -U postgres -Atc 'select line from big' | wc -c");
  t.equal(counted.stdout.trim(), String(5000 * 1001), 'five megabytes through the tunnel');
}
