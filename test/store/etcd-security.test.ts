// TLS with client certificates, users and passwords: what is let in, and what is said to the rest.
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseEtcdUrl } from '../../src/store/etcd/address.ts';
import { openEtcdStore } from '../../src/store/etcd/store.ts';
import { base64, type EtcdServer, makeCertificates, needsEtcd, startEtcd } from '../support/etcd.ts';
import { connected, follow, openStoreAt, recordingLog } from '../support/etcd-store.ts';

if (needsEtcd(t)) {
  t.test('TLS', async (t) => {
    const directory = t.testdir();
    const own = makeCertificates(join(directory, 'own'));
    const foreign = makeCertificates(join(directory, 'foreign'));
    const etcd = await startEtcd(t, { tls: own });
    const plain = await startEtcd(t);
    const client = { ca: own.ca, cert: own.clientCert, key: own.clientKey };
    const warnings: string[] = [];
    const warned = (warning: Error) => warnings.push(warning.message);
    process.on('warning', warned);
    t.teardown(() => process.off('warning', warned));

    for (const host of ['127.0.0.1', 'localhost']) {
      const store = openStoreAt(t, [{ endpoint: `${host}:${etcd.clientPort}` }], { ...client, prefix: `/${host}` });
      const watched = follow(t, store, (await store.list('')).revision);
      const { revision } = await store.commit([{ key: 'a', value: host }]);
      await watched.until(revision);
      t.match(await store.get('a'), { value: host }, `by ${host}`);
    }

    const rows: readonly (readonly [string, EtcdServer, object, RegExp])[] = [
      ['no TLS', etcd, {}, /it speaks TLS only; give its certificate authority/],
      [
        'another authority',
        etcd,
        { ...client, ca: foreign.ca },
        /authority that is not trusted; give it \(--store-ca\)/,
      ],
      ['no client certificate', etcd, { ca: own.ca }, /it asks for a client certificate; give one/],
      [
        'a client certificate of another authority',
        etcd,
        { ca: own.ca, cert: foreign.clientCert, key: foreign.clientKey },
        /it does not take our certificate \(--store-cert\)/,
      ],
      ['TLS where there is none', plain, client, /it does not speak TLS; leave --store-ca/],
    ];
    for (const [what, server, files, message] of rows) {
      await t.rejects(openStoreAt(t, [server], files).get('a'), { code: 'refused', message }, what);
    }
    const elsewhere = openStoreAt(t, [{ endpoint: `127.0.0.2:${etcd.clientPort}` }], client);
    await t.rejects(elsewhere.get('a'), { code: 'unavailable', message: /127\.0\.0\.2:\d+: connection refused/ });
    t.same(warnings, []);
  });

  t.test('a certificate for another name', async (t) => {
    const own = makeCertificates(join(t.testdir(), 'own'), 'DNS:elsewhere.example');
    const etcd = await startEtcd(t, { tls: own });
    const store = openStoreAt(t, [etcd], { ca: own.ca, cert: own.clientCert, key: own.clientKey });
    await t.rejects(store.get('a'), {
      code: 'refused',
      message: /its certificate is not for 127\.0\.0\.1; use a name/,
    });
  });

  t.test('certificates that are renewed while the agent runs', async (t) => {
    const directory = t.testdir();
    const own = makeCertificates(join(directory, 'own'));
    const foreign = makeCertificates(join(directory, 'foreign'));
    const etcd = await startEtcd(t, { tls: own });
    const files = { ca: join(directory, 'ca'), cert: join(directory, 'cert'), key: join(directory, 'key') };
    const install = ({ ca, clientCert, clientKey }: typeof own) => {
      copyFileSync(ca, files.ca);
      copyFileSync(clientCert, files.cert);
      copyFileSync(clientKey, files.key);
    };
    install(foreign);
    const store = openStoreAt(t, [etcd], files);
    await t.rejects(store.get('a'), { code: 'refused' });
    install(own);
    await connected(store, true);
    t.same(await store.get('a'), undefined);
  });

  t.test('users', async (t) => {
    const etcd = await startEtcd(t);
    await protect(etcd);
    const ann = openStoreAt(t, [etcd], { prefix: '/ann', login: 'ann:wonderland' });
    const watched = follow(t, ann, (await ann.list('')).revision);
    const written = await ann.commit([{ key: 'a', value: '1' }]);
    await watched.until(written.revision);
    const lease = await ann.grantLease(20_000);
    t.equal(await ann.keepAlive(lease), true);

    t.comment('tokens are lost with a member; the agent asks for another');
    await etcd.kill();
    await etcd.start();
    await connected(ann, true);
    const later = await ann.commit([{ key: 'a', value: '2' }]);
    await watched.until(later.revision);
    t.comment('and when rights have changed');
    const root = ((await etcd.ask('auth/authenticate', { name: 'root', password: 'queen' })) as { token: string })
      .token;
    await etcd.ask('auth/user/add', { name: 'eve', password: 'x' }, root);
    t.match(await ann.commit([{ key: 'a', value: '3' }]), { committed: true });
    t.match(await ann.get('a'), { value: '3' });

    const passwordFile = join(t.testdir({}), 'password');
    writeFileSync(passwordFile, 'wonderland\n');
    t.match(await openStoreAt(t, [etcd], { prefix: '/ann', login: 'ann', passwordFile }).get('a'), { value: '3' });

    const rows: readonly (readonly [string, Parameters<typeof openStoreAt>[2], RegExp])[] = [
      ['no user', { prefix: '/ann' }, /it asks for a user and a password/],
      ['a wrong password', { prefix: '/ann', login: 'ann:hunter2' }, /does not take the password of user ann/],
      ['an unknown user', { prefix: '/ann', login: 'bob:hunter2' }, /user bob, or has no such user/],
      [
        'no rights',
        { prefix: '/bob', login: 'ann:wonderland' },
        /user ann may not use \/bob\/; grant.*--prefix=true \/bob\//,
      ],
    ];
    for (const [what, options, message] of rows) {
      const { log, lines } = recordingLog();
      const store = openStoreAt(t, [etcd], { ...options, log });
      const error = await store.get('a').catch((reason: Error) => reason);
      t.match(error, { code: 'refused', message }, what);
      await t.rejects(store.commit([{ key: 'a', value: '1' }]), { code: 'refused' });
      t.notMatch(`${lines.join('\n')} ${(error as Error).message}`, /hunter2|wonderland/, 'no password is told');
      await store.close();
    }
  });

  t.test('a password where none is asked for', async (t) => {
    const etcd = await startEtcd(t);
    const store = openStoreAt(t, [etcd], { login: 'ann:wonderland' });
    t.match(await store.commit([{ key: 'a', value: '1' }]), { committed: true });
    await protect(etcd);
    t.comment('asked for from now on');
    await t.rejects(openStoreAt(t, [etcd]).get('a'), { code: 'refused' });
    await t.rejects(store.get('a'), { code: 'refused', message: /user ann may not use \/vipmesh/ });
  });
}

