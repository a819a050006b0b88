// Containers come and go under load, and the engine and the agent are killed and started again, in both orders: no new connection
// is refused while there is an agent, and no task is there twice or without its container.
import './support/node.ts';
import t, { type Test } from 'tap';
import { type Agent, startAgent } from '../support/agent.ts';
import { startDocker } from './support/docker.ts';
import { closeNetns, openNetns, OWN_NETNS } from '../../src/native/netns.ts';
import { httpGet } from './support/clients.ts';
import { composeUp, NETWORK, untilEligible } from './support/compose.ts';
import { type Attempt, startLoad } from './support/load.ts';
import { endpoints, vipOf } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { until } from './support/tasks.ts';

const PER_SECOND = 40;

/** Outcomes other than a task's name, and how often. */
function failures(attempts: readonly Attempt[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { outcome } of attempts) {
    if (/^shop-web-\d\n$/.test(outcome)) continue;
    // A reset that comes after a FIN.
    const how = outcome === 'EPIPE' ? 'ECONNRESET' : outcome;
    counts[how] = (counts[how] ?? 0) + 1;
  }
  return counts;
}

t.test('a Compose project under load', async (t) => {
  if (!(await mayBeNode(t))) return;
  const docker = await startDocker(t);
  if (docker === undefined) return;
  await docker.run('network', 'create', '--subnet', '10.97.0.0/24', NETWORK);
  const options = { args: ['--docker', docker.socket, '--docker-select', 'compose', '--drain', '0s'] };
  let agent = await startAgent(options);
  const web = (number: number) => composeUp(docker, 'web', number, '--label', 'vipmesh.publish=8080:80');
  await Promise.all([web(1), web(2), composeUp(docker, 'api', 1)]);
  let tasks = await untilEligible(agent, 'shop-web-1', 'shop-web-2', 'shop-api-1');
  const netns = openNetns(`/proc/${await docker.pidOf('shop-api-1')}/ns/net`);
  t.teardown(() => closeNetns(netns));
  const vip = await vipOf(agent, NETWORK, 'web');
  const published = () => httpGet(OWN_NETNS, '127.0.0.1', 8080);
  const served = (text: string) => text.startsWith('shop-web-');
  await until('the port answers', published, served);
  await until('the VIP answers', () => httpGet(netns, vip, 80), served);
  let turn = 0;
  const load = () => startLoad(PER_SECOND, () => (turn++ % 4 === 0 ? httpGet(netns, vip, 80) : published()));
  const restarted = async () => {
    agent = await startAgent({ ...options, folder: agent.folder });
  };
  const direct = (await endpoints(agent)).find(({ Task }) => Task === 'shop-web-1')?.Address ?? '';
  const once = async (t: Test, of: Agent) => {
    const all = await endpoints(of);
    t.equal(new Set(all.map(({ Task, Network }) => `${Task} ${Network}`)).size, all.length, 'no task is there twice');
  };

  await t.test('scaled up and down, and containers that are killed', async (t) => {
    const going = load();
    await going.begun(20);
    await web(3);
    await untilEligible(agent, 'shop-web-1', 'shop-web-2', 'shop-web-3', 'shop-api-1');
    await going.begun(20);
    await docker.run('stop', '-t', '5', 'shop-web-3');
    await untilEligible(agent, 'shop-web-1', 'shop-web-2', 'shop-api-1');
    await going.begun(20);
    t.same(failures(await going.stop()), {}, 'nobody notices a container that is stopped');
    const killing = load();
    await killing.begun(10);
    await docker.run('kill', 'shop-web-2');
    const killedAt = performance.now();
    await untilEligible(agent, 'shop-web-1', 'shop-api-1');
    await killing.begun(20);
    await docker.run('start', 'shop-web-2');
    tasks = await untilEligible(agent, 'shop-web-1', 'shop-web-2', 'shop-api-1');
    await killing.begun(20);
    const attempts = await killing.stop();
    // What the killed one had accepted, it cannot answer any more.
    const { ECONNRESET: broken = 0, ...others } = failures(attempts);
    t.same(others, {}, `${broken} connections were open to the one that was killed`);
    const later = attempts.filter(({ startedAt }) => startedAt > killedAt);
    t.same(failures(later), {}, 'no new connection fails');
    await once(t, agent);
  });

  await t.test('the engine is killed and comes back', async (t) => {
    const going = load();
    await docker.kill();
    await agent.logged(({ message }) => message === 'the Docker Engine does not answer');
    await going.begun(40);
    const followed = agent.log.length;
    await docker.restart();
    await agent.logged((line) => agent.log.indexOf(line) >= followed && /are followed/.test(line.message));
    await going.begun(20);
    t.same(failures(await going.stop()), {});
    t.same(await untilEligible(agent, ...Object.keys(tasks)), tasks, 'its tasks are the same ones');
    await once(t, agent);
  });

  const between = startLoad(PER_SECOND / 2, () => httpGet(netns, direct, 80));
  await t.test('the agent is killed and comes back', async (t) => {
    await agent.stop('SIGKILL');
    const [web1] = await Promise.all([docker.run('exec', 'shop-api-1', 'nslookup', 'shop-web-1', '127.0.0.11')]);
    t.match(web1, /10\.97\.0\./, "Docker's resolver answers in its place");
    await docker.run('kill', 'shop-web-2');
    await web(4);
    await restarted();
    const { 'shop-web-1': first } = await untilEligible(agent, 'shop-web-1', 'shop-web-4', 'shop-api-1');
    t.equal(first, tasks['shop-web-1'], 'what went on is the same task');
    await until('the port answers', published, served);
    const going = load();
    await going.begun(20);
    t.same(failures(await going.stop()), {});
    const asked = await docker.run('exec', 'shop-api-1', 'nslookup', 'web', '127.0.0.11');
    t.ok(asked.includes(vip), 'and the agent answers again');
    await once(t, agent);
  });

  await t.test('both, the engine first', async (t) => {
    await docker.kill();
    await agent.stop('SIGKILL');
    await restarted();
    await untilEligible(agent, 'shop-web-1', 'shop-web-4', 'shop-api-1');
    await until('the port answers without the engine', published, served);
    const going = load();
    await going.begun(20);
    await docker.restart();
    await agent.logged(({ message }) => /are followed/.test(message));
    await docker.run('rm', '-f', 'shop-web-4');
    await untilEligible(agent, 'shop-web-1', 'shop-api-1');
    await going.begun(20);
    const { ECONNRESET: _broken, ...others } = failures(await going.stop());
    t.same(others, {});
    await once(t, agent);
  });

  await t.test('both, the agent first', async (t) => {
    await agent.stop('SIGKILL');
    await docker.kill();
    await docker.restart();
    await docker.run('start', 'shop-web-2');
    await restarted();
    await untilEligible(agent, 'shop-web-1', 'shop-web-2', 'shop-api-1');
    await until('the port answers', published, served);
    await once(t, agent);
  });

  const outcomes = new Set((await between.stop()).map(({ outcome }) => outcome));
  t.same([...outcomes], ['shop-web-1\n'], 'containers that know each other by address notice nothing of all that');

  await docker.run('update', '--restart', 'always', 'shop-web-2');
  await docker.kill();
  await docker.restart(false);
  await untilEligible(agent, 'shop-web-2');
  const left = (await endpoints(agent)).map(({ Task, Source }) => `${Task} ${Source}`);
  t.same(left, ['shop-web-2 attached'], 'an engine that comes back without its containers leaves no ghost');
  await until('the port answers', published, (text) => text === 'shop-web-2\n');
});
