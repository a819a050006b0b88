// The embedded store on real files: the contract, and what is its own: locks, modes, damage, full disks, kill -9.
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import type { Store } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { isRoot, needsRoot } from '../support/requirements.ts';

const writer = fileURLToPath(new URL('fixtures/writer.js', import.meta.url));

storeContract('embedded', async (t, keepCommits) => {
  const directory = join(t.testdir(), 'state');
  const clock = new FakeClock();
  let store = openEmbeddedStore({ directory, keepCommits, clock });
  t.teardown(() => store.close());
  return {
    store,
    advance: (ms) => clock.advance(ms),
    leaseMs: 1000,
    forget: async () => {},
    async reopen() {
      await store.close();
      store = openEmbeddedStore({ directory, keepCommits, clock });
      return store;
    },
  };
});

t.test("files are their owner's alone", async (t) => {
  const { directory, store } = opened(t);
  await store.commit([{ key: 'a', value: '1' }]);
  t.equal(mode(directory), 0o700);
  for (const name of readdirSync(directory)) t.equal(mode(join(directory, name)), 0o600, name);
  await store.close();
  chmodSync(directory, 0o755);
  chmodSync(join(directory, 'data.mdb'), 0o644);
  const again = openEmbeddedStore({ directory });
  t.equal(mode(directory), 0o700, 'and become so again');
  t.equal(mode(join(directory, 'data.mdb')), 0o600);
  await again.close();
  t.notOk(existsSync(join(directory, 'lock')), 'the lock is gone with its holder');
});

t.test('one process at a time', async (t) => {
  const { directory, store } = opened(t);
  t.throws(() => openEmbeddedStore({ directory }), {
    code: 'locked',
    message: /lock: this process has this state directory open/,
  });
  const other = spawnSync(process.execPath, [writer, directory, '1'], { encoding: 'utf8' });
  t.match(other.stderr, new RegExp(`locked: .*process ${process.pid} has this state directory open; stop it first`));
  await store.commit([{ key: 'a', value: '1' }]);
  await store.close();
  writeFileSync(join(directory, 'lock'), JSON.stringify({ pid: process.pid, started: '1', boot: 'another' }));
  const second = openEmbeddedStore({ directory });
  t.match(await second.get('a'), { value: '1' }, 'a lock whose pid now belongs to another program is stale');
  await second.close();
  writeFileSync(join(directory, 'lock'), 'rubbish');
  await openEmbeddedStore({ directory }).close();
});

t.test('kill -9: what was acknowledged is there, nothing is half there', async (t) => {
  const directory = join(t.testdir(), 'state');
  let acknowledged = 0;
  for (const stopAfter of [1, 40, 173, 400]) {
    acknowledged = await writeUntilKilled(directory, acknowledged, stopAfter);
    const store = openEmbeddedStore({ directory });
    const { entries } = await store.list('n/');
    const twins = await store.list('twin/');
    t.ok(entries.length >= acknowledged, `${entries.length} commits are there, ${acknowledged} were acknowledged`);
    t.same(
      entries.map(({ value }) => Number(value)),
      entries.map((_, n) => n + 1),
      'from the first to the last',
    );
    t.equal(twins.entries.length, entries.length, 'both halves of each');
    acknowledged = entries.length;
    await store.close();
  }
});

