import fc from 'fast-check';
import t from 'tap';
import { Admission } from '../../src/balancer/admission.ts';
import { type Access, parseSource } from '../../src/model/access.ts';
import { type IpAddress, ipVersion, parseIp, type Subnet, subnetContains } from '../../src/model/address.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';

function sockaddr(address: string, mapped = false): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(bytes, 0, address, 1, mapped);
  return bytes;
}

function sources(...texts: string[]): readonly Subnet[] {
  return texts.map((text) => parseSource(text) as Subnet);
}

t.test('who is let in', async (t) => {
  const table: readonly (readonly [Access, Readonly<Record<string, string>>])[] = [
    [
      { allow: sources('10.0.0.0/8', 'fd00::/8') },
      { '10.1.2.3': 'admitted', '11.0.0.1': 'denied', 'fd00::1': 'admitted', '::1': 'denied' },
    ],
    [{ deny: sources('10.0.0.7') }, { '10.0.0.7': 'denied', '10.0.0.6': 'admitted', '::1': 'admitted' }],
    [
      { allow: sources('10.0.0.0/8'), deny: sources('10.1.0.0/16') },
      { '10.1.0.1': 'denied', '10.2.0.1': 'admitted' },
    ],
    [{ allow: sources('0.0.0.0/0') }, { '1.2.3.4': 'admitted', '::1': 'denied' }],
    [{ deny: sources('::/0') }, { '1.2.3.4': 'denied' }],
    [
      { acceptProxy: sources('192.0.2.0/24'), deny: sources('192.0.2.1') },
      { '192.0.2.1': 'introduced', '10.0.0.1': 'admitted' },
    ],
  ];
  for (const [access, expected] of table) {
    const admission = new Admission(access);
    for (const [address, verdict] of Object.entries(expected)) {
      t.equal(admission.ofPeer(sockaddr(address)), verdict, address);
      if (!address.includes(':')) t.equal(admission.ofPeer(sockaddr(address, true)), verdict, `${address}, mapped`);
    }
  }
});

t.test('any subnet and address: as the plain definition has it', async () => {
  const subnet = fc.oneof(
    fc.tuple(fc.ipV4(), fc.nat(32)).map(([ip, bits]) => parseSource(`${ip}/${bits}`) as Subnet),
    fc.tuple(fc.ipV6(), fc.nat(128)).map(([ip, bits]) => parseSource(`${ip}/${bits}`)),
  );
  // Addresses near the subnet, or nothing would ever lie inside.
  const near = fc.tuple(subnet, fc.nat(127)).map(([net, bit]) => {
    const address = (net ?? '::/0').split('/')[0] ?? '';
    const bytes = sockaddr(address);
    const at = address.includes(':') ? 8 + (bit >> 3) : 4 + ((bit >> 3) % 4);
    bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
    return { net, bytes };
  });
  fc.assert(
    fc.property(
      fc.oneof(
        near,
        fc.tuple(subnet, fc.oneof(fc.ipV4(), fc.ipV6())).map(([net, ip]) => ({ net, bytes: sockaddr(ip) })),
      ),
      ({ net, bytes }) => {
        if (net === undefined) return;
        const isIpv4 = bytes.readUInt16LE(0) === 2;
        const text = isIpv4
          ? [...bytes.subarray(4, 8)].join('.')
          : [0, 1, 2, 3, 4, 5, 6, 7].map((i) => bytes.readUInt16BE(8 + 2 * i).toString(16)).join(':');
        const address = parseIp(text) as IpAddress;
        if (ipVersion(address) !== (isIpv4 ? 4 : 6) || (ipVersion(net) === 6 && isIpv4)) return;
        const inside = ipVersion(net) === ipVersion(address) && subnetContains(net, address);
        const admission = new Admission({ deny: [net] });
        if ((admission.ofClient(bytes) === 'denied') !== inside) throw new Error(`${net} ${address}`);
        const at = (i: number) =>
          (isIpv4 ? [0, 0, -65_536, bytes.readInt32LE(4)][i] : bytes.readInt32LE(8 + 4 * i)) as number;
        if (admission.isDeniedAt(at(0), at(1), at(2), at(3)) !== inside) throw new Error(`words: ${net} ${address}`);
      },
    ),
    { numRuns: 2000 },
  );
});

t.test('sources as people write them', async (t) => {
  for (const [text, expected] of Object.entries({
    '10.1.2.3/8': '10.0.0.0/8',
    '10.1.2.3': '10.1.2.3/32',
    '::1': '::1/128',
    'FD00::5/64': 'fd00::/64',
    '10.0.0.0/33': undefined,
    'example.com': undefined,
    '': undefined,
    '10.0.0.0/': undefined,
  }))
    t.equal(parseSource(text), expected, text);
});
