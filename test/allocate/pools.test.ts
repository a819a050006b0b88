import fc from 'fast-check';
import t from 'tap';
import { ID_BYTES, idFromBytes } from '../../src/allocate/ids.ts';
import { nextPublishedPort } from '../../src/allocate/published-ports.ts';
import { nextSubnet, SUBNET_POOLS, type SubnetPool, ulaSubnet } from '../../src/allocate/subnets.ts';
import { nextVni, VNI_RANGE } from '../../src/allocate/vnis.ts';
import { parseSubnet, type Subnet, subnetsOverlap } from '../../src/model/address.ts';
import type { NetworkId } from '../../src/model/network.ts';

const subnets = (...texts: string[]): readonly Subnet[] => texts as Subnet[];

t.test('next subnet', async (t) => {
  const { overlay, local } = SUBNET_POOLS;
  const cases: readonly (readonly [string, SubnetPool, readonly Subnet[], string, string?])[] = [
    ['the first', overlay, [], '10.64.0.0/24'],
    ['behind those in use', overlay, subnets('10.64.0.0/24', '10.64.1.0/24'), '10.64.2.0/24'],
    ['in a gap', overlay, subnets('10.64.0.0/24', '10.64.2.0/24'), '10.64.1.0/24'],
    ['behind a larger one', overlay, subnets('10.64.0.0/16'), '10.65.0.0/24'],
    ['behind a smaller one', overlay, subnets('10.64.0.128/25'), '10.64.1.0/24'],
    ['in spite of those elsewhere', overlay, subnets('172.17.0.0/16', 'fd00::/64', '10.0.0.0/11'), '10.64.0.0/24'],
    ['right beside the pool', overlay, subnets('10.63.255.0/24', '10.128.0.0/24'), '10.64.0.0/24'],
    ['behind one that begins before the pool', overlay, subnets('10.0.0.0/9'), '10.0.0.0/9'],
    ['behind the last one', overlay, subnets('10.64.0.0/24'), '10.64.8.0/24', '10.64.7.0/24'],
    ['from the start again', overlay, subnets('10.64.0.0/24'), '10.64.1.0/24', '10.127.255.0/24'],
    ['local: the first', local, [], '127.64.0.0/16'],
    ['local: behind those in use', local, subnets('127.64.0.0/16', '127.65.4.0/24'), '127.66.0.0/16'],
  ];
  for (const [name, pool, taken, expected, last] of cases) {
    if (taken[0] === '10.0.0.0/9') {
      t.throws(
        () => nextSubnet(pool, taken),
        { code: 'subnets-exhausted', message: /10\.64\.0\.0\/10 .* all 16384/ },
        name,
      );
    } else {
      t.equal(nextSubnet(pool, taken, last as Subnet | undefined), expected, name);
    }
  }
});

t.test('all 64 local networks, then an error', async (t) => {
  const taken: Subnet[] = [];
  for (let i = 0; i < 64; i++) taken.push(nextSubnet(SUBNET_POOLS.local, taken, taken.at(-1)));
  t.equal(new Set(taken).size, 64);
  t.equal(taken.at(-1), '127.127.0.0/16');
  t.throws(() => nextSubnet(SUBNET_POOLS.local, taken), { code: 'subnets-exhausted', message: /remove networks/ });
});

t.test('property: a new subnet overlaps none in use, whatever their sizes', async () => {
  const anySubnet = fc
    .tuple(fc.nat(255), fc.nat(255), fc.integer({ min: 12, max: 30 }))
    .map(([b, c, length]) => parseSubnet(`10.${64 + (b % 64)}.${c}.77/${length}`) as Subnet);
  fc.assert(
    fc.property(fc.array(anySubnet, { maxLength: 40 }), fc.option(anySubnet, { nil: undefined }), (taken, last) => {
      const found = nextSubnet(SUBNET_POOLS.overlay, taken, last);
      return parseSubnet(found) === found && taken.every((other) => !subnetsOverlap(found, other));
    }),
  );
});

t.test('IPv6 subnets come from the network id', async (t) => {
  const id = '0123456789abcdefghijklmno' as NetworkId;
  const first = ulaSubnet(id, []);
  t.match(first, /^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
  t.equal(ulaSubnet(id, []), first, 'always the same');
  t.not(ulaSubnet('1123456789abcdefghijklmno' as NetworkId, []), first, 'another network, another subnet');
  t.notOk(subnetsOverlap(ulaSubnet(id, [first]), first), 'another one when it is in use');
  t.throws(() => ulaSubnet(id, ['fd00::/8' as Subnet]), { code: 'subnets-exhausted' });
});

t.test('VNIs', async (t) => {
  t.equal(nextVni(new Set()), 4096);
  t.equal(nextVni(new Set([4096, 4097])), 4098);
  t.equal(nextVni(new Set([4096]), 5000), 5001, 'a freed one rests');
  t.equal(nextVni(new Set([4096]), 2 ** 24 - 1), 4097, 'from the start again');
  t.equal(nextVni(new Set(), 7), VNI_RANGE.first, 'a last one below the range means nothing');
});

t.test('published ports', async (t) => {
  t.equal(nextPublishedPort('tcp', new Set()), 30000);
  t.equal(nextPublishedPort('tcp', new Set([30000, 30001])), 30002);
  t.equal(nextPublishedPort('tcp', new Set(), 30005), 30006);
  t.equal(nextPublishedPort('udp', new Set([30000]), 32767), 30001);
  const all = new Set(Array.from({ length: 2768 }, (_, i) => 30000 + i));
  t.throws(() => nextPublishedPort('udp', all, 30100), {
    code: 'published-ports-exhausted',
    message: 'all udp ports from 30000 to 32767 are published; name a published port yourself (-p PUBLISHED:TARGET)',
  });
  all.delete(31111);
  t.equal(nextPublishedPort('udp', all, 32000), 31111, 'the only free one is found');
});

t.test('ids', async (t) => {
  t.equal(idFromBytes(new Uint8Array(16)), '0'.repeat(25));
  t.equal(idFromBytes(new Uint8Array(16).fill(255)), 'f5lxx1zz5pnorynqglhzmsp33', 'the largest still has 25 digits');
  t.throws(() => idFromBytes(new Uint8Array(15)), RangeError);
  const bytes = fc.uint8Array({ minLength: ID_BYTES, maxLength: ID_BYTES });
  fc.assert(fc.property(bytes, (random) => /^[0-9a-z]{25}$/.test(idFromBytes(random))));
  fc.assert(fc.property(bytes, bytes, (a, b) => (idFromBytes(a) === idFromBytes(b)) === (Buffer.compare(a, b) === 0)));
});