t.test('damage', async (t) => {
  const damage: Readonly<Record<string, (path: string) => void>> = {
    'not a database': (path) => writeFileSync(path, Buffer.alloc(65_536, 'rubbish')),
    'the first pages overwritten': (path) => overwrite(path, 0, 8192),
    'a flipped bit in a value': (path) => flip(path, '"value":"precious'),
    'cut in half': (path) => truncateSync(path, Math.floor(statSync(path).size / 8192) * 4096),
    'all but the first pages zeroed': (path) => overwrite(path, 8192, statSync(path).size),
  };
  for (const [what, harm] of Object.entries(damage)) {
    const { directory, store } = opened(t, what);
    for (let n = 0; n < 50; n++) await store.commit([{ key: `k/${n}`, value: `precious ${n} ${'x'.repeat(500)}` }]);
    await store.close();
    const path = join(directory, 'data.mdb');
    harm(path);
    const child = spawnSync(process.execPath, [writer, directory, '1'], { encoding: 'utf8' });
    t.match(
      child.stderr,
      /(^|\n)damaged: .*data\.mdb is damaged \(.*\)\. It was left as it is: put a copy back, or move the directory away/,
      what,
    );
    t.equal(child.status, 1, 'an error, not a crash');
    t.notOk(existsSync(join(directory, 'lock')));
  }
});

t.test('a start that did not come to its end', async (t) => {
  const { directory, store } = opened(t);
  await store.commit([{ key: 'a', value: '1' }]);
  await store.close();
  writeFileSync(join(directory, 'opening'), '');
  const again = openEmbeddedStore({ directory });
  t.match(await again.get('a'), { value: '1' }, 'another process has read the file first, and found nothing wrong');
  t.notOk(existsSync(join(directory, 'opening')));
  await again.close();
});

t.test('a directory that may not be used', (t) => {
  const directory = t.testdir({ file: 'a file' });
  t.throws(() => openEmbeddedStore({ directory: join(directory, 'file', 'state') }), { name: 'StoreError' });
  if (!isRoot) {
    const readonly = join(directory, 'readonly');
    mkdirSync(readonly, { mode: 0o500 });
    t.throws(() => openEmbeddedStore({ directory: join(readonly, 'state') }), {
      code: 'no-access',
      message: /choose another/,
    });
  }
  t.end();
});

t.test('a full disk', async (t) => {
  if (!needsRoot(t, 'it mounts a small file system in a mount namespace of its own')) return;
  const directory = t.testdir();
  const script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" "$3" "$1/state" fill';
  const child = spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', directory, process.execPath, writer], {
    encoding: 'utf8',
  });
  t.equal(child.status, 0, child.stderr);
  const { failed, message, kept, later } = JSON.parse(child.stdout) as Record<string, unknown>;
  t.equal(failed, 'full');
  t.match(message, /data\.mdb: the file system is full; nothing of the change was kept\. Make room and try again/);
  t.equal(kept, true, 'all that was acknowledged is there, also after opening it again');
  t.equal(later, true, 'smaller commits go on');
  t.equal(child.stderr, '', "nothing is printed behind the log's back");
});

/** Lets a child write commits, kills it after so many acknowledgements; resolves with how many there were in all. */
async function writeUntilKilled(directory: string, from: number, count: number): Promise<number> {
  const child = spawn(process.execPath, [writer, directory, String(from + 1)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = from;
  for await (const line of createInterface({ input: child.stdout })) {
    last = Number(line);
    if (last >= from + count) child.kill('SIGKILL');
  }
  return last;
}

function opened(t: Test, name = 'state'): { readonly directory: string; readonly store: Store } {
  const directory = join(t.testdir(), name.replaceAll(' ', '-'));
  const store = openEmbeddedStore({ directory });
  t.teardown(() => store.close());
  return { directory, store };
}

function mode(path: string): number {
  return statSync(path).mode & 0o777;
}

function overwrite(path: string, from: number, to: number): void {
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.fill(0, from, to));
}

/** Flips one bit behind every place where the text stands: one of them is the living one. */
function flip(path: string, text: string): void {
  const bytes = readFileSync(path);
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
    const place = at + text.length + 1;
    bytes[place] = (bytes[place] ?? 0) ^ 1;
  }
  writeFileSync(path, bytes);
}

t.test('a place where no directory can be made', async (t) => {
  t.throws(() => openEmbeddedStore({ directory: '/proc/nothing/state' }), { message: /\/proc\/nothing.*ENOENT/ });
});
