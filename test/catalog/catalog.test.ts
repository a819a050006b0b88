// The catalog over a real store: what it shows, when, and what it does with records that make no sense.
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { Change } from '../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { Service, ServiceId } from '../../src/model/service.ts';
import type { LogFields } from '../../src/runtime/log.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { StoreError } from '../../src/store/errors.ts';
import { encodeRecord, HEAD_KEY } from '../../src/store/record.ts';
import type { CommitEvent, Entry, Revision, Store, Write } from '../../src/store/store.ts';
import * as build from '../support/builders.ts';
import { FakeClock } from '../support/fake-clock.ts';

const NONE = 0 as Revision;

function service(name: string): Service {
  return { ...build.service(name), id: `svc${name}` as ServiceId };
}

function write(name: string, expose = 80): Write {
  const value = service(name);
  return encodeRecord({
    kind: 'service',
    value: { ...value, spec: { ...value.spec, expose: [{ protocol: 'tcp', port: expose as never }] } },
  });
}

function openStore(t: Test): Store {
  const store = openEmbeddedStore({ directory: join(t.testdir(), 'state') });
  t.teardown(() => store.close());
  return store;
}

t.test('follows the store', async (t) => {
  const store = openStore(t);
  await store.commit([write('a')]);
  const catalog = await Catalog.open(store);
  t.ok(catalog.snapshot.serviceByName.has('a'), 'what was there');

  const heard: (readonly [number, readonly string[]])[] = [];
  const stop = catalog.subscribe((snapshot, previous, changes) => {
    t.ok(previous.revision < snapshot.revision);
    t.equal(snapshot, catalog.snapshot, 'a listener sees the snapshot that it is told of');
    heard.push([snapshot.revision, changes.map(describe)]);
  });
  catalog.subscribe(() => {
    throw new Error('a listener that fails');
  });
  const first = await store.commit([write('b'), write('a', 81)]);
  await catalog.at(first.revision);
  const second = await store.commit([
    { key: 'service/svca', value: null },
    { key: HEAD_KEY, value: '{}' },
  ]);
  const third = await store.commit([{ key: HEAD_KEY, value: '{"again":1}' }]);
  await catalog.at(third.revision);
  t.same(
    heard,
    [
      [first.revision, ['changed a', 'created b']],
      [second.revision, ['removed a']],
    ],
    'commits that change nothing here are not told',
  );
  t.equal(catalog.snapshot.revision, third.revision);
  t.equal(catalog.headRevision, third.revision);
  t.same([catalog.revisionOf('service', 'svcb'), catalog.revisionOf('service', 'svca')], [first.revision, 0]);
  stop();
  await catalog.at((await store.commit([write('c')])).revision);
  t.equal(heard.length, 2);

  const never = catalog.at(third.revision + 100);
  catalog.close();
  await t.rejects(never, { message: 'the catalog has been closed' });
  await t.rejects(catalog.at(third.revision + 100), { message: 'the catalog has been closed' });
  await store.commit([write('d')]);
  t.notOk(catalog.snapshot.serviceByName.has('d'), 'nothing after close');
});

t.test('records that make no sense', async (t) => {
  const store = openStore(t);
  const logged: (LogFields | undefined)[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (_: string, fields?: LogFields) => void logged.push(fields) };
  const bad = { key: 'service/svcbad', value: '{"id":"svcbad"}' };
  await store.commit([bad, write('good'), { key: 'unknown/x', value: 'whatever' }]);
  const catalog = await Catalog.open(store, { log });
  t.same([...catalog.snapshot.services.keys()], ['svcgood'], 'passed over');
  t.match(catalog.problems, [
    /^record service\/svcbad: field spec: .*; it was written by another version or by hand\. It is passed over/,
  ]);
  t.match(logged, [{ key: 'service/svcbad' }]);

  await catalog.at((await store.commit([{ key: 'service/svcgood', value: '{' }])).revision);
  t.ok(catalog.snapshot.services.has('svcgood' as ServiceId), 'the last good one stays in effect');
  t.equal(catalog.problems.length, 2);
  await catalog.at((await store.commit([write('good', 81), { key: 'service/svcbad', value: null }])).revision);
  t.same(catalog.problems, [], 'mended and removed');
  t.match(catalog.snapshot.services.get('svcgood' as ServiceId), { spec: { expose: [{ port: 81 }] } });
  catalog.close();
});

