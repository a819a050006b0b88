// Networks: what they are given, and every reason to be refused.
import t from 'tap';
import type { NetworkSpec } from '../../src/model/network.ts';
import { subnet } from '../support/builders.ts';
import { networkSpec, openWorld, refusal, serviceSpec } from './world.ts';

t.test('what a network is given', async (t) => {
  const { catalog, control } = await openWorld(t);
  const table: readonly (readonly [NetworkSpec, readonly string[], number | undefined])[] = [
    [networkSpec('a'), ['10.64.0.0/24'], 4096],
    [networkSpec('b'), ['10.64.1.0/24'], 4097],
    [networkSpec('c', { subnets: [subnet('10.64.0.0/16')] }), ['10.64.0.0/16'], 4098],
    [networkSpec('d'), ['10.65.0.0/24'], 4099],
    [networkSpec('e', { subnets: [subnet('fd00:1::/64')] }), ['10.65.1.0/24', 'fd00:1::/64'], 4100],
    [networkSpec('f', { driver: 'local' }), ['127.64.0.0/16'], undefined],
    [networkSpec('g', { driver: 'local', subnets: [subnet('127.66.0.0/24')] }), ['127.66.0.0/24'], undefined],
    [networkSpec('h', { driver: 'local' }), ['127.65.0.0/16'], undefined],
    [networkSpec('i', { driver: 'local' }), ['127.67.0.0/16'], undefined],
  ];
  for (const [spec, subnets, vni] of table) {
    const network = await control.createNetwork(spec);
    t.same([network.subnets, network.vni], [subnets, vni], `${spec.name} ${spec.subnets}`);
    t.same(catalog.snapshot.networks.get(network.id), network, 'the catalog shows it at once');
  }
  const { subnets } = await control.createNetwork(networkSpec('six', { ipv6: true }));
  t.match(subnets, [/^10\.65\.2\.0\/24$/, /^fd[0-9a-f:]+::\/64$/]);
  await control.removeNetwork('six');
  t.equal((await control.createNetwork(networkSpec('after'))).vni, 4102, 'a freed VNI rests');
});

t.test('refused', async (t) => {
  const { control, revision } = await openWorld(t);
  const network = await control.createNetwork(networkSpec('back'));
  await control.createNetwork(networkSpec('loop', { driver: 'local' }));
  for (const name of ['web', 'db', 'a', 'b', 'c', 'd'])
    await control.createService(serviceSpec(name, { networks: ['back'] }));
  const before = await revision();
  const create = (name: string, more: Partial<NetworkSpec> = {}) => control.createNetwork(networkSpec(name, more));
  const table: readonly (readonly [Promise<unknown>, RegExp])[] = [
    [
      create('back'),
      new RegExp(`^conflict: network back exists already \\(back, ${network.id.slice(0, 12)}\\); choose another name$`),
    ],
    [create('BACK'), /^conflict: network BACK exists already \(back, /],
    [create(''), /^invalid: the network name "" is empty$/],
    [create('a b'), /^invalid: the network name "a b" may hold only letters/],
    [
      create('x', { subnets: [subnet('10.0.0.0/24'), subnet('10.1.0.0/24')] }),
      /^invalid: network x: more than one IPv4 subnet; give one$/,
    ],
    [
      create('x', { subnets: [subnet('10.0.0.0/31')] }),
      /^invalid: network x: subnet 10\.0\.0\.0\/31 has no room; give a \/30 or larger$/,
    ],
    [create('x', { subnets: [subnet('fd00::/127')] }), /^invalid: .*has no room; give a \/126 or larger$/],
    [
      create('x', { subnets: [subnet('127.64.0.0/16')] }),
      /^invalid: network x: subnet 127\.64\.0\.0\/16 is loopback, which no container can reach; choose another$/,
    ],
    [
      create('x', { driver: 'local', ipv6: true }),
      /^invalid: network x: the driver local has no IPv6, because ::1 is the only address/,
    ],
    [
      create('x', { driver: 'local', subnets: [subnet('10.0.0.0/24')] }),
      /^invalid: network x: subnet 10\.0\.0\.0\/24 is not in 127\.0\.0\.0\/8, where the networks of the driver local live/,
    ],
    [
      create('x', { driver: 'local', subnets: [subnet('127.64.9.0/24')] }),
      /^conflict: network x: subnet 127\.64\.9\.0\/24 overlaps network loop \(127\.64\.0\.0\/16\); choose another, or leave it out$/,
    ],
    [
      create('x', { options: { dns_ttl: '2h' } }),
      /^invalid: network x: its option dns_ttl is "2h"; give whole seconds from 0 to 3600, such as 30s$/,
    ],
    [
      create('x', { options: { encrypted: '' } }),
      /^forbidden: network x asks to be encrypted, which the agent does not do yet; .*--allow-plaintext-overlays$/,
    ],
    [control.removeNetwork('back'), /^in-use: network back is used by .* and 1 more; remove those services first$/],
    [control.removeNetwork('bakc'), /^not-found: no network is called "bakc" \(did you mean "back"\?\)$/],
  ];
  for (const [command, expected] of table) t.match(await refusal(command), expected);
  t.equal(await revision(), before, 'none of them wrote anything');
  for (const name of ['web', 'db', 'a', 'b', 'c']) await control.removeService(name);
  t.match(
    await refusal(control.removeNetwork('back')),
    /^in-use: network back is used by d; remove that service first$/,
  );
  await control.removeService('d');
  t.equal(
    (await control.removeNetwork(network.id.slice(0, 8))).id,
    network.id,
    'then it goes, by the beginning of its id',
  );
});

t.test('an ordinary user', async (t) => {
  const { control, catalog } = await openWorld(t, { privileged: false });
  t.match(
    await refusal(control.createNetwork(networkSpec('x'))),
    /^forbidden: network x: the driver overlay needs an agent that runs as root; use the driver local, or start the agent as root$/,
  );
  await control.createService(serviceSpec('web'));
  const network = catalog.snapshot.networks.get(catalog.snapshot.networkByName.get('default') ?? ('' as never));
  t.match(
    network,
    { spec: { driver: 'local' }, subnets: ['127.64.0.0/16'] },
    'services go to a local network `default`',
  );
});

t.test('plain text where it was accepted', async (t) => {
  const { control } = await openWorld(t, { allowPlaintextOverlays: true });
  t.ok(await control.createNetwork(networkSpec('x', { options: { encrypted: 'true' } })));
});
