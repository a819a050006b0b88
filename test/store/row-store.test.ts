// The store of rows on a database in memory: what happens when that fails, and how commits share its transactions.
import t from 'tap';
import type { Database, Row, Writer } from '../../src/store/database.ts';
import { StoreError } from '../../src/store/errors.ts';
import { initialize, RowStore } from '../../src/store/row-store.ts';
import { decodeRow, encodeRow } from '../../src/store/rows.ts';
import type { Revision } from '../../src/store/store.ts';
import type { LogFields } from '../../src/runtime/log.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';
import { storeContract } from '../contract/store.ts';

class MemoryDatabase implements Database {
  rows = new Map<string, Buffer>();
  transactions = 0;
  failure: StoreError | undefined;

  get(key: string): Buffer | undefined {
    return this.rows.get(key);
  }

  range(start: string, end: string): Iterable<Row> {
    return [...this.rows.keys()]
      .filter((key) => key >= start && key < end)
      .sort()
      .map((key) => ({ key, row: this.rows.get(key) ?? Buffer.alloc(0) }));
  }

  transaction<T>(action: (write: Writer) => T): T {
    const before = new Map(this.rows);
    this.transactions++;
    try {
      const result = action({
        put: (key, row) => void this.rows.set(key, row),
        remove: (key) => void this.rows.delete(key),
      });
      if (this.failure !== undefined) throw this.failure;
      return result;
    } catch (error) {
      this.rows = before;
      throw error;
    }
  }

  async close(): Promise<void> {}
}

function open(database: MemoryDatabase, more: object = {}): RowStore {
  if (database.rows.size === 0) initialize(database);
  return new RowStore(database, { path: 'memory', onClosed() {}, clock: new FakeClock(), ...more });
}

storeContract('in memory', async (t, keepCommits) => {
  const database = new MemoryDatabase();
  const clock = new FakeClock();
  let store = open(database, { clock, keepCommits });
  t.teardown(() => store.close());
  return {
    store,
    advance: (ms) => clock.advance(ms),
    leaseMs: 1000,
    forget: async () => {},
    async reopen() {
      await store.close();
      store = open(database, { clock, keepCommits });
      return store;
    },
  };
});

t.test('commits of one turn share a transaction', async (t) => {
  const database = new MemoryDatabase();
  const store = open(database);
  database.transactions = 0;
  await Promise.all(Array.from({ length: 600 }, (_, n) => store.commit([{ key: `k${n}`, value: '1' }])));
  t.equal(database.transactions, 3, '256 at most');
  t.equal((await store.list('')).revision, 600);
});

t.test('a transaction that fails leaves nothing, and the store goes on', async (t) => {
  const database = new MemoryDatabase();
  const clock = new FakeClock();
  const logged: (readonly [string, LogFields | undefined])[] = [];
  const warn = (message: string, fields?: LogFields) => void logged.push([message, fields]);
  const store = open(database, { clock, log: { debug() {}, info() {}, warn, error: warn } });
  const seen: number[] = [];
  store.watch(0 as Revision, { onCommit: ({ revision }) => void seen.push(revision), onGap() {} });
  const lease = await store.grantLease(1000);
  await store.commit([{ key: 'a', value: '1', lease }]);
  database.failure = new StoreError('full', 'memory: full');
  const results = await Promise.allSettled([1, 2].map((n) => store.commit([{ key: `k${n}`, value: '1' }])));
  t.match(results, [{ reason: { code: 'full' } }, { reason: { code: 'full' } }]);
  await t.rejects(store.grantLease(1), { code: 'full' });
  await clock.advance(1001);
  t.match(logged, [['lease not ended', { lease }]]);
  database.failure = undefined;
  t.match(await store.commit([{ key: 'b', value: '1' }]), { committed: true, revision: 2 });
  t.same(seen, [1, 2]);
  t.same(
    (await store.list('')).entries.map(({ key }) => key),
    ['a', 'b'],
  );
});

t.test('a watcher that fails', async (t) => {
  const logged: string[] = [];
  const store = open(new MemoryDatabase(), {
    log: { debug() {}, info() {}, warn() {}, error: (message: string) => void logged.push(message) },
  });
  const seen: number[] = [];
  store.watch(0 as Revision, {
    onCommit() {
      throw new Error('a mistake');
    },
    onGap() {},
  });
  store.watch(0 as Revision, { onCommit: ({ revision }) => void seen.push(revision), onGap() {} });
  await settle();
  t.match(await store.commit([{ key: 'a', value: '1' }]), { committed: true });
  t.same([logged, seen], [['watcher failed'], [1]]);
});

t.test('rows', (t) => {
  const row = encodeRow('entry/a', { value: 'über', revision: 1 as Revision });
  t.same(decodeRow('entry/a', row), { value: 'über', revision: 1 });
  t.equal(decodeRow('entry/b', row), undefined, 'the checksum knows the key');
  for (let at = 0; at < row.length; at++) {
    for (const bit of [1, 128]) {
      const damaged = Buffer.from(row);
      damaged[at] = (damaged[at] ?? 0) ^ bit;
      if (decodeRow('entry/a', damaged) !== undefined) t.fail(`bit ${bit} of byte ${at}`);
    }
  }
  t.equal(encodeRow('123456789'.slice(0, 0), []).toString('latin1', 0, 8), crcOf('\0[]'));
  t.end();
});

t.test('damage', (t) => {
  const database = new MemoryDatabase();
  const store = open(database);
  const cases: Readonly<Record<string, () => void>> = {
    'its summary is missing': () => void database.rows.delete('summary'),
    'it holds 0 entries where 1 were written': () => void database.rows.delete('entry/a'),
    'the checksum of entry\\/a is wrong': () => void database.rows.set('entry/a', encodeRow('entry/b', [])),
    'format 99 is of a newer version; this one knows 1': () =>
      void database.rows.set('summary', encodeRow('summary', { format: 99, revision: 1 as Revision, entries: 1 })),
  };
  return store.commit([{ key: 'a', value: '1' }]).then(() => {
    const good = new Map(database.rows);
    for (const [what, harm] of Object.entries(cases)) {
      harm();
      t.throws(
        () => open(database),
        { code: 'damaged', message: new RegExp(`^memory is damaged \\(${what}\\)\\.`) },
        what,
      );
      database.rows = new Map(good);
    }
    t.ok(open(database));
  });
});

/** CRC-32 bit by bit, to compare with the table's. */
function crcOf(text: string): string {
  let crc = 0xffffffff;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (~crc >>> 0).toString(16).padStart(8, '0');
}
