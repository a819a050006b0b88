// B4: whatever stands in the store. Records that hold anything but what their keys say are passed over with one error that
// names them; records that are whole but make no sense together break nothing; a file with flipped bytes is damaged, never believed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Catalog } from '../../src/catalog/catalog.ts';
import type { IpAddress, Subnet } from '../../src/model/address.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import type { Store } from '../../src/store/store.ts';
import { answers, makeFolder, startAgent } from '../support/agent.ts';
import { openMeshWorld } from './support/mesh-world.ts';
import { disturb, flipBytes } from './support/mutate-json.ts';
import { RandomCommands } from './support/random-commands.ts';

const SEED = 20_260_851;
const MUTATIONS = 3000;
const SETTLE_EVERY = 50;
const FLIPPED_FILES = 30;

t.comment(`seed ${SEED}`);

t.test(`${MUTATIONS} mutated records under a running mesh`, async (t) => {
  const random = seededRandom(SEED);
  const world = await openMeshWorld(t, { workers: 1, privileged: false, random });
  const { store, catalog, complaints } = world;
  const commands = new RandomCommands(world, {
    driver: 'local',
    subnets: Array.from({ length: 4 }, (_, i) => `127.127.${i}.0/25` as Subnet),
    endpoints: ['127.122.0.1' as IpAddress, '127.122.0.2' as IpAddress],
    random,
  });
  for (let made = 0; made < 300; made++) await commands.step();
  await world.settled();
  const whole = await recordsOf(store);
  t.ok(whole.length > 20, `${whole.length} records`);
  t.same(complaints.filter(isBug), []);

  let passedOver = 0;
  let accepted = 0;
  for (let made = 1; made <= MUTATIONS; made++) {
    const { key, value } = whole[Math.floor(random.unit() * whole.length)] as (typeof whole)[number];
    const before = complaints.length;
    await store.commit([{ key, value: random.unit() < 0.3 ? flipBytes(value, random) : disturb(value, random) }]);
    if (made % SETTLE_EVERY === 0) await world.settled();
    if (catalog.problems.length > 0) passedOver++;
    else accepted++;
    const unnamed = catalog.problems.filter((problem) => !problem.includes(key));
    const lines = complaints.slice(before).filter((line) => line.startsWith('record passed over'));
    if (unnamed.length > 0 || catalog.problems.length > 1 || lines.length !== catalog.problems.length)
      t.fail('one error, which names the record', { key, problems: catalog.problems, lines });
    // Now and then it stays wrong, and others get wrong beside it.
    if (random.unit() < 0.9 || catalog.problems.length > 0) await store.commit([{ key, value }]);
  }
  t.ok(passedOver > MUTATIONS / 5, `${passedOver} were passed over`);
  t.ok(accepted > MUTATIONS / 20, `${accepted} were whole, and often made no sense`);
  await world.settled();
  t.same(complaints.filter(isBug), [], 'nothing failed on them');

  await store.commit(whole);
  await world.settled();
  t.same(await recordsOf(store), whole);
  const fresh = await Catalog.open(store);
  t.same(
    fresh.snapshot.services.toJS(),
    catalog.snapshot.services.toJS(),
    'when mended, everything is as if nothing had been',
  );
  fresh.close();
  await commands.removeAll();
  await world.settled();
  t.equal(world.mesh.listeners.all().length, 0, 'and can be removed');
  await world.close();
});

