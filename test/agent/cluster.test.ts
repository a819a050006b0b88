// Agents that share an etcd, as their users see them: real processes, on one machine, so that ports are one agent's only.
import t, { type Test } from 'tap';
import { type Agent, type AgentOptions, answers, failingAgent, makeFolder, startAgent } from '../support/agent.ts';
import { ask } from '../robustness/support/api.ts';
import { type EtcdServer, needsEtcd, startEtcd } from '../support/etcd.ts';
import { unusedPort } from '../support/ports.ts';

interface NodeRow {
  readonly ID: string;
  readonly Hostname: string;
  readonly Status: string;
  readonly Availability: string;
}

interface ServiceRow {
  readonly Endpoint: { readonly VirtualIPs: readonly { readonly Addr: string }[] };
  readonly Vipmesh: { readonly Endpoints: readonly { readonly Eligible: boolean; readonly Reason?: string }[] };
}

/** Each agent has an address of its own, so that all can have the same. */
const PROBE_PORT = unusedPort();

function joining(etcd: EtcdServer, name: string, address: string): AgentOptions {
  return {
    args: [
      ...['--store', `etcd://${etcd.endpoint}/mesh`, '--node-name', name, '--advertise', address],
      ...['--probe-port', String(PROBE_PORT), '--workers', '1'],
    ],
  };
}

/** Asks until the answer is as wished; the test's own time limit ends what never is. */
async function until<Answer>(ask: () => Promise<Answer>, isSo: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
  }
}

/** Listings are one object a line. */
async function rows<Row>(agent: Agent, ...words: string[]): Promise<readonly Row[]> {
  const { code, stdout, stderr } = await agent.cli(...words, '--format', 'json');
  if (code !== 0) throw new Error(stderr);
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Row]));
}

const nodesOf = (agent: Agent) => rows<NodeRow>(agent, 'node', 'ls');
const statusOf = (nodes: readonly NodeRow[], name: string) => nodes.find((node) => node.Hostname === name)?.Status;
const serviceAt = async (agent: Agent, name: string) => (await agent.json<ServiceRow[]>('service', 'inspect', name))[0];

