// What the agent may do beyond an ordinary user: it works with three capabilities and no more, and needs each of them.
import { mayBeNode } from './support/node.ts';
import { spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import t from 'tap';
import type { AgentStatus } from '../../src/api/status-schema.ts';
import { answers, complaints, failingAgent, startAgent } from '../support/agent.ts';
import { ping } from '../support/netns.ts';
import { httpGet, lookup } from './support/clients.ts';
import { vipOf } from './support/mesh.ts';
import { startServer, until } from './support/tasks.ts';

const NODE = 0;
/** Numbers of linux/capability.h. */
const CAPABILITIES = { net_bind_service: 10, net_admin: 12, sys_admin: 21 } as const;
type Capability = keyof typeof CAPABILITIES;
const ALL = Object.keys(CAPABILITIES) as Capability[];
const STACK = `services:
  web:
    networks: [front]
    ports: ["80:8000"]
  shell: {networks: [front]}
networks:
  front: {driver: overlay, enable_ipv6: true, attachable: true}
`;
const DNS = ['--dns', '127.0.0.11:53'];

/** Words before a command: root that has these and can never have others. */
function withOnly(capabilities: readonly Capability[]): readonly string[] {
  return ['setpriv', `--bounding-set=-all,${capabilities.map((name) => `+${name}`).join()}`];
}

function effectiveOf(pid: number | undefined): bigint {
  const [, hex = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return BigInt(`0x${hex}`);
}

t.test('an agent with the capabilities that README names', async (t) => {
  if (!(await mayBeNode(t))) return;
  const agent = await startAgent({ through: withOnly(ALL), args: DNS, stacks: { shop: STACK } });
  const wanted = ALL.reduce((sum, name) => sum | (1n << BigInt(CAPABILITIES[name])), 0n);
  t.equal(effectiveOf(agent.process.pid), wanted, 'it has these and no others');
  const [shell, web] = await Promise.all([startServer(agent, 'shell'), startServer(agent, 'web')]);
  const served = (text: string) => text.startsWith(web.name);
  t.ok(await until('a published port', () => httpGet(NODE, '127.0.0.1', 80), served), 'a port below 1024 of the node');
  const vip = await vipOf(agent, 'shop_front', 'web');
  t.same(answers(await lookup(shell.netns, 'web', { type: 'A' })), [vip], 'DNS in a container');
  t.ok(await until('the VIP', () => httpGet(shell.netns, vip, 8000), served), 'by VIP');
  t.equal(ping(shell.netns, web.address), 'answered');
  const attach = async (...through: readonly string[]) => {
    const [program = '', ...words] = [...through, 'unshare', '--net', 'sleep', '600'];
    const guest = spawn(program, words, { stdio: 'ignore' });
    t.teardown(() => guest.kill('SIGKILL'));
    const own = readlinkSync('/proc/self/ns/net');
    await until(
      'a container of somebody else',
      async () => readlinkSync(`/proc/${guest.pid}/ns/net`),
      (netns) => netns !== own,
    );
    return agent.cli('attach', '--pid', String(guest.pid), '--service', 'shop_shell', '--name', `guest${guest.pid}`);
  };
  t.match(await attach(...withOnly(ALL)), { code: 0 }, 'a container that may do no more than it');
  const { code, stderr } = await attach();
  t.equal(code, 1, 'not one that may do more');
  t.match(stderr, /the agent may not look into \/proc\/\d+\/ns\/net: .*CAP_SYS_PTRACE/);
  t.same(complaints(agent), [], 'it has nothing to complain of');
});

t.test('without one of them', async (t) => {
  if (!(await mayBeNode(t))) return;
  const without = (name: Capability) => withOnly(ALL.filter((other) => other !== name));
  for (const [name, complaint] of [
    ['net_bind_service', /bind 127\.0\.0\.11:53.*CAP_NET_BIND_SERVICE/],
    ['net_admin', /CAP_NET_ADMIN/],
  ] as const) {
    const { code, stderr } = await failingAgent({ through: without(name), args: DNS });
    t.equal(code, 1, `no agent without ${name}`);
    t.match(stderr, complaint);
  }
  const agent = await startAgent({ through: without('sys_admin') });
  await agent.cli('network', 'create', '--driver', 'overlay', 'back');
  const warnings = await until(
    'it is told',
    async () => (await agent.json<AgentStatus>('status')).Warnings.join(),
    (text) => text.includes('CAP_SYS_ADMIN'),
  );
  t.match(warnings, /cannot make network namespace .* it needs CAP_SYS_ADMIN/);
});