t.test('an agent with broken records starts, names each once, and serves the rest', async (t) => {
  const folder = await makeFolder();
  const network = 'networks: { default: { driver: local, ipam: { config: [{ subnet: 127.127.128.0/24 }] } } }\n';
  const services = ['one', 'two', 'three'].map(
    (name) => `  ${name}: { expose: [7000], x-vipmesh: { endpoints: [10.250.0.1] } }\n`,
  );
  const first = await startAgent({ folder, stacks: { shop: `${network}services:\n${services.join('')}` } });
  const vip = answers(await first.dig('one'));
  t.match(vip, [/^127\.127\.128\./]);
  t.equal(await first.stop(), 0);
  const store = openEmbeddedStore({ directory: join(folder.path, 'state', 'store') });
  const { entries } = await store.list('service/');
  const keyOf = (name: string) =>
    entries.find(({ value }) => JSON.parse(value).spec.name === `shop_${name}`)?.key ?? '';
  const [two, three] = [keyOf('two'), keyOf('three')];
  await store.commit([
    { key: two, value: '{"id": "cut short' },
    { key: three, value: '{"id": "x", "spec": 7}' },
  ]);
  await store.close();

  const agent = await startAgent({ folder });
  for (const [key, what] of [
    [two, /it is no JSON/],
    [three, /field /],
  ] as const) {
    const lines = agent.log.filter(({ level, key: named }) => level === 'error' && named === key);
    t.equal(lines.length, 1, `one error for ${key}`);
    t.match(lines[0]?.error, what);
  }
  t.same(answers(await agent.dig('one')), vip, 'the others are served');
  t.match(await agent.cli('status'), { code: 0, stdout: new RegExp(two) });
  t.equal(await agent.stop(), 0);
});

t.test(`${FLIPPED_FILES} files with flipped bytes`, async (t) => {
  const random = seededRandom(SEED + 1);
  const directory = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const whole = join(directory, 'whole');
  const store = openEmbeddedStore({ directory: whole });
  for (let n = 0; n < 60; n++) await store.commit([{ key: `service/s${n}`, value: `value ${n} ${'x'.repeat(400)}` }]);
  await store.close();
  const expected = open(whole).stdout;
  t.match(expected, /service\/s59 value 59/);
  const outcomes = { whole: 0, damaged: 0, 'damaged at the second start': 0 };
  for (let round = 0; round < FLIPPED_FILES; round++) {
    const copy = join(directory, 'copy');
    rmSync(copy, { recursive: true, force: true });
    cpSync(whole, copy, { recursive: true });
    const file = join(copy, 'data.mdb');
    const bytes = readFileSync(file);
    for (let flips = 1 + Math.floor(random.unit() * 6); flips > 0; flips--) {
      const at = Math.floor(random.unit() * bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random.unit() * 8));
    }
    writeFileSync(file, bytes);
    outcomes[judge(t, copy, expected)]++;
  }
  t.comment(JSON.stringify(outcomes));
  t.ok(outcomes.damaged > 0, 'damage was found');
});

/** Either nothing that counts was hit, or it is said; what ends the process by a signal is said at the second start. */
function judge(t: Test, directory: string, expected: string): 'whole' | 'damaged' | 'damaged at the second start' {
  const first = open(directory);
  const second = first.signal === null ? undefined : open(directory);
  const { status, stdout, stderr, signal } = second ?? first;
  if (status === 0) {
    t.equal(stdout, expected, 'what is believed is what was written');
    return 'whole';
  }
  t.match(stderr, /^damaged: .*data\.mdb is damaged/m, `an error, not a crash (${signal})`);
  return second === undefined ? 'damaged' : 'damaged at the second start';
}

function open(directory: string) {
  const script = fileURLToPath(new URL('./fixtures/open-store.js', import.meta.url));
  return spawnSync(process.execPath, [script, directory], { encoding: 'utf8' });
}

/** Without those that say whose the store is and who wrote last. */
async function recordsOf(store: Store): Promise<readonly { readonly key: string; readonly value: string }[]> {
  const { entries } = await store.list('');
  return entries.filter(({ key }) => key.includes('/')).map(({ key, value }) => ({ key, value }));
}

/** What is said of a record that is passed over, and of a port that another program has, is as it should be. */
function isBug(line: string): boolean {
  return !line.startsWith('record passed over') && !line.startsWith('cannot listen; trying again');
}
