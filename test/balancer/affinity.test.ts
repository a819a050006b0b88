import fc from 'fast-check';
import t from 'tap';
import { AFFINITY_BYTES, AffinityTable } from '../../src/balancer/affinity.ts';

t.test('T9: who came back in time finds the same, who did not is new', async (t) => {
  const table = new AffinityTable(new SharedArrayBuffer(AFFINITY_BYTES));
  t.equal(table.find(1, 42, 10), -1);
  table.set(1, 42, 7, 20);
  t.equal(table.find(1, 42, 19), 7);
  t.equal(table.find(1, 42, 20), -1);
  t.equal(table.find(2, 42, 19), -1, 'of another service');
  t.equal(table.find(1, 43, 19), -1, 'another client');
  table.set(1, 42, 8, 30);
  t.equal(table.find(1, 42, 19), 8);
});

t.test('workers share what they know', async (t) => {
  const memory = new SharedArrayBuffer(AFFINITY_BYTES);
  new AffinityTable(memory).set(3, -5, 0, 100);
  t.equal(new AffinityTable(memory).find(3, -5, 1), 0);
});

t.test('a full table forgets whoever was away longest', async (t) => {
  const table = new AffinityTable(new SharedArrayBuffer(64));
  for (let client = 1; client <= 4; client++) table.set(0, client, client, 100 + client);
  table.set(0, 5, 5, 200);
  t.same(
    [1, 2, 3, 4, 5].map((client) => table.find(0, client, 50)),
    [-1, 2, 3, 4, 5],
  );
});

t.test('thousands of clients are told apart', async () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 2000 }), (clients) => {
      const table = new AffinityTable(new SharedArrayBuffer(AFFINITY_BYTES));
      for (const [slot, client] of clients.entries()) table.set(9, client, slot, 1000);
      const wrong = clients.filter((client, slot) => ![slot, -1].includes(table.find(9, client, 1)));
      const lost = clients.filter((client) => table.find(9, client, 1) === -1);
      // Four of a kind have room. Of 2,000 random ones one in a hundred samples has a fifth, and hardly ever three.
      return wrong.length === 0 && lost.length <= (clients.length > 500 ? 2 : 0);
    }),
    { numRuns: 20 },
  );
});
