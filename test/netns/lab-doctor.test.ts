// `vipmesh doctor` in a cluster, and `vipmesh cleanup` after one whose agents were killed.
import { type Lab, mayHaveLab, startLab } from './support/lab.ts';
import t from 'tap';
import { listTables } from '../../src/agent/nftables-listing.ts';
import { run } from '../support/agent.ts';
import { namespaces } from './support/node.ts';
import { until } from './support/tasks.ts';

interface Finding {
  readonly Level: string;
  readonly Check: string;
  readonly What: string;
}

/** `level: what` of some checks, on one of the nodes. */
async function doctor(mesh: Lab, node: number, ...checks: string[]): Promise<readonly string[]> {
  const { stdout, stderr } = await mesh.node(node).cli('doctor', '--format', 'json');
  if (stdout === '') throw new Error(stderr);
  return (JSON.parse(stdout) as readonly Finding[]).flatMap(({ Level, Check, What }) =>
    checks.includes(Check) ? [`${Level}: ${What}`] : [],
  );
}

const isOfAgents = (name: string) => name.startsWith('vipmesh-');

t.test('a cluster', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab({ nodes: 3, agentFlags: ['--drain=0s'] });
  const done = async (...words: string[]) => {
    const { code, stderr } = await mesh.node(1).cli(...words);
    t.equal(code, 0, stderr);
  };
  await done('network', 'create', 'front');
  await done(
    'service',
    'create',
    '--name',
    'web',
    '--network',
    'front',
    '--publish',
    '8080:80',
    '--endpoint',
    '10.0.0.9:80',
  );
  await until(
    'each node has the network',
    () => namespaces().filter(isOfAgents),
    (names) => names.length === 3,
  );

  await t.test('that is well', async (t) => {
    await until(
      'all nodes answer',
      () => doctor(mesh, 2, 'nodes'),
      ([first, second]) => /^ok: 2 other nodes answer within/.test(first ?? '') && second === undefined,
    );
    t.match(await doctor(mesh, 2, 'store'), [
      /^ok: the state directory/,
      /^ok: etcd \(198\.18\.\d+\.1:2379\) has been connected/,
    ]);
    t.match(await doctor(mesh, 2, 'mtu', 'paths'), [
      /^ok: eth0 \(198\.18\.\d+\.2\) takes packets of 1500 bytes, so overlay networks between nodes have an MTU of 1450$/,
      /^ok: no error comes back from packets of 1500 bytes to the tunnel port of 2 nodes: node1, node3$/,
    ]);
    t.match(await doctor(mesh, 2, 'ports', 'leftovers', 'agent'), [
      /^ok: the agent/,
      /^ok: .*4789\/udp \(VXLAN\): free or held by the agent$/,
      /^ok: agents that have ended left nothing behind$/,
    ]);
  });

  await t.test('one node of which is cut off', async () => {
    await mesh.node(3).cut();
    await until(
      'that is seen',
      () => doctor(mesh, 1, 'nodes'),
      (lines) =>
        lines.some((line) =>
          /^(bad: node node3 \(\S+\) does not answer this one|warn: node node3 is down)$/.test(line),
        ),
    );
    await until(
      'it has no store',
      () => doctor(mesh, 3, 'store'),
      (lines) =>
        lines.some((line) => /^bad: etcd \(\S+\) has not answered for .* the last known state is served/.test(line)),
    );
    await mesh.node(3).heal();
  });

  await t.test('whose agents were killed', async (t) => {
    const lab = namespaces().filter((name) => !isOfAgents(name));
    await mesh.node(2).killAgent();
    const found = await run(['cleanup', '--dry-run']);
    t.equal((found.stdout.match(/^would remove network /gm) ?? []).length, 1, "the killed one's");
    t.equal((found.stdout.match(/^would keep what the agent with pid /gm) ?? []).length, 2);
    for (const number of [1, 3]) await mesh.node(number).killAgent();
    t.ok(
      (await listTables()).some((name) => name.endsWith('_tunnels')),
      'the guard of the tunnels is there',
    );
    const cleaned = await run(['cleanup']);
    t.equal(cleaned.code, 0, cleaned.stderr);
    t.match(cleaned.stdout, /^kept the lab lab: vipmesh lab down --name lab$/m);
    t.same(namespaces(), lab, 'namespaces of the lab stay');
    t.same(await listTables(), []);
    for (const number of [1, 2, 3]) await mesh.node(number).restartAgent();
    await until(
      'the networks are made anew',
      () => namespaces().filter(isOfAgents),
      (names) => names.length === 3,
    );
    t.match(await doctor(mesh, 1, 'leftovers'), [/^ok/]);
  });
});
