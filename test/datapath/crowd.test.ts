// As many connections at once as a process has descriptors for.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { descriptorLimit } from '../../src/native/rlimit.ts';
import { ask, dial, endpoint, openDescriptors, TcpRig } from '../support/tcp-rig.ts';

const CROWD = fileURLToPath(new URL('./fixtures/crowd.js', import.meta.url));
/** Each takes two descriptors here, and two in the process of its client and server. */
const MOST = Math.min(9000, Math.floor((descriptorLimit() - 1000) / 2));

t.test('T19, S8: thousands of connections at once, at random; beside them others are served', async (t) => {
  const rig = await TcpRig.start(2);
  const child = spawn(process.execPath, [CROWD], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async () => String((await lines.next()).value);
  const crowd = await rig.publish(endpoint(0, Number(await said())));
  const others = await rig.publish(endpoint(1, await rig.serve((socket) => void socket.end('served'))));
  const before = await dial(crowd.port);
  before.write('before');
  await once(before, 'data');
  const idle = openDescriptors().length;

  child.stdin.write(`${crowd.port} ${MOST} 19\n`);
  t.equal(await said(), 'open');
  t.match(rig.plane.frontendCounters(crowd.id), { accepted: MOST + 1, failed: 0, active: MOST + 1 });
  t.match(rig.plane.endpointCounters(0), { total: MOST + 1, active: MOST + 1, failures: 0 });
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask(others.port)));
  t.same(new Set(answers), new Set(['served']), 'while so many say and read nothing');
  before.write('during');
  t.equal(String((await once(before, 'data'))[0]), 'during');

  child.stdin.write('go\n');
  t.same(JSON.parse(await said()), [], 'every byte of every client');
  await rig.until(() => rig.plane.frontendCounters(crowd.id).active === 1);
  t.match(rig.plane.frontendCounters(crowd.id), { accepted: MOST + 1, failed: 0, active: 1 });
  t.match(rig.plane.endpointCounters(0), { total: MOST + 1, active: 1, failures: 0 });
  t.match(rig.plane.serviceCounters(crowd.id), { open: 1, refused: 0, durations: { count: MOST } });
  await rig.until(() => openDescriptors().length <= idle);
  t.ok(openDescriptors().length <= idle, 'no descriptor is left');
  before.destroy();
  await rig.stop();
});
