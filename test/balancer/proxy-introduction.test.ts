// proxy-protocol.txt sections 2.1 and 2.2, from the receiver's side: what is a header, what may become one, and what is none.
import fc from 'fast-check';
import t from 'tap';
import { LONGEST_HEADER, readIntroduction } from '../../src/balancer/proxy-introduction.ts';
import { ownHeader, proxyHeader } from '../../src/balancer/proxy-protocol.ts';
import { readSockaddr, SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const V4 = 'c0000207c6336401c82201bb';

function sockaddr(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(bytes, 0, address, port);
  return bytes;
}

/** `BYTES CLIENT:PORT LOCAL:PORT`, `BYTES itself`, `part` or why it is bad. */
function read(data: Buffer): string {
  const found = readIntroduction(data);
  if (found.kind !== 'whole') return found.kind === 'part' ? 'part' : found.why;
  if (found.introduced === undefined) return `${found.bytes} itself`;
  const [client, local] = [found.introduced.client, found.introduced.local].map((one) => readSockaddr(one, 0));
  return `${found.bytes} ${client?.address} ${client?.port} ${local?.address} ${local?.port}`;
}

const line = (text: string) => Buffer.from(text, 'latin1');
const binary = (hex: string) => Buffer.from(SIGNATURE + hex, 'hex');

t.test('whole headers', async (t) => {
  const table: readonly (readonly [string, Buffer, string])[] = [
    ['v1', line('PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET /'), '45 192.0.2.7 51234 198.51.100.1 443'],
    ['v1, IPv6', line('PROXY TCP6 2001:db8::7 2001:DB8::1 1 65535\r\n'), '44 2001:db8::7 1 2001:db8::1 65535'],
    ['v1, mapped', line('PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 5 6\r\n'), '45 192.0.2.7 5 2001:db8::1 6'],
    ['v1, unknown', line('PROXY UNKNOWN\r\n'), '15 itself'],
    ['v1, unknown, with what is to be ignored', line('PROXY UNKNOWN ff::1 x y z\r\ndata'), '27 itself'],
    ['v2', binary(`2111000c${V4}aabb`), '28 192.0.2.7 51234 198.51.100.1 443'],
    ['v2, with TLVs', binary(`21110010${V4}04000100`), '32 192.0.2.7 51234 198.51.100.1 443'],
    [
      'v2, IPv6',
      binary(`21210024${'20010db8000000000000000000000007'}${'20010db8000000000000000000000001'}c82201bb`),
      '52 2001:db8::7 51234 2001:db8::1 443',
    ],
    ['v2, LOCAL', binary('20000000'), '16 itself'],
    ['v2, LOCAL with addresses, which mean nothing', binary(`2011000c${V4}`), '28 itself'],
    ['v2, PROXY without a family', binary('21000000'), '16 itself'],
    ['v2, a unix socket', binary(`213100d8${'00'.repeat(216)}`), '232 itself'],
    ['v2, datagrams', binary(`2112000c${V4}`), '28 itself'],
  ];
  for (const [what, data, expected] of table) t.equal(read(data), expected, what);
});

t.test('bad headers', async (t) => {
  const none = /^it begins with no PROXY header$/;
  const names = /^the line names no two addresses and ports of its family$/;
  const words = /^the line is not PROXY TCP4/;
  const table: readonly (readonly [Buffer, RegExp])[] = [
    [line('GET / HTTP/1.1\r\n'), none],
    [line('proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n'), none],
    [line('PROXYTCP4'), none],
    [Buffer.from(SIGNATURE.replace('5155', '5055'), 'hex'), none],
    [Buffer.from([0]), none],
    [line(`PROXY UNKNOWN ${'x'.repeat(100)}`), /longer than 107/],
    [line(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`), /longer than 107/],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rx'), /CR LF/],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n'), names],
    [line('PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n'), words],
    [line('PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n'), words],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n'), words],
    [line('PROXY \r\n'), words],
    [line('PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n'), words],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n'), names],
    [line('PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n'), words],
    [line('PROXY TCP4 ::1 ::2 1 2\r\n'), names],
    [line('PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n'), names],
    [line('PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n'), names],
    [line('PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n'), names],
    [line('PROXY TCP4 host 2.2.2.2 1 2\r\n'), names],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n'), names],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n'), names],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n'), names],
    [line('PROXY TCP4 1.1.1.1 2.2.2.2 0x1 2\r\n'), names],
    [binary(`1111000c${V4}`), /version or command/],
    [binary(`2211000c${V4}`), /version or command/],
    [binary(`3111000c${V4}`), /version or command/],
    [binary(`2114000c${V4}`), /family or transport/],
    [binary(`2141000c${V4}`), /family or transport/],
    [binary(`2111000b${V4}`), /too short/],
    [binary(`21210023${'00'.repeat(36)}`), /too short/],
    [binary('2111ffff'), /longer than 4096/],
  ];
  for (const [data, why] of table) t.match(read(data), why, data.toString('latin1').slice(0, 60));
});

const ip = fc.oneof(fc.ipV4(), fc.ipV6());
const port = fc.integer({ min: 0, max: 65_535 });
const ours = fc
  .tuple(fc.constantFrom('v1' as const, 'v2' as const), ip, port, ip, port)
  .map(([version, from, fromPort, to, toPort]) => {
    const [client, local] = [sockaddr(from, fromPort), sockaddr(to, toPort)];
    return { header: proxyHeader(version, client, local), client, local };
  });

t.test('what we send we understand, and no part of it is taken for the whole', async () => {
  fc.assert(
    fc.property(ours, fc.uint8Array({ maxLength: 50 }), ({ header, client, local }, more) => {
      const { address, port } = readSockaddr(client, 0);
      const to = readSockaddr(local, 0);
      const whole = `${header.length} ${address} ${port} ${to.address} ${to.port}`;
      if (read(Buffer.concat([header, more])) !== whole) throw new Error(read(header));
      for (let length = 0; length < header.length; length++)
        if (read(header.subarray(0, length)) !== 'part') throw new Error(`${length} of ${header.length} bytes`);
    }),
  );
  for (const version of ['v1', 'v2'] as const)
    if (!/^\d+ itself$/.test(read(ownHeader(version)))) throw new Error(version);
});

t.test('any bytes: never an error, and never waiting beyond the longest header', async () => {
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  const mutated = fc.tuple(ours, fc.nat(60), fc.nat(255)).map(([{ header }, at, value]) => {
    const copy = Buffer.from(header);
    copy[at % copy.length] = value;
    return copy;
  });
  const like = fc.tuple(fc.constantFrom(line('PROXY '), binary('21')), bytes).map((parts) => Buffer.concat(parts));
  fc.assert(
    fc.property(fc.oneof(bytes, mutated, like), (data) => {
      const found = readIntroduction(data);
      if (found.kind === 'whole' && found.bytes > data.length) throw new Error('longer than what there is');
      const filled = Buffer.concat([data, Buffer.alloc(LONGEST_HEADER)]);
      if (readIntroduction(filled).kind === 'part') throw new Error('it waits for more than there can be');
    }),
    { numRuns: 2000 },
  );
});
