import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import {
  formatHostPort,
  type IpAddress,
  ipFromBigInt,
  ipFromBytes,
  ipToBigInt,
  ipToBytes,
  ipToMappedBytes,
  ipVersion,
  isLoopback,
  parseIp,
  parseSubnet,
  prefixLength,
  type Subnet,
  subnetAddress,
  subnetBase,
  subnetContains,
  subnetRange,
  subnetsOverlap,
} from '../../src/model/address.ts';

t.test('reading addresses', async (t) => {
  const cases: Readonly<Record<string, string | undefined>> = {
    '10.0.0.1': '10.0.0.1',
    '0.0.0.0': '0.0.0.0',
    '255.255.255.255': '255.255.255.255',
    '::': '::',
    '::1': '::1',
    'FD00:0:0:0::5': 'fd00::5',
    '2001:0db8:0000:0000:0001:0000:0000:0001': '2001:db8::1:0:0:1',
    '1:0:0:2:0:0:0:3': '1:0:0:2::3',
    '1:2:3:4:5:6:7::': '1:2:3:4:5:6:7:0',
    '::ffff:10.0.0.1': '10.0.0.1',
    '::ffff:a00:1': '10.0.0.1',
    '64:ff9b::10.0.0.1': '64:ff9b::a00:1',
    '10.0.0': undefined,
    '10.0.0.256': undefined,
    '10.0.0.1.1': undefined,
    '010.0.0.1': undefined,
    '10.0.0.01': undefined,
    '0x10.0.0.1': undefined,
    '1': undefined,
    '': undefined,
    ' 10.0.0.1': undefined,
    '10.0.0.1 ': undefined,
    '10.0.0.1/24': undefined,
    'fe80::1%eth0': undefined,
    ':': undefined,
    ':::': undefined,
    '1::2::3': undefined,
    '12345::': undefined,
    'g::': undefined,
    '1:2:3:4:5:6:7:8:9': undefined,
    '1:2:3:4:5:6:7': undefined,
    '::1.2.3': undefined,
    '::1.2.3.256': undefined,
    '[::1]': undefined,
    localhost: undefined,
  };
  for (const [text, expected] of Object.entries(cases)) t.equal(parseIp(text), expected, JSON.stringify(text));
});

t.test('reading subnets', async (t) => {
  const cases: Readonly<Record<string, string | undefined>> = {
    '10.64.7.9/24': '10.64.7.0/24',
    '10.64.7.9/32': '10.64.7.9/32',
    '0.0.0.0/0': '0.0.0.0/0',
    '127.64.1.2/10': '127.64.0.0/10',
    'FD00::5/64': 'fd00::/64',
    '::/0': '::/0',
    'fd00::5/128': 'fd00::5/128',
    '10.64.7.0': undefined,
    '10.64.7.0/33': undefined,
    '10.64.7.0/': undefined,
    '10.64.7.0/-1': undefined,
    '10.64.7.0/024': undefined,
    '10.64.7.0/2.0': undefined,
    'fd00::/129': undefined,
    '/24': undefined,
    '': undefined,
    '::ffff:10.0.0.0/24': undefined,
    '::ffff:10.0.0.0/104': undefined,
  };
  for (const [text, expected] of Object.entries(cases)) t.equal(parseSubnet(text), expected, JSON.stringify(text));
});

const v4 = fc.ipV4() as fc.Arbitrary<string>;
const v6 = fc.oneof(
  fc.ipV6(),
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => hextets(bytes)),
  // Long runs of zeroes, where RFC 5952 has its rules.
  fc
    .array(fc.constantFrom('0', '0', '0', '1', 'ab', 'ffff'), { minLength: 8, maxLength: 8 })
    .map((parts) => parts.join(':')),
);
const anyAddress = fc.oneof(v4, v6);

t.test('property: canonical text is stable, and what node takes for an address is one', async () => {
  fc.assert(
    fc.property(anyAddress, (text) => {
      const address = parseIp(text);
      if (address === undefined) return false;
      return parseIp(address) === address && (ipVersion(address) === 4 ? isIPv4(address) : isIPv6(address));
    }),
  );
});

