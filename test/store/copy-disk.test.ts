// The copy of the last known state on real files: modes, what is cut off, and a full disk.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CopyDirectory } from '../../src/store/copy-disk.ts';
import { LastKnownStore } from '../../src/store/last-known.ts';
import type { Revision } from '../../src/store/store.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';
import { FakeCluster, FakeLink } from '../support/fake-store.ts';
import { needsRoot } from '../support/requirements.ts';

t.test('files', async (t) => {
  const directory = join(t.testdir(), 'state', 'deeper');
  const disk = new CopyDirectory(directory);
  t.same(await read(disk), '', 'there is none yet');
  t.notOk(existsSync(directory), 'and none is made by looking');

  const first = await disk.create();
  t.equal(statSync(directory).mode & 0o777, 0o700);
  await first.append([Buffer.from('one '), Buffer.from('two ')]);
  t.same(await read(disk), '', 'not before it is finished');
  await first.finish();
  await first.append([Buffer.from('three ')]);
  t.same(await read(disk), 'one two three ');
  t.equal(statSync(disk.path).mode & 0o777, 0o600);

  writeFileSync(`${disk.path}.new`, 'of a process that was killed');
  const abandoned = await disk.create();
  await abandoned.append([Buffer.from('four ')]);
  await abandoned.close();
  await first.append([Buffer.from('five ')]);
  await first.close();
  t.same(readdirSync(directory), ['last-known']);

  chmodSync(disk.path, 0o644);
  const again = await disk.resume(8);
  await again.append([Buffer.from('six ')]);
  await again.append([Buffer.from('seven ')]);
  await again.close();
  t.same(await read(disk), 'one two six seven ');
  t.equal(statSync(disk.path).mode & 0o777, 0o600);
});

t.test('a restart', async (t) => {
  const directory = t.testdir();
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock });
  const open = () => {
    const link = new FakeLink(cluster);
    const disk = new CopyDirectory(directory);
    return { link, store: new LastKnownStore(link, { disk, identity: 'fake', clock }) };
  };
  for (let n = 0; n < 500; n++) cluster.commit([{ key: `key${n}`, value: `${n}ü`.repeat(100) }]);
  const first = open();
  const { revision } = await first.store.list('');
  first.store.watch(revision, { onCommit() {}, onGap() {} });
  cluster.commit([
    { key: 'key7', value: 'changed' },
    { key: 'key8', value: null },
  ]);
  await settle();
  await first.store.close();

  for (const more of ['', 'a line that was cut o']) {
    writeFileSync(join(directory, 'last-known'), more, { flag: 'a' });
    const next = open();
    next.link.cut('refused');
    t.same(await next.store.list(''), cluster.list(''));
    next.store.watch(cluster.revision, { onCommit() {}, onGap() {} });
    next.link.heal();
    cluster.commit([{ key: `more${more}`.replaceAll(' ', ''), value: '1' }]);
    await settle();
    await next.store.close();
  }
});

t.test('a place where nothing can be written', async (t) => {
  const directory = t.testdir({ state: 'a file' });
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock });
  const disk = new CopyDirectory(join(directory, 'state'));
  const store = new LastKnownStore(new FakeLink(cluster), { disk, identity: 'fake', clock });
  t.match(await store.list(''), { revision: 0 as Revision });
  await store.close();
  t.match(store.problems, [/^the last known state is not kept in .*state\/last-known: ENOTDIR/]);
});

t.test('a full disk', async (t) => {
  if (!needsRoot(t, 'mounting a small file system')) return;
  const directory = join(t.testdir(), 'small');
  mkdirSync(directory);
  const fixture = fileURLToPath(new URL('fixtures/copy-on-full-disk.js', import.meta.url));
  const script = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" "$3" "$1"';
  const { stdout, stderr } = spawnSync(
    'unshare',
    ['-m', 'sh', '-c', script, 'sh', directory, process.execPath, fixture],
    {
      encoding: 'utf8',
    },
  );
  if (stdout === '') t.fail(stderr);
  t.match(JSON.parse(stdout), {
    entries: 10,
    logged: [['last known state not kept', /ENOSPC: no space left on device/]],
    left: [],
  });
  t.equal(JSON.parse(stdout).logged.length, 1);
});

async function read(disk: CopyDirectory): Promise<string> {
  let text = '';
  for await (const piece of disk.read()) text += piece.toString();
  if (text !== '') t.equal(text, readFileSync(disk.path, 'utf8'));
  return text;
}
