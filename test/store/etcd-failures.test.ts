// An etcd that is down, frozen, silent, slow, reset or back with another history; calls end in time and watches miss nothing.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { close } from '../../src/native/libc.ts';
import { listenTcp, localAddress } from '../../src/native/stream-socket.ts';
import type { Revision } from '../../src/store/store.ts';
import { Relay } from '../support/etcd-relay.ts';
import { connected, follow, IN_TIME_MS, inTime, openStoreAt, retried } from '../support/etcd-store.ts';
import { needsEtcd, startEtcd } from '../support/etcd.ts';
import { refusingPort } from '../support/ports.ts';

if (needsEtcd(t)) {
  t.test('nobody there', async (t) => {
    const store = openStoreAt(t, [{ endpoint: `127.0.0.1:${refusingPort()}` }, { endpoint: 'nowhere.invalid:2379' }]);
    t.match(store.state, { connected: false });
    const unsent = store.commit([{ key: 'a', value: '1' }]);
    const [message] = await Promise.all([
      inTime(t, 'commit', unsent, /etcd does not answer/),
      inTime(t, 'get', store.get('a'), /127\.0\.0\.1:\d+: connection refused: no etcd runs there/),
      inTime(t, 'list', store.list(''), /connection refused/),
      inTime(t, 'grant', store.grantLease(1000), /connection refused/),
    ]);
    t.match(await unsent.catch((error: unknown) => error), { nothingDone: true }, 'it never got there');
    t.match(message, /nowhere\.invalid:2379: the name nowhere\.invalid is not known to DNS/);
    t.match(store.state, { connected: false, absent: true, lastError: /connection refused/ });
  });

  t.test('somebody else there', async (t) => {
    const sockets: Socket[] = [];
    const silent = await listen(t, (socket) => sockets.push(socket));
    const web = await listen(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const closing = await listen(t, (socket) => socket.destroy());
    await Promise.all([
      inTime(t, 'silent', openStoreAt(t, [silent]).get('a'), /it takes connections but does not answer: it is frozen/),
      inTime(t, 'closing', openStoreAt(t, [closing]).get('a'), /it closed the connection/),
    ]);
    const refusing = openStoreAt(t, [web, { endpoint: `127.0.0.1:${refusingPort()}` }]);
    await t.rejects(refusing.get('a'), { code: 'refused', message: /what answers there is no etcd/ });
    t.equal(refusing.state.absent, undefined, 'somebody is there');
    for (const socket of sockets) socket.destroy();
  });

  t.test('packets that are dropped', async (t) => {
    // A full queue of connections that nobody accepts: the kernel drops what asks for another one.
    const fd = listenTcp('127.0.0.1', 0, { backlog: 0 });
    const { port } = localAddress(fd);
    const fillers = [1, 2].map(() => connect(port, '127.0.0.1'));
    t.teardown(() => {
      for (const socket of fillers) socket.destroy();
      close(fd);
    });
    await Promise.race(fillers.map((socket) => once(socket, 'connect')));
    const store = openStoreAt(t, [{ endpoint: `127.0.0.1:${port}` }]);
    await inTime(t, 'get', store.get('a'), /the machine is down, or a firewall drops the packets/);
  });

  t.test('etcd comes later', async (t) => {
    const etcd = await startEtcd(t);
    await etcd.kill();
    const store = openStoreAt(t, [etcd]);
    const watched = follow(t, store, 1 as Revision);
    await inTime(t, 'get', store.get('a'), /connection refused/);
    await etcd.start();
    await connected(store, true);
    const { revision } = await store.commit([{ key: 'a', value: '1' }]);
    t.match(await watched.until(revision), [{ revision, writes: [{ key: 'a', value: '1' }] }]);
    t.match(store.state, { connected: true, endpoint: etcd.endpoint, leader: /^[0-9a-f]+$/, lastError: undefined });
  });

  t.test('killed and started again', async (t) => {
    const etcd = await startEtcd(t);
    const store = openStoreAt(t, [etcd]);
    const other = openStoreAt(t, [etcd]);
    const watched = follow(t, store, (await store.list('')).revision);
    const revisions: number[] = [];
    for (let round = 0; round < 2; round++) {
      revisions.push((await store.commit([{ key: `before/${round}`, value: '1' }])).revision);
      await etcd.kill();
      await connected(store, false);
      await inTime(t, 'commit', store.commit([{ key: 'meanwhile', value: '1' }]), /etcd/);
      await etcd.start();
      revisions.push((await retried(() => other.commit([{ key: `after/${round}`, value: '1' }]))).revision);
    }
    await watched.until(revisions.at(-1) as number);
    t.same(watched.revisions(), revisions, 'every commit once, in order');
  });

  t.test('frozen, and going on', async (t) => {
    const etcd = await startEtcd(t);
    const store = openStoreAt(t, [etcd]);
    const watched = follow(t, store, (await store.list('')).revision);
    const first = await store.commit([{ key: 'n', value: '1' }]);
    await watched.until(first.revision);
    etcd.freeze();
    const lost = connected(store, false);
    const sent = store.commit([{ key: 'n', value: '2' }]);
    const message = await inTime(t, 'commit', sent, /within|broke/);
    t.match(message, /Whether the commit was done is not known/);
    t.match(await sent.catch((error: unknown) => error), { nothingDone: false });
    await lost;
    await inTime(t, 'get', store.get('n'), /frozen or overloaded/);
    etcd.thaw();
    await connected(store, true);
    const last = await retried(() => store.commit([{ key: 'm', value: '1' }]));
    // What was under way when etcd froze may be done now, even after this; it is not done twice.
    const standing = await retried(() => store.get('n'));
    const expected = [...new Set([first.revision, standing?.revision ?? 0, last.revision])].sort((a, b) => a - b);
    await watched.until(expected.at(-1) as number);
    t.same(watched.revisions(), expected);
  });

  t.test('a network that says nothing', async (t) => {
    const etcd = await startEtcd(t);
    const relay = await Relay.to(t, etcd.endpoint);
    const store = openStoreAt(t, [relay]);
    const direct = openStoreAt(t, [etcd]);
    const watched = follow(t, store, (await store.list('')).revision);
    const revisions: number[] = [];
    for (let round = 0; round < 2; round++) {
      relay.silence();
      const lost = connected(store, false);
      revisions.push((await direct.commit([{ key: 'n', value: String(round) }])).revision);
      await inTime(t, 'get', store.get('n'), /etcd/);
      await lost;
      relay.resume();
      await connected(store, true);
      await watched.until(revisions.at(-1) as number);
    }
    relay.reset();
    revisions.push((await direct.commit([{ key: 'n', value: 'last' }])).revision);
    await watched.until(revisions.at(-1) as number);
    t.same(watched.revisions(), revisions);
  });

  t.test('a slow network', async (t) => {
    const etcd = await startEtcd(t);
    const relay = await Relay.to(t, etcd.endpoint);
    relay.delayMs = 150;
    const store = openStoreAt(t, [relay]);
    const watched = follow(t, store, (await store.list('')).revision);
    const results = await Promise.all([1, 2, 3].map((n) => store.commit([{ key: `k/${n}`, value: '1' }])));
    const revisions = results.map(({ revision }) => revision).sort((a, b) => a - b);
    await watched.until(revisions.at(-1) as number);
    t.same(watched.revisions(), revisions);
    t.equal(store.state.connected, true);
  });

  t.test('history that is gone', async (t) => {
    const etcd = await startEtcd(t);
    const relay = await Relay.to(t, etcd.endpoint);
    const store = openStoreAt(t, [relay]);
    const direct = openStoreAt(t, [etcd]);
    await direct.commit([{ key: 'a', value: '1' }]);
    const gone = await direct.commit([{ key: 'gone', value: '1' }]);
    const watched = follow(t, store, gone.revision);
    relay.silence();
    await connected(store, false);
    const removal = await direct.commit([{ key: 'gone', value: null }]);
    await etcd.compact(removal.revision);
    relay.reset();
    relay.resume();
    await watched.gap;
    t.same(watched.revisions(), [], 'a removal at the very revision of the compaction is not missed');
    t.same(
      (await store.list('')).entries.map(({ key }) => key),
      ['a'],
    );
  });

  t.test('closing does not wait for what does not answer', async (t) => {
    const etcd = await startEtcd(t);
    etcd.freeze();
    const store = openStoreAt(t, [etcd]);
    follow(t, store, 1 as Revision);
    const pending = store.get('a');
    pending.catch(() => {});
    const begun = performance.now();
    await store.close();
    t.ok(performance.now() - begun < IN_TIME_MS);
    await t.rejects(pending, { name: 'StoreError' });
    t.equal(store.state.connected, false);
  });
}

async function listen(t: Test, onConnection: (socket: Socket) => void): Promise<{ readonly endpoint: string }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { endpoint: `127.0.0.1:${(server.address() as { port: number }).port}` };
}