t.test('property: text is read as node reads it, or refused', async () => {
  const shapes = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'0123456789abcf:.'), maxLength: 24 }),
    fc
      .tuple(anyAddress, fc.nat(40), fc.constantFrom('', ':', '.', '0', '1', 'f', '::'))
      .map(([text, at, extra]) => text.slice(0, at) + extra + text.slice(at + 1)),
  );
  fc.assert(
    fc.property(shapes, (text) => (parseIp(text) !== undefined) === (isIPv4(text) || isIPv6(text))),
    { numRuns: 2000 },
  );
});

t.test('property: RFC 5952', async () => {
  fc.assert(
    fc.property(v6, (text) => {
      const address = parseIp(text);
      if (address === undefined) return false;
      if (ipVersion(address) === 4) return true;
      // The URL standard serialises an IPv6 host as RFC 5952 section 4 says.
      return `[${address}]` === new URL(`http://[${text}]/`).hostname;
    }),
  );
});

t.test('property: bytes, numbers and text say the same', async () => {
  fc.assert(
    fc.property(anyAddress, (text) => {
      const address = parseIp(text) as IpAddress;
      const version = ipVersion(address);
      return (
        ipFromBytes(ipToBytes(address)) === address &&
        ipFromBytes(ipToMappedBytes(address)) === address &&
        ipToMappedBytes(address).length === 16 &&
        ipFromBigInt(ipToBigInt(address), version) === address
      );
    }),
  );
});

t.test('property: a subnet holds its own addresses and no others', async () => {
  fc.assert(
    fc.property(anyAddress, fc.nat(128), fc.bigInt(0n, 2n ** 128n - 1n), (text, length, draw) => {
      const subnet = parseSubnet(`${text}/${length}`);
      if (subnet === undefined)
        return length > 32 || (text.includes(':') && ipVersion(parseIp(text) as IpAddress) === 4);
      const { base, size } = subnetRange(subnet);
      const bits = ipVersion(subnet) === 4 ? 32n : 128n;
      const inside = subnetAddress(subnet, draw % size);
      const behind = base + size;
      // ::ffff:0:0/96 is IPv4's, so a subnet that holds it hands out addresses of the other family there.
      if (ipVersion(inside) !== ipVersion(subnet)) return true;
      return (
        parseSubnet(subnet) === subnet &&
        prefixLength(subnet) === length &&
        ipToBigInt(subnetBase(subnet)) === base &&
        subnetContains(subnet, inside) &&
        (behind >> bits !== 0n || !subnetContains(subnet, ipFromBigInt(behind, ipVersion(subnet)))) &&
        (base === 0n || !subnetContains(subnet, ipFromBigInt(base - 1n, ipVersion(subnet))))
      );
    }),
    { numRuns: 500 },
  );
});

t.test('property: overlap means that one holds the other', async () => {
  const near = fc
    .tuple(
      fc.constantFrom('10.64.0.0', '10.64.0.128', '10.64.1.0', '10.65.0.0', 'fd00::', 'fd00::8000:0:0:0'),
      fc.integer({ min: 7, max: 32 }),
    )
    .map(([address, length]) => parseSubnet(`${address}/${length}`) as Subnet);
  fc.assert(
    fc.property(near, near, (a, b) => {
      const nested = subnetContains(a, subnetBase(b)) || subnetContains(b, subnetBase(a));
      return subnetsOverlap(a, b) === nested && subnetsOverlap(b, a) === nested;
    }),
  );
});

t.test('the small ones', async (t) => {
  t.equal(formatHostPort('10.0.0.1' as IpAddress, 80), '10.0.0.1:80');
  t.equal(formatHostPort('fd00::1' as IpAddress, 80), '[fd00::1]:80');
  t.ok(isLoopback('127.64.0.9' as IpAddress));
  t.ok(isLoopback('::1' as IpAddress));
  t.notOk(isLoopback('::2' as IpAddress));
  t.throws(() => subnetAddress('10.0.0.0/30' as Subnet, 4n), RangeError);
  t.throws(() => ipFromBytes(new Uint8Array(5)), RangeError);
});

function hextets(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < bytes.length; i += 2) parts.push((((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)).toString(16));
  return parts.join(':');
}
