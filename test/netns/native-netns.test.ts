import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { NativeError } from '../../src/native/errno.ts';
import { close } from '../../src/native/libc.ts';
import { closeNetns, createNetns, deleteNetns, inNetns, openNetns } from '../../src/native/netns.ts';
import { listenTcp } from '../../src/native/stream-socket.ts';
import { unusedPort } from '../support/ports.ts';
import { needsRoot } from '../support/requirements.ts';

const WHY = 'it makes network namespaces';
const inode = (path: string): number => statSync(path).ino;
const here = (): string => readlinkSync('/proc/thread-self/ns/net');

t.test('a namespace is made, entered, left and deleted', async (t) => {
  if (!needsRoot(t, WHY)) return;
  const directory = mkdtempSync(join(tmpdir(), 'netns-'));
  const path = join(directory, 'names', 'one');
  const own = here();
  createNetns(path);
  t.equal(here(), own, 'the thread is back where it was');
  const netns = openNetns(path);
  const seen = inNetns(netns, () => ({ link: here(), interfaces: Object.keys(networkInterfaces()) }));
  t.same(seen, { link: `net:[${inode(path)}]`, interfaces: [] }, 'inside there is nothing but a loopback that is down');
  t.equal(here(), own);

  t.throws(
    () =>
      inNetns(netns, () => {
        throw new Error('inside');
      }),
    { message: 'inside' },
  );
  t.equal(here(), own, 'an exception inside leaves the namespace too');

  const port = unusedPort();
  const listener = inNetns(netns, () => listenTcp('0.0.0.0', port));
  const again = listenTcp('0.0.0.0', port);
  const inside = listenTcp('0.0.0.0', port + 1, { netns });
  t.pass('the same port is free in the other namespace');
  for (const fd of [listener, again, inside]) close(fd);

  t.throws(() => createNetns(path), { code: 'EEXIST' });
  closeNetns(netns);
  deleteNetns(path);
  deleteNetns(path);
  t.notOk(existsSync(path));
  execFileSync('umount', [join(directory, 'names')]);
  rmSync(directory, { recursive: true });
});

t.test('a name is made in a directory that is there, or one below it, and nowhere else', async (t) => {
  if (!needsRoot(t, WHY)) return;
  const directory = mkdtempSync(join(tmpdir(), 'netns-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  t.throws(() => createNetns(join(directory, 'no', 'such', 'one')), { code: 'ENOENT' });
  t.notOk(existsSync(join(directory, 'no')));
});

t.test('`ip netns` sees it', async (t) => {
  if (!needsRoot(t, WHY)) return;
  const name = `vipmesh-test-${process.pid}`;
  createNetns(`/run/netns/${name}`);
  try {
    t.match(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }), name);
    execFileSync('ip', ['netns', 'exec', name, 'true']);
  } finally {
    deleteNetns(`/run/netns/${name}`);
  }
  t.notMatch(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }), name);
});

t.test('what a crash left between file and mount is removed', async (t) => {
  if (!needsRoot(t, WHY)) return;
  const directory = mkdtempSync(join(tmpdir(), 'netns-'));
  const path = join(directory, 'half');
  mkdirSync(directory, { recursive: true });
  writeFileSync(path, '');
  deleteNetns(path);
  t.notOk(existsSync(path));
  rmSync(directory, { recursive: true });
});

t.test('a worker thread goes back to its own namespace', async (t) => {
  if (!needsRoot(t, WHY)) return;
  const path = `/run/netns/vipmesh-worker-${process.pid}`;
  createNetns(path);
  const netns = openNetns(path);
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    import { readlinkSync } from 'node:fs';
    const { inNetns } = await import(workerData.module);
    const here = () => readlinkSync('/proc/thread-self/ns/net');
    parentPort.postMessage([here(), inNetns(workerData.netns, here), here()]);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { module: new URL('../../src/native/netns.js', import.meta.url).href, netns },
  });
  const places = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  t.same(places, [here(), `net:[${inode(path)}]`, here()]);
  closeNetns(netns);
  deleteNetns(path);
});

t.test('a descriptor that is no namespace is an error', async (t) => {
  t.throws(() => inNetns(1_000_000, () => 0), NativeError);
});
