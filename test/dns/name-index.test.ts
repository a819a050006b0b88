import fc from 'fast-check';
import t from 'tap';
import { NameIndex } from '../../src/dns/name-index.ts';
import { encodeLabels, hashLabels } from '../../src/dns/wire.ts';

t.test('behaves as a map from (space, name), over any sequence of additions and removals', (t) => {
  const name = fc.tuple(fc.integer({ min: -3, max: 3 }), fc.constantFrom('a', 'b', 'web', 'web.b', 'tasks.web', 'c0'));
  const step = fc.record({ add: fc.boolean(), name, suffix: fc.integer({ min: 0, max: 60 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const index = new NameIndex();
      const model = new Map<string, number>();
      for (const { add, name, suffix } of steps) {
        const [space, text] = [name[0], `${name[1]}${suffix}`];
        const labels = encodeLabels(text) ?? new Uint8Array();
        const known = model.get(`${space}/${text}`);
        t.equal(index.find(space, hashLabels(labels), labels, 0, labels.length), known ?? -1);
        if (add && known === undefined) model.set(`${space}/${text}`, index.add(space, hashLabels(labels), labels));
        if (!add && known !== undefined) {
          index.remove(known);
          model.delete(`${space}/${text}`);
        }
      }
      t.equal(index.size, model.size);
      t.equal(new Set(model.values()).size, model.size, 'no row twice');
      for (const [key, row] of model) {
        const [space, text] = key.split('/') as [string, string];
        const labels = encodeLabels(text) ?? new Uint8Array();
        t.equal(index.find(Number(space), hashLabels(labels), labels, 0, labels.length), row);
        t.equal(index.spaceOf(row), Number(space));
        t.ok(index.inUse(row));
      }
    }),
    { numRuns: 60 },
  );
  t.end();
});

t.test('names of one hash are told apart', (t) => {
  const index = new NameIndex();
  const names = ['a', 'b', 'cc'].map((name) => encodeLabels(name) ?? new Uint8Array());
  const rows = names.map((labels) => index.add(0, 7, labels));
  t.strictSame(
    names.map((labels) => index.find(0, 7, labels, 0, labels.length)),
    rows,
  );
  const upper = Buffer.from('\x02CC', 'latin1');
  t.equal(index.find(0, 7, upper, 0, upper.length), rows[2], 'in any case');
  t.end();
});

t.test('what the DNS cannot carry is no name', (t) => {
  for (const name of ['', '.', 'a..b', 'a.', '.a', 'x'.repeat(64), 'ä', Array(128).fill('x').join('.')]) {
    t.equal(encodeLabels(name), undefined, JSON.stringify(name));
  }
  t.strictSame(encodeLabels('Web.B'), Uint8Array.from([3, 0x77, 0x65, 0x62, 1, 0x62]));
  t.equal(encodeLabels(Array(127).fill('x').join('.'))?.length, 254);
  t.end();
});