t.test('two agents on one etcd', async (t) => {
  if (!needsEtcd(t)) return;
  const etcd = await startEtcd(t);
  const alpha = await startAgent(joining(etcd, 'alpha', '127.0.0.2'));
  let beta = await startAgent(joining(etcd, 'beta', '127.0.0.3'));

  await t.test('see each other', async (t) => {
    for (const agent of [alpha, beta]) {
      const nodes = await until(
        () => nodesOf(agent),
        (seen) => seen.length === 2,
      );
      t.same(nodes.map(({ Hostname, Status }) => `${Hostname} ${Status}`).sort(), ['alpha Ready', 'beta Ready']);
    }
  });

  await t.test('a third of the same name is refused', async (t) => {
    const refused = await failingAgent(joining(etcd, 'alpha', '127.0.0.4'));
    t.equal(refused.code, 1);
    t.match(refused.stderr, /the node name alpha is in use: an agent at 127\.0\.0\.2 has it/);
  });

  await t.test('and one on the state directory of another, whatever its name', async (t) => {
    const folder = { ...(await makeFolder()), path: alpha.folder.path };
    const refused = await failingAgent({ ...joining(etcd, 'gamma', '127.0.0.4'), folder });
    t.equal(refused.code, 1);
    t.match(
      refused.stderr,
      `${alpha.folder.path}/state/lock: process ${alpha.process.pid} has this state directory open; stop it first`,
    );
  });

  await t.test('what both make at once never collides', async (t) => {
    await alpha.cli('network', 'create', '--driver', 'local', 'back');
    const made = await Promise.all(
      [alpha, beta].flatMap((agent, which) =>
        Array.from({ length: 8 }, (_, n) => {
          const words = ['service', 'create', '--name', `s${which}-${n}`, '--network', 'back', '-p', '80'];
          return agent.cli(...words, '--detach');
        }),
      ),
    );
    t.same(
      made.filter(({ code }) => code !== 0).map(({ stderr }) => stderr),
      [],
    );
    const services = await rows<{ readonly Name: string; readonly Ports: string }>(alpha, 'service', 'ls');
    t.equal(services.length, 16);
    t.equal(new Set(services.map(({ Ports }) => Ports)).size, 16, 'published ports');
    const vips = await Promise.all(
      services.map(async ({ Name }) => (await serviceAt(beta, Name))?.Endpoint.VirtualIPs[0]?.Addr),
    );
    t.equal(new Set(vips).size, 16, 'VIPs');
    for (const agent of [alpha, beta])
      t.same([(await agent.dig('s0-0')).answers?.length, answers(await agent.dig('nothing')).length], [1, 0]);
  });

  await t.test('an endpoint on a loopback address is its own node’s', async (t) => {
    await alpha.cli('service', 'create', '--name', 'web', '--network', 'back', '--no-healthcheck', '--expose', '80');
    await alpha.cli('endpoint', 'add', 'web', '127.0.0.1:9');
    const here = await until(
      () => serviceAt(alpha, 'web'),
      (one) => one?.Vipmesh.Endpoints.length === 1,
    );
    t.equal(here?.Vipmesh.Endpoints[0]?.Eligible, true);
    const there = await until(
      () => serviceAt(beta, 'web'),
      (one) => one?.Vipmesh.Endpoints.length === 1,
    );
    t.match(there?.Vipmesh.Endpoints[0], { Eligible: false, Reason: 'a loopback address of another node' });
    t.same(answers(await beta.dig('tasks.web')), [], 'nor is its address answered there');
    t.same(answers(await alpha.dig('tasks.web')), ['127.0.0.1']);
  });

  await t.test('H6: a node is drained from another', async (t) => {
    t.equal((await beta.cli('node', 'update', '--availability', 'drain', 'alpha')).code, 0);
    await until(
      async () => answers(await alpha.dig('tasks.web')),
      (addresses) => addresses.length === 0,
    );
    t.match((await serviceAt(alpha, 'web'))?.Vipmesh.Endpoints[0], {
      Eligible: false,
      Reason: 'node alpha is being drained',
    });
    t.equal((await beta.cli('node', 'update', '--availability', 'active', 'alpha')).code, 0);
    await until(
      async () => answers(await alpha.dig('tasks.web')),
      (addresses) => addresses.length === 1,
    );
  });

  await t.test('a node that is killed is unknown, then down, then back under its name', (t) =>
    killedNode(t, etcd, alpha, beta, (again) => {
      beta = again;
    }),
  );

  await t.test('M9: etcd stands still', async (t) => {
    etcd.freeze();
    await until(
      () => alpha.json<{ readonly Cluster: { readonly Store: { readonly Connected: boolean } } }>('status'),
      ({ Cluster }) => !Cluster.Store.Connected,
    );
    t.same(answers(await alpha.dig('tasks.web')), ['127.0.0.1'], 'names are answered');
    const refused = await alpha.cli('service', 'create', '--name', 'later', '--network', 'back');
    t.equal(refused.code, 1);
    t.match(refused.stderr, /nothing was changed: etcd does not answer/, 'it never got there');
    etcd.thaw();
    await until(
      () => alpha.cli('service', 'create', '--name', 'later', '--network', 'back', '--detach'),
      ({ code }) => code === 0,
    );
    await until(
      () => rows<{ readonly Name: string }>(beta, 'service', 'ls'),
      (services) => services.some(({ Name }) => Name === 'later'),
    );
    for (const agent of [alpha, beta]) {
      await until(
        () => nodesOf(agent),
        (nodes) => nodes.every(({ Status }) => Status === 'Ready'),
      );
    }
  });
  await beta.stop();
  const nodes = await until(
    () => nodesOf(alpha),
    (seen) => statusOf(seen, 'beta') === 'Down',
  );
  t.equal(nodes.length, 2, 'a node that left stays on record until it is forgotten');
});

async function killedNode(
  t: Test,
  etcd: EtcdServer,
  alpha: Agent,
  beta: Agent,
  replaced: (again: Agent) => void,
): Promise<void> {
  await beta.stop('SIGKILL');
  // It is so for some seconds only, until its lease ends: asked without a process for each question.
  await until(
    async () => (await ask(alpha.folder.socket, 'GET', '/nodes/beta'))?.json.Status.State,
    (state) => state === 'unknown',
  );
  const early = await alpha.cli('node', 'rm', 'beta');
  const shown = await alpha.cli('node', 'inspect', '--pretty', 'beta');
  t.match(shown.stdout, /^Hostname: +beta$/m);
  t.notMatch(shown.stdout, /CPUs|Memory|Platform/, 'nothing is said of a machine of which nothing is known');
  t.match(early, { code: 1, stderr: /node beta is not down yet: it does not answer/ });
  await until(
    () => nodesOf(alpha),
    (nodes) => statusOf(nodes, 'beta') === 'Down',
  );
  const [before] = (await nodesOf(alpha)).filter(({ Hostname }) => Hostname === 'beta');
  // Another state directory: a machine that was wiped.
  const again = await startAgent({ ...joining(etcd, 'beta', '127.0.0.3'), folder: await makeFolder() });
  replaced(again);
  const nodes = await until(
    () => nodesOf(alpha),
    (seen) => statusOf(seen, 'beta') === 'Ready',
  );
  t.equal(nodes.length, 2, 'no ghost');
  t.equal(nodes.find(({ Hostname }) => Hostname === 'beta')?.ID, before?.ID, 'it is the node that it was');
  const gamma = await startAgent(joining(etcd, 'gamma', '127.0.0.5'));
  await gamma.stop();
  await until(
    () => nodesOf(alpha),
    (seen) => statusOf(seen, 'gamma') === 'Down',
  );
  t.match(await alpha.cli('node', 'rm', 'gamma'), { code: 0, stdout: 'gamma\n' });
  t.equal((await nodesOf(alpha)).length, 2);
}
