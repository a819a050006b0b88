import fc from 'fast-check';
import t from 'tap';
import { parseIp } from '../../src/model/address.ts';
import { isMapped, readSockaddr, SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';

const sockaddr = Buffer.alloc(SOCKADDR_BYTES + 4);

t.test('an address comes back as canonical text', async (t) => {
  for (const [text, length, canonical] of [
    ['127.0.0.1', 16, '127.0.0.1'],
    ['::', 28, '::'],
    ['::1', 28, '::1'],
    ['fd00::2', 28, 'fd00::2'],
    ['FD00:0:0:1::', 28, 'fd00:0:0:1::'],
    ['1:0:0:2:0:0:0:3', 28, '1:0:0:2::3'],
    ['1:0:2:3:4:5:6:7', 28, '1:0:2:3:4:5:6:7'],
    ['::ffff:10.0.0.1', 28, '10.0.0.1'],
  ] as const) {
    t.equal(writeSockaddr(sockaddr, 4, text, 65535), length, text);
    t.same(readSockaddr(sockaddr, 4), { address: canonical, port: 65535 });
  }
});

t.test('an IPv4 address for a dual-stack socket is mapped', async (t) => {
  t.equal(writeSockaddr(sockaddr, 0, '10.1.2.3', 80, true), 28);
  t.ok(isMapped(sockaddr, 8));
  t.same(readSockaddr(sockaddr, 0), { address: '10.1.2.3', port: 80 });
});

t.test('what is no address is refused', async (t) => {
  for (const text of ['', 'web', '1.2.3', '1.2.3.256', '1::2::3', ':1', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', 'g::']) {
    t.throws(() => writeSockaddr(sockaddr, 0, text, 80), RangeError, `"${text}"`);
  }
});

t.test('text agrees with the model for any bytes', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.boolean(), (bytes, sparse) => {
      if (sparse) for (let i = 0; i < 16; i++) if ((bytes[i] as number) % 4 !== 0) bytes[i] = 0;
      sockaddr.writeUInt16LE(10, 0);
      sockaddr.set(bytes, 8);
      const { address } = readSockaddr(sockaddr, 0);
      return parseIp(address) === address;
    }),
  );
});
