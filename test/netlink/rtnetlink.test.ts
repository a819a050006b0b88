// Requests as bytes, and round trips: the kernel tells of an object in the layout in which it is asked to make it.
import fc from 'fast-check';
import t from 'tap';
import { type IpAddress, ipFromBytes } from '../../src/model/address.ts';
import type { FdbEntry, MacAddress } from '../../src/netlink/kernel.ts';
import { FLAG } from '../../src/netlink/message.ts';
import {
  addAddressRequest,
  addRouteRequest,
  dumpRequest,
  ROUTE_PROTOCOL,
  readAddress,
  readFdbEntry,
  readNeighbour,
  readRoute,
  setFdbRequest,
  setNeighbourRequest,
} from '../../src/netlink/rtnetlink.ts';
import {
  addBridgeRequest,
  addVethRequest,
  addVxlanRequest,
  deleteLinkRequest,
  getLinkRequest,
  readLink,
  setLinkRequest,
} from '../../src/netlink/rtnetlink-link.ts';
import { macFromBytes, macToBytes } from '../../src/netlink/wire-address.ts';
import { ip } from '../support/builders.ts';

const MAC = '02:42:0a:40:00:02' as MacAddress;

/** Words of four bytes. */
function hex(bytes: Buffer): string {
  return bytes.toString('hex').replace(/.{8}(?=.)/g, '$& ');
}

t.test('requests are what the headers of the kernel say', async (t) => {
  const zero = '00000000';
  const table: readonly (readonly [string, { readonly body: Buffer }, string])[] = [
    ['one link', getLinkRequest('br0'), `${zero} ${zero} ${zero} ${zero} 08000300 62723000`],
    ['link 5 down and gone', deleteLinkRequest(5), `${zero} 05000000 ${zero} ${zero}`],
    [
      'link 5 up, in bridge 3',
      setLinkRequest(5, { up: true, master: 3 }),
      `${zero} 05000000 01000000 01000000 08000a00 03000000`,
    ],
    ['link 5 down', setLinkRequest(5, { up: false }), `${zero} 05000000 ${zero} 01000000`],
    [
      'an isolated port',
      setLinkRequest(5, { port: { isolated: true } }),
      // linkinfo { slave kind "bridge", slave data { isolated 1 } }
      `${zero} 05000000 ${zero} ${zero} 1c001280 0b000400 62726964 67650000 0c000580 05002100 01000000`,
    ],
    [
      'an IPv4 address',
      addAddressRequest(2, { address: ip('10.64.0.1'), prefixLength: 24, deprecated: false }),
      '02180000 02000000 08000200 0a400001 08000100 0a400001',
    ],
    [
      'a local route',
      addRouteRequest(1, { kind: 'local', destination: ip('10.64.0.9'), prefixLength: 32 }),
      `02200000 ff76fe02 ${zero} 08000400 01000000 08000100 0a400009`,
    ],
    [
      'the default route',
      addRouteRequest(4, { kind: 'unicast', destination: ip('0.0.0.0'), prefixLength: 0, via: ip('100.127.0.1') }),
      `02000000 fe760001 ${zero} 08000400 04000000 08000500 647f0001`,
    ],
    [
      'a neighbour',
      setNeighbourRequest(2, { address: ip('10.64.0.2'), mac: MAC }),
      '02000000 02000000 80000000 08000100 0a400002 0a000200 02420a40 00020000',
    ],
    [
      'a bridge',
      addBridgeRequest('br0', MAC),
      `${zero} ${zero} ${zero} ${zero} 08000300 62723000 0a000100 02420a40 00020000 ` +
        '1c001280 0b000100 62726964 67650000 0c000280 05001700 00000000',
    ],
  ];
  for (const [name, { body }, expected] of table) t.equal(hex(body), expected, name);
});

t.test('a pair of links: the far end has its name, MAC and namespace from the start', async (t) => {
  const { body, flags } = addVethRequest({ name: 't-1' }, { name: 'eth0', mac: MAC, netnsFd: 7 });
  t.equal(flags, FLAG.create | FLAG.exclusive);
  // Kind "veth", then data { peer { header, name, MAC, namespace descriptor } }.
  t.match(
    hex(body),
    /09000100 76657468 00000000 40000280 3c000180 (00000000 ){4}09000300 65746830 00000000 0a000100 02420a40 00020000 08001c00 07000000 08001b00 76000000$/,
  );
});

