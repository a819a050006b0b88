// A Compose project on a network of Docker's, as `docker compose up` makes it: its containers become tasks, reach each other by name
// through VIPs, and find by name whom only Docker knows.
import './support/node.ts';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { startDocker } from './support/docker.ts';
import { OWN_NETNS } from '../../src/native/netns.ts';
import { httpGet } from './support/clients.ts';
import { composeUp, NETWORK, SERVE, untilEligible } from './support/compose.ts';
import { vipOf } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { until } from './support/tasks.ts';

t.test('a Compose project', async (t) => {
  if (!(await mayBeNode(t))) return;
  const docker = await startDocker(t);
  if (docker === undefined) return;
  await docker.run('network', 'create', '--subnet', '10.97.0.0/24', NETWORK);
  const agent = await startAgent({ args: ['--docker', docker.socket, '--docker-select', 'compose'] });
  const published = ['--label', 'vipmesh.publish=8080:80'];
  await docker.start('--name', 'legacy', '--network', NETWORK, '--network-alias', 'old', 'box', 'sh', '-c', SERVE);
  for (const service of ['web', 'api', 'db']) {
    await composeUp(docker, service, 1, ...(service === 'web' ? published : ['--expose', '80']));
  }
  await composeUp(docker, 'web', 2, ...published);
  await untilEligible(agent, 'shop-api-1', 'shop-db-1', 'shop-web-1', 'shop-web-2');
  const lookup = async (container: string, name: string) => {
    const text = await docker.run('exec', container, 'nslookup', name, '127.0.0.11');
    const [, address] = /Name:.*\n(?:Address.*: (\S+))/.exec(text) ?? [];
    if (address === undefined) throw new Error(`nslookup ${name}: ${text}`);
    return address;
  };
  const get = async (container: string, name: string) =>
    (await docker.run('exec', container, 'wget', '-qO-', `http://${name}/`)).trim();

  t.equal(await lookup('shop-api-1', 'web'), await vipOf(agent, NETWORK, 'web'), 'the name of a service is its VIP');
  t.same(
    [...new Set([await get('shop-api-1', 'web'), await get('shop-api-1', 'web')])].sort(),
    ['shop-web-1', 'shop-web-2'],
    'and connections to it are balanced',
  );
  t.equal(await get('shop-web-1', 'db'), 'shop-db-1');
  t.equal(await get('shop-web-1', `db.${NETWORK}`), 'shop-db-1');
  t.equal(await get('shop-web-1', 'shop-api-1'), 'shop-api-1');
  t.equal(await get('shop-web-1', 'legacy'), await get('legacy', 'localhost'), 'whom only Docker knows');
  t.equal(await lookup('shop-web-1', `old.${NETWORK}`), await lookup('legacy', 'legacy'));
  t.match(await lookup('legacy', 'web'), /^10\.97\.0\./, 'others ask Docker');
  const seen = new Set<string>();
  await until(
    'the published port leads to both',
    () => httpGet(OWN_NETNS, '127.0.0.1', 8080),
    (text) => seen.add(text.trim()).size >= 2 && seen.has('shop-web-1') && seen.has('shop-web-2'),
  );

  await docker.run('rename', 'legacy', 'renamed');
  await until(
    'a new name of Docker is known',
    () => get('shop-web-1', 'renamed').catch(String),
    (text) => !text.includes('bad address'),
  );
  await docker.run('rm', '-f', 'renamed');
  await until(
    'and an old one is not',
    () => get('shop-web-1', 'old').catch(String),
    (text) => text.includes('bad address'),
  );

  await docker.start('--name', 'late', '--label', 'vipmesh.service=late', 'box', 'sh', '-c', SERVE);
  await untilEligible(agent, 'shop-api-1', 'shop-db-1', 'shop-web-1', 'shop-web-2', 'late');
  await docker.run('network', 'connect', NETWORK, 'late');
  await docker.run('run', '-d', '--name', 'plain', '--network', NETWORK, 'box');
  await until(
    'who is connected to a network of Docker later sees its names, and those of the mesh',
    async () => [await lookup('late', 'plain').catch(String), await lookup('late', 'late').catch(String)],
    ([plain = '', late = '']) => plain.startsWith('10.97.0.') && late.startsWith('10.64.'),
  );
  await docker.run('network', 'disconnect', NETWORK, 'late');
  await until(
    'and after it is disconnected those of the mesh only',
    async () => [await lookup('late', 'plain').catch(String), await lookup('late', 'late').catch(String)],
    ([plain = '', late = '']) => plain.startsWith('Error') && late.startsWith('10.64.'),
  );

  await agent.stop();
  t.match(await lookup('shop-api-1', 'web'), /^10\.97\.0\./, 'Docker answers again when the agent has ended');
});
