// A node takes its place among the others while the store is away.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Cluster } from '../../src/agent/cluster.ts';
import { readIdentity } from '../../src/agent/identity.ts';
import { Teardown } from '../../src/agent/teardown.ts';
import { parseConfig } from '../../src/config.ts';
import { Control } from '../../src/control/control.ts';
import type { LeaseId } from '../../src/store/store.ts';
import { createLog } from '../../src/runtime/log.ts';
import { type EtcdServer, needsEtcd, startEtcd } from '../support/etcd.ts';
import { networkSpec, serviceSpec } from '../control/world.ts';
import { unusedPort } from '../support/ports.ts';

const MACHINE = {
  env: {},
  uid: 1000,
  home: '/nowhere',
  cwd: '/',
  hostname: 'alpha',
  cpus: 1,
  stderrIsTerminal: false,
  resolvConf: '',
};

/** As an agent does, without what it serves. */
async function start(
  etcd: EtcdServer,
  stateDir: string,
  probePort: number,
  beforeJoining: (cluster: Cluster) => Promise<void> = async () => {},
) {
  const messages: string[] = [];
  const write = (line: string) => void messages.push(JSON.parse(line).message);
  const log = createLog({ level: 'info', format: 'json', write });
  const flags = {
    'state-dir': stateDir,
    store: `etcd://${etcd.endpoint}/mesh`,
    advertise: '127.0.0.2',
    'probe-port': String(probePort),
  };
  const config = parseConfig(flags, MACHINE);
  if (config.cluster === undefined) throw new Error('it is one of a cluster');
  const opened = new Teardown(log);
  // Twice does no harm.
  t.teardown(() => opened.all());
  const cluster = await Cluster.enter({ config, settings: config.cluster, log, opened });
  const control = await Control.open({
    store: cluster.store,
    catalog: cluster.catalog,
    nodeName: config.nodeName,
    nodeId: cluster.nodeId,
    lease: cluster,
    privileged: false,
    allowPlaintextOverlays: false,
    portProblem: () => undefined,
  });
  opened.add('control', () => control.close());
  await beforeJoining(cluster);
  await cluster.join(control, config.nodeName, opened);
  const { prober, store } = cluster;
  return {
    cluster,
    control,
    messages,
    stop: () => opened.all(),
    /** As kill -9 of a process: nothing of it is taken off the record. */
    kill: async () => {
      await prober.close();
      await store.close();
      // It is the same process that goes on, and a lock ends with its process.
      rmSync(join(stateDir, 'lock'));
    },
  };
}

t.test('who starts without the store serves before it is on record', async (t) => {
  if (!needsEtcd(t)) return;
  const etcd = await startEtcd(t);
  const [stateDir, probePort] = [t.testdir(), unusedPort()];
  const first = await start(etcd, stateDir, probePort);
  t.not(first.cluster.current, undefined, 'with the store, it is on record');
  await first.kill();

  etcd.freeze();
  for (const which of ['the first', 'the second']) {
    const next = await start(etcd, stateDir, probePort);
    t.equal(next.cluster.nodeId, first.cluster.nodeId, `${which} run without the store is who it was`);
    t.ok(next.messages.includes('store does not answer: serving the last known state'), 'it begins with its copy');
    t.notOk(
      next.messages.some((message) => /^(this node cannot keep itself|another agent of this name)/.test(message)),
      'it has not waited for the store to refuse it, nor for what was on record before to go',
    );
    await next.kill();
  }

  etcd.thaw();
  const last = await start(etcd, stateDir, probePort);
  t.notOk(
    last.messages.some((message) => message.startsWith('another agent of this name')),
    'none is a stranger',
  );
  t.not(last.cluster.current, undefined, 'with the store again, it is on record');
  t.same(readIdentity(stateDir)?.earlier, [], 'and no run before it is');
  await last.stop();
});

t.test('the lease of the run before ends between being read and being followed by another', async (t) => {
  if (!needsEtcd(t)) return;
  const etcd = await startEtcd(t);
  const [stateDir, probePort] = [t.testdir(), unusedPort()];
  const first = await start(etcd, stateDir, probePort);
  const { control, cluster } = first;
  await control.createNetwork(networkSpec('front', { driver: 'local' }));
  await control.createService(serviceSpec('web', { networks: ['front'], expose: ['80'] }));
  const { id } = await control.addTask({ service: 'web' });
  const lease = cluster.current;
  await first.kill();

  const next = await start(etcd, stateDir, probePort, async ({ catalog, store }) => {
    t.ok(catalog.snapshot.tasks.has(id), 'it is read');
    await store.revokeLease(lease as LeaseId);
    await catalog.at((await store.list('')).revision);
    t.equal(await store.get(`task/${id}`), undefined, 'the store has it no longer');
    t.ok(catalog.snapshot.tasks.has(id), 'it is known that it runs here all the same');
  });
  t.not(await next.cluster.store.get(`task/${id}`), undefined, 'and on record again');
  await next.stop();
});
