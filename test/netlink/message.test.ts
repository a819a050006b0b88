import fc from 'fast-check';
import t from 'tap';
import {
  attribute,
  be32,
  FLAG,
  frame,
  nested,
  readAttributes,
  readError,
  readText,
  readU32,
  text,
  u32,
} from '../../src/netlink/message.ts';

t.test('attributes: length, type, data, padding', async (t) => {
  t.equal(attribute(3, Uint8Array.of(1, 2, 3, 4, 5)).toString('hex'), '090003000102030405000000');
  t.equal(text(1, 'br0').toString('hex'), '0800010062723000');
  t.equal(u32(4, 1500).toString('hex'), '08000400dc050000');
  t.equal(be32(4, -1).toString('hex'), '08000400ffffffff');
  t.equal(nested(18, [u32(1, 2)]).toString('hex'), '0c0012800800010002000000');
});

t.test('a message has its length, and asks', async (t) => {
  const bytes = frame({ type: 16, flags: FLAG.create, body: Buffer.from('abcde') }, 7);
  t.equal(bytes.toString('hex'), '15000000' + '1000' + '0104' + '07000000' + '00000000' + '6162636465000000');
});

t.test('what an ERROR message says', async (t) => {
  t.equal(readError(Buffer.from('ffffffff00', 'hex')), 1);
  t.equal(readError(Buffer.alloc(20)), 0);
  t.equal(readError(Buffer.alloc(0)), 0);
});

t.test('a cut-off or lying attribute is left out, those before it are kept', async (t) => {
  const good = u32(1, 42);
  for (const bad of ['', '04', '0300ff00', '2000ff00aabb']) {
    const attributes = readAttributes(Buffer.concat([good, Buffer.from(bad, 'hex')]));
    t.equal(readU32(attributes.get(1)), 42);
    t.equal(attributes.size, 1);
  }
});

t.test('property: attributes come back as they went', async () => {
  const anAttribute = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 40 }));
  fc.assert(
    fc.property(fc.uniqueArray(anAttribute, { selector: ([type]) => type }), (attributes) => {
      const read = readAttributes(Buffer.concat(attributes.map(([type, data]) => attribute(type, data))));
      return attributes.every(([type, data]) => read.get(type)?.equals(data)) && read.size === attributes.length;
    }),
  );
});

t.test('text ends at its first NUL', async (t) => {
  t.equal(readText(Buffer.from('br0\0junk')), 'br0');
  t.equal(readText(Buffer.from('br0')), 'br0');
  t.equal(readText(undefined), undefined);
});