t.test('too far behind: it lists anew and tells the differences', async (t) => {
  const source = new ManualStore();
  const clock = new FakeClock();
  source.entries = [entry(write('a'), 1), entry(write('b'), 1), entry(write('c'), 1)];
  source.revision = 1 as Revision;
  const catalog = await Catalog.open(source, { clock });
  const heard: string[][] = [];
  catalog.subscribe((_, __, changes) => heard.push(changes.map(describe)));
  source.entries = [entry(write('a'), 1), entry(write('c', 81), 5), entry(write('d'), 7)];
  source.revision = 7 as Revision;
  source.failing = true;
  source.gap();
  await clock.advance(500);
  t.same(heard, [], 'the store does not answer: what is known stays');
  source.failing = false;
  await clock.advance(600);
  t.same(heard, [['changed c', 'created d', 'removed b']]);
  t.equal(catalog.snapshot.revision, 7);
  t.equal(source.watchedFrom, 7);
  source.gap();
  await clock.advance(0);
  t.equal(heard.length, 1, 'nothing has changed');
  source.failing = true;
  source.gap();
  catalog.close();
  await clock.advance(5000);
  t.equal(clock.waiting, 0, 'closed: it does not try again');
  await t.rejects(Catalog.open(source), { code: 'io' });
});

t.test('the snapshot and the changes always agree', async (t) => {
  const store = openStore(t);
  const catalog = await Catalog.open(store);
  let told: Snapshot = EMPTY_SNAPSHOT;
  catalog.subscribe((snapshot, _, changes) => {
    told = applyChanges(told, snapshot.revision, changes);
  });
  const step = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), port: fc.constantFrom(0, 80, 81, -1) });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(step, { selector: ({ name }) => name, minLength: 1 }), async (steps) => {
      const writes = steps.map(({ name, port }): Write => {
        if (port === 0) return { key: `service/svc${name}`, value: null };
        return port < 0 ? { key: `service/svc${name}`, value: '{}' } : write(name, port);
      });
      await catalog.at((await store.commit(writes)).revision);
      t.same(told.services.toJS(), catalog.snapshot.services.toJS());
      t.same(told.serviceByName.toJS(), catalog.snapshot.serviceByName.toJS());
    }),
    { numRuns: 100 },
  );
  catalog.close();
});

function describe(change: Change): string {
  const name = (change.after ?? change.before) as Service;
  const what = change.before === undefined ? 'created' : change.after === undefined ? 'removed' : 'changed';
  return `${what} ${name.spec.name}`;
}

function entry({ key, value }: Write, revision: number): Entry {
  return { key, value: value ?? '', revision: revision as Revision };
}

/** A store whose answers and gaps are set by the test. */
class ManualStore implements Store {
  entries: readonly Entry[] = [];
  revision = NONE;
  failing = false;
  watchedFrom = NONE;
  gap = () => {};

  async list(): Promise<{ revision: Revision; entries: readonly Entry[] }> {
    if (this.failing) throw new StoreError('io', 'it does not answer');
    return { revision: this.revision, entries: this.entries };
  }

  watch(after: Revision, handlers: { onCommit(event: CommitEvent): void; onGap(): void }): { close(): void } {
    this.watchedFrom = after;
    this.gap = () => handlers.onGap();
    return { close() {} };
  }

  get = () => Promise.resolve(undefined);
  commit = () => Promise.reject(new Error('not here'));
  grantLease = () => Promise.reject(new Error('not here'));
  keepAlive = () => Promise.resolve(false);
  revokeLease = () => Promise.resolve();
  close = () => Promise.resolve();
}
