// M9: an agent with stack files that starts while no etcd runs. Its copy is served, and the files wait.
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { needsEtcd, startEtcd } from '../support/etcd.ts';
import { unusedPort } from '../support/ports.ts';

const STACK = 'services: { web: { expose: ["80"] } }\n';

t.test('is ready with what it knows, and applies its stack files when the store is back', async (t) => {
  if (!needsEtcd(t)) return;
  const etcd = await startEtcd(t);
  const options = {
    stacks: { shop: STACK },
    args: [
      `--store=etcd://${etcd.endpoint}/mesh`,
      '--advertise=127.0.0.2',
      `--probe-port=${unusedPort()}`,
      '--local-only',
    ],
  };
  const first = await startAgent(options);
  const [vip] = (await first.dig('web')).answers ?? [];
  t.match(vip, { type: 'A' });
  await first.stop();
  await etcd.kill();

  const second = await startAgent({ ...options, folder: first.folder });
  t.match((await second.dig('web')).answers, [{ data: (vip as { data: string }).data }], 'the name is as it was');
  const late = await second.logged(({ message }) => message === 'stack file is not applied');
  t.equal(late.kept, 'the last good state stays');
  const messages = second.log.map(({ message }) => message);
  t.ok(messages.indexOf('ready') < messages.indexOf('stack file is not applied'), 'it was ready before that was known');
  t.match(second.log, [{ message: 'store not reachable' }, { reason: /connection refused: no etcd runs there/ }]);
  await etcd.start();
  await second.logged(({ message }) => message === 'stack file is in effect');
  await second.stop();
});
