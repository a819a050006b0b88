// What tests do to a lab is really done.
import { mayHaveLab, startLab } from './support/lab.ts';
import t from 'tap';
import { tryTcp } from '../support/netns.ts';
import { httpGet } from './support/clients.ts';
import { status } from './support/lab-command.ts';
import { until } from './support/tasks.ts';

/** Six questions for a connection, each lost with one in five, take 63 s. */
const LOSS_PATIENCE_MS = 120_000;

t.test('faults', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  await two.serve();
  const reach = () => tryTcp(one.netns, two.address, 8000);
  t.equal(reach(), 'connected');
  await two.cut();
  t.equal(reach(), 'nobody', 'cut');
  await two.heal();
  await until('it is healed', reach, (met) => met === 'connected');
  await one.cut();
  t.equal(tryTcp(three.netns, one.address, 2379), 'nobody', 'this node can be cut off too, and etcd with it');
  await one.heal();
  two.lose(100);
  t.equal(reach(), 'nobody', 'everything is lost');
  two.lose(20);
  await until('what was lost is forgotten', reach, (met) => met === 'connected');
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => httpGet(one.netns, two.address, 8000, '/', LOSS_PATIENCE_MS)),
  );
  t.same(
    answers.filter((text) => !text.startsWith('node2')),
    [],
    'a fifth is lost, and TCP mends it',
  );
  two.lose(0);
  t.equal(reach(), 'connected');

  two.freezeAgent();
  t.match(await status(), { Nodes: [{}, { State: 'silent', PID: two.pid }, {}] });
  two.thawAgent();
  await until(
    'it goes on',
    () => two.readiness(),
    (text) => text === 'ready',
  );
  const { pid, id } = two;
  await two.killAgent();
  t.equal(await two.readiness(), 'ECONNREFUSED');
  await two.restartAgent();
  t.equal(await two.readiness(), 'ready');
  t.not(two.pid, pid);
  t.equal(two.id, id, 'the same node');
  t.equal(two.log().filter(({ message }) => message === 'ready').length, 2, 'its log goes on');

  mesh.etcd.freeze();
  t.match(await status(), { Etcd: { State: 'silent' } });
  mesh.etcd.thaw();
  await until('etcd goes on', status, (view) => view.Etcd.State === 'ready');
  await mesh.etcd.kill();
  t.match(await status(), { Etcd: { State: 'ended', PID: null } });
  await mesh.etcd.restart();
  t.match(await one.cli('node', 'ls', '-q'), { stdout: id }, 'with what it had stored');

  await three.kill();
  t.match(await status(), { Nodes: [{}, {}, { State: 'ended' }] });
  await t.rejects(one.killProcesses(), RangeError, 'not this very process');
  await mesh.down();
});
