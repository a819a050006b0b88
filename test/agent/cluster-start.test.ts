// A node takes its place among the others while the store is away.
import t from 'tap';
import { Cluster } from '../../src/agent/cluster.ts';
import { Teardown } from '../../src/agent/teardown.ts';
import { parseConfig } from '../../src/config.ts';
import { Control } from '../../src/control/control.ts';
import { createLog } from '../../src/runtime/log.ts';
import { type EtcdServer, needsEtcd, startEtcd } from '../support/etcd.ts';
import { unusedPort } from '../support/ports.ts';

const MACHINE = { env: {}, uid: 1000, home: '/nowhere', cwd: '/', cpus: 1, stderrIsTerminal: false, resolvConf: '' };

/** As an agent does, without what it serves. */
async function start(etcd: EtcdServer, stateDir: string, probePort: number) {
  const messages: string[] = [];
  const write = (line: string) => void messages.push(JSON.parse(line).message);
  const log = createLog({ level: 'info', format: 'json', write });
  const flags = { stateDir, store: `etcd://${etcd.endpoint}/mesh`, advertise: '127.0.0.2', probePort: `${probePort}` };
  const config = parseConfig(flags, { ...MACHINE, hostname: 'alpha' });
  if (config.cluster === undefined) throw new Error('it is one of a cluster');
  const opened = new Teardown(log);
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
  await cluster.join(control, config.nodeName, opened);
  return { cluster, messages, stop: () => opened.all() };
}

t.test('who starts without the store serves before it is on record', async (t) => {
  if (!needsEtcd(t)) return;
  const etcd = await startEtcd(t);
  const [stateDir, probePort] = [t.testdir(), unusedPort()];
  const first = await start(etcd, stateDir, probePort);
  t.not(first.cluster.current, undefined, 'with the store, it is on record');
  await first.stop();

  etcd.freeze();
  const second = await start(etcd, stateDir, probePort);
  t.equal(second.cluster.nodeId, first.cluster.nodeId, 'it is who it was');
  t.ok(second.messages.includes('store does not answer: serving the last known state'), 'it begins with its copy');
  t.notOk(
    second.messages.some((message) => message.startsWith('this node cannot keep itself on record')),
    'it has not waited for the store to refuse it',
  );
  etcd.thaw();
  const isPresent = () => second.cluster.catalog.snapshot.presences.get(second.cluster.nodeId)?.instance;
  const before = isPresent();
  await new Promise<void>((resolve) => {
    second.cluster.catalog.subscribe(() => {
      if (isPresent() !== before && isPresent() !== undefined) resolve();
    });
  });
  t.not(second.cluster.current, undefined, 'and then is on record');
  await second.stop();
});