t.test('a VXLAN device: put into a namespace, learning nothing', async (t) => {
  for (const [local, address] of [
    ['192.0.2.1', '08000400 c0000201'],
    ['2001:db8::1', '14001100 20010db8 00000000 00000000 00000001'],
  ] as const) {
    const { body } = addVxlanRequest('vx0', { vni: 4097, port: 4789, local: ip(local) }, 7);
    t.match(hex(body), `08001c00 07000000`, 'the namespace');
    // Identifier, local address, port, then learning off, checksums on, and none left out in IPv6.
    t.match(
      hex(body),
      `08000100 01100000 ${address} 06000f00 12b50000 05000700 00000000 05001200 01000000 05001300 00000000 05001400 00000000`,
    );
    body.writeInt32LE(9, 4);
    t.match(readLink(body), { kind: 'vxlan', tunnel: { vni: 4097, port: 4789, local } });
  }
});

t.test('dumps ask for everything of a kind', async (t) => {
  for (const what of ['link', 'address', 'route', 'neighbour', 'fdb'] as const) {
    t.equal(dumpRequest(what).flags, FLAG.dump, what);
  }
});

t.test('a link as the kernel shows it', async (t) => {
  const { body } = addBridgeRequest('br0', MAC);
  body.writeInt32LE(3, 4);
  body.writeUInt32LE(1, 8);
  t.match(readLink(body), {
    index: 3,
    name: 'br0',
    kind: 'bridge',
    up: true,
    mac: MAC,
    port: undefined,
    masterIndex: 0,
  });
  t.equal(readLink(body.subarray(0, 12)), undefined, 'cut off');
  t.equal(readLink(Buffer.alloc(16)), undefined, 'no name');
});

const anIp = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes): IpAddress => ipFromBytes(bytes));
const aMac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromBytes);
const anIndex = fc.integer({ min: 1, max: 0x7fffffff });
const lengthOf = (address: IpAddress): number => (address.includes(':') ? 128 : 32);

t.test('property: addresses, routes, neighbours and forwarding entries come back as they went', async () => {
  fc.assert(
    fc.property(anIndex, anIp, anIp, aMac, fc.boolean(), (index, address, other, mac, flag) => {
      const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
      const prefixLength = lengthOf(address);
      const read = readAddress(addAddressRequest(index, { address, prefixLength, deprecated: flag }).body);
      const kind = flag ? ('local' as const) : ('unicast' as const);
      const via = lengthOf(other) === prefixLength && !flag ? { via: other } : {};
      const route = readRoute(addRouteRequest(index, { kind, destination: address, prefixLength, ...via }).body);
      const neighbour = readNeighbour(setNeighbourRequest(index, { address, mac }).body);
      const entry: FdbEntry = flag ? { kind: 'port', mac } : { kind: 'tunnel', mac, vtep: other };
      const fdb = readFdbEntry(setFdbRequest(index, entry).body);
      return (
        same(read, { linkIndex: index, address, prefixLength, deprecated: flag }) &&
        same(route, { linkIndex: index, kind, protocol: ROUTE_PROTOCOL, destination: address, prefixLength, ...via }) &&
        same(neighbour, { linkIndex: index, address, mac }) &&
        // Of a port's entry the kernel tells the bridge too, and without that it is none.
        (flag ? fdb === undefined : same(fdb, { kind: 'tunnel', linkIndex: index, mac, vtep: other })) &&
        same([...macToBytes(mac)], [...macToBytes(macFromBytes(macToBytes(mac)))])
      );
    }),
  );
});

t.test('property: no bytes from the kernel make a reader throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const body = Buffer.from(bytes);
      for (const read of [readLink, readAddress, readRoute, readNeighbour, readFdbEntry]) read(body);
    }),
    { numRuns: 2000 },
  );
});