t.test('files that are not there', (t) => {
  const address = parseEtcdUrl('etcd://h1');
  const withUser = parseEtcdUrl('etcd://ann@h1');
  if (typeof address === 'string' || typeof withUser === 'string') throw new Error('no address');
  const { log } = recordingLog();
  const rows: readonly (readonly [object, RegExp])[] = [
    [{ address, ca: '/nowhere/ca' }, /--store-ca: \/nowhere\/ca cannot be used: ENOENT/],
    [{ address, cert: '/nowhere/cert' }, /--store-cert and --store-key/],
    [{ address: withUser }, /no password for etcd's user ann/],
    [{ address: withUser, passwordFile: '/nowhere/password' }, /\/nowhere\/password cannot be used/],
  ];
  for (const [options, message] of rows) {
    t.throws(() => openEtcdStore({ address, log, ...options }), { code: 'refused', message });
  }
  const rubbish = join(t.testdir({ rubbish: 'no certificate' }), 'rubbish');
  t.throws(() => openEtcdStore({ address, log, ca: rubbish }), { code: 'refused', message: /--store-ca: .*rubbish/ });
  const [one, other] = [makeCertificates(join(t.testdir({}), 'one')), makeCertificates(join(t.testdirName, 'other'))];
  const mismatch = { address, log, cert: one.clientCert, key: other.clientKey };
  t.throws(() => openEtcdStore(mismatch), { code: 'refused', message: /--store-key: .*client\.key cannot be used/ });
  t.end();
});

/** From now on etcd asks who it is: root, and ann, who has /ann/. */
async function protect(etcd: EtcdServer): Promise<void> {
  await etcd.ask('auth/user/add', { name: 'root', password: 'queen' });
  await etcd.ask('auth/role/add', { name: 'root' });
  await etcd.ask('auth/user/grant', { user: 'root', role: 'root' });
  await etcd.ask('auth/user/add', { name: 'ann', password: 'wonderland' });
  await etcd.ask('auth/role/add', { name: 'ann' });
  const perm = { permType: 'READWRITE', key: base64('/ann/'), range_end: base64('/ann0') };
  await etcd.ask('auth/role/grant', { name: 'ann', perm });
  await etcd.ask('auth/user/grant', { user: 'ann', role: 'ann' });
  await etcd.ask('auth/enable', {});
}
