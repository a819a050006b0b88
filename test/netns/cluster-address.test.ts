// A machine whose address changes while its agent runs: the other nodes follow.
import { mayBeNode } from './support/node.ts';
import t from 'tap';
import type { AgentStatus } from '../../src/api/status-schema.ts';
import type { Operation } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { type Agent, startAgent } from '../support/agent.ts';
import { ip } from '../support/builders.ts';
import { needsEtcd, startEtcd } from '../support/etcd.ts';

const PROBE_PORT = '7946';

async function until<Answer>(ask: () => Promise<Answer>, isSo: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
  }
}

t.test('an address goes and another comes', async (t) => {
  if (!(await mayBeNode(t)) || !needsEtcd(t)) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const change = (kind: 'add-address' | 'remove-address', address: string) => {
    const operation: Operation = {
      kind,
      link: 'net0',
      address: { address: ip(address), prefixLength: 24, deprecated: false },
    };
    return kernel.own.apply(operation);
  };
  await kernel.own.apply({ kind: 'add-bridge', name: 'net0' });
  await kernel.own.apply({ kind: 'set-link', name: 'net0', up: true });
  await change('add-address', '10.9.0.1');
  const etcd = await startEtcd(t);
  const joining = (name: string, ...more: readonly string[]) =>
    startAgent({
      args: [
        '--store',
        `etcd://${etcd.endpoint}/mesh`,
        '--node-name',
        name,
        '--probe-port',
        PROBE_PORT,
        '--workers',
        '1',
        ...more,
      ],
    });
  const alpha = await joining('alpha', '--advertise', '127.0.0.2');
  const beta = await joining('beta');
  const status = (agent: Agent) => agent.json<AgentStatus>('status');
  const betaOn = async (agent: Agent) => (await status(agent)).Cluster?.Nodes.find(({ Name }) => Name === 'beta');
  const isAt = (address: string) => (node: Awaited<ReturnType<typeof betaOn>>) =>
    node?.Address === address && node.State === 'ready' && node.RoundTrip !== undefined;
  await until(() => betaOn(alpha), isAt('10.9.0.1'));
  await change('remove-address', '10.9.0.1');
  await beta.logged(({ message }) =>
    /^10\.9\.0\.1, at which other nodes know this one, is not on this machine/.test(message),
  );
  t.match((await status(beta)).Warnings, [/10\.9\.0\.1/], 'it says so');
  await change('add-address', '10.9.0.7');
  for (const agent of [alpha, beta])
    await until(
      () => betaOn(agent),
      (node) => node?.Address === '10.9.0.7',
    );
  t.ok(await until(() => betaOn(alpha), isAt('10.9.0.7')), 'it is asked there, and answers');
  t.same((await status(beta)).Warnings, []);
});
