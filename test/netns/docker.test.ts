// Containers of a real Docker Engine become tasks.
import './support/node.ts';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { startDocker } from './support/docker.ts';
import type { Docker } from './support/docker-engine.ts';
import { OWN_NETNS } from '../../src/native/netns.ts';
import { api, httpGet } from './support/clients.ts';
import { endpoints } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { until } from './support/tasks.ts';

/** One for all tests of this file. */
let engine: Docker | undefined;

t.test('containers of a Docker Engine', async (t) => {
  if (!(await mayBeNode(t))) return;
  const docker = await startDocker(t);
  if (docker === undefined) return;
  engine = docker;
  const agent = await startAgent({ args: ['--docker', `unix://${docker.socket}`] });
  await docker.start(
    ...['--name', 'w1', '--network', 'none', '--dns', '127.0.0.11'],
    ...['--label', 'vipmesh.service=web', '--label', 'vipmesh.publish=8080:80'],
    ...['box', 'httpd', '-f', '-p', '80', '-h', '/etc'],
  );
  await until(
    'it is an endpoint',
    () => endpoints(agent),
    (all) => all.some(({ Task, Eligible }) => Task === 'w1' && Eligible),
  );
  const served = (text: string) => text.startsWith('root:');
  await until('its published port answers', () => httpGet(OWN_NETNS, '127.0.0.1', 8080, '/passwd'), served);
  const inside = (name: string, container = 'w1') =>
    docker.run('exec', container, 'wget', '-qO-', `http://${name}/passwd`);
  t.match(await inside('web'), /^root:/, 'by its VIP');
  t.match(await inside('w1'), /^root:/, 'by its own name');

  await docker.run('rename', 'w1', 'w2');
  const tasks = async () => (await endpoints(agent)).map(({ Task, State }) => `${Task} ${State}`);
  const untilTasks = (...wanted: string[]) =>
    until(`tasks are ${wanted}`, tasks, (found) => found.sort().join() === wanted.sort().join());
  await untilTasks('w2 running');
  t.match(await inside('w2', 'w2'), /^root:/, 'by its new name');

  await docker.run('pause', 'w2');
  await untilTasks('w2 draining');
  await docker.run('unpause', 'w2');
  await untilTasks('w2 running');

  await docker.run('kill', '-s', 'HUP', 'w2').catch(() => undefined);
  await docker.run('restart', '-t', '0', 'w2');
  await untilTasks('w2 running');
  await until('it answers again', () => httpGet(OWN_NETNS, '127.0.0.1', 8080, '/passwd'), served);

  await docker.start(
    ...['--name', 'ill', '--network', 'none', '--label', 'vipmesh.service=web'],
    ...['--health-cmd', 'test -e /tmp/well', '--health-interval', '200ms', '--health-retries', '1'],
    ...['box', 'httpd', '-f', '-p', '80', '-h', '/etc'],
  );
  const eligible = async () => (await endpoints(agent)).flatMap(({ Task, Eligible }) => (Eligible ? [Task] : []));
  const untilEligible = (...wanted: string[]) =>
    until(`${wanted} are eligible`, eligible, (found) => found.sort().join() === wanted.sort().join());
  await untilTasks('ill running', 'w2 running');
  await untilEligible('w2');
  await docker.run('exec', 'ill', 'touch', '/tmp/well');
  await untilEligible('ill', 'w2');
  await docker.run('exec', 'ill', 'rm', '/tmp/well');
  await untilEligible('w2');

  await docker.run('stop', '-t', '0', 'ill');
  await untilTasks('w2 running');
  await docker.run('start', 'ill');
  await untilTasks('ill running', 'w2 running');
  t.equal((await agent.cli('detach', 'w2')).code, 0);
  await untilTasks('ill running');
  await docker.run('rename', 'w2', 'w3');
  await docker.run('rename', 'ill', 'well');
  await untilTasks('well running');
  t.pass('what was detached by hand stays so, until it is started again');
  await docker.run('restart', '-t', '0', 'w3');
  await untilTasks('w3 running', 'well running');

  await docker.run('rm', '-f', 'well', 'w3');
  await until(
    'what was made for containers goes with the last of them',
    () => api<readonly unknown[]>(agent.folder.socket, '/services'),
    (services) => services.length === 0,
  );
  t.same(await endpoints(agent), []);
  await agent.stop();
});

t.test('docker stop, of a container that is to finish first', async (t) => {
  const docker = engine;
  if (docker === undefined) {
    t.pass('not run: what it needs was said above');
    return;
  }
  const agent = await startAgent({ args: ['--docker', docker.socket] });
  await docker.start(
    ...[
      '--name',
      'slow',
      '--dns',
      '127.0.0.11',
      '--label',
      'vipmesh.service=slow',
      '--label',
      'vipmesh.publish=8083:80',
    ],
    ...['--stop-signal', 'SIGCONT', '--stop-timeout', '60', '--label', 'vipmesh.stop-signal=TERM'],
    ...['--label', 'vipmesh.port=8000', 'box', 'sh', '-c', 'trap "exit 7" TERM; httpd -f -p 8000 -h /etc & wait'],
  );
  await until(
    'it answers',
    () => httpGet(OWN_NETNS, '127.0.0.1', 8083, '/passwd'),
    (text) => text.startsWith('root:'),
  );
  const byName = docker.run('exec', 'slow', 'wget', '-qO-', 'http://slow.default/passwd');
  t.match(await byName, /^root:/, "on Docker's default bridge it asks the agent");
  const client = connect({ host: '127.0.0.1', port: 8083 });
  const open = async () => (await endpoints(agent)).map(({ OpenConnections }) => OpenConnections).join();
  client.write('GET /passwd HTTP/1.0\r\n');
  await until('its client is known', open, (counts) => counts === '1');
  const stopping = docker.run('stop', 'slow');
  const shown = async () => (await endpoints(agent)).map(({ Task, State }) => `${Task} ${State}`).join();
  await until('it gets nothing new', shown, (text) => text === 'slow draining');
  client.write('\r\n');
  t.match(await text(client), /root:/, 'who was there has the answer');
  await stopping;
  const ended = await docker.run('inspect', '-f', '{{.State.ExitCode}}', 'slow');
  t.equal(ended.trim(), '7', 'its program was told, not killed');
  await docker.run('rm', 'slow');
  await agent.stop();
});

t.test('containers that the agent may not enter', async (t) => {
  const docker = engine;
  if (docker === undefined) {
    t.pass('not run: what it needs was said above');
    return;
  }
  const options = { args: ['--docker', docker.socket, '--local-only'] };
  let agent = await startAgent(options);
  await docker.start(
    ...['--name', 'b1', '--label', 'vipmesh.service=near', '--label', 'vipmesh.publish=8082:80'],
    ...['box', 'httpd', '-f', '-p', '80', '-h', '/etc'],
  );
  const answered = () =>
    until(
      'it answers at the published port',
      () => httpGet(OWN_NETNS, '127.0.0.1', 8082, '/passwd'),
      (text) => text.startsWith('root:'),
    );
  await answered();
  const shown = async () =>
    (await endpoints(agent)).map(({ Task, Source, Address, State }) => [Task, Source, Address, State].join(' '));
  const address = (await docker.run('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'b1')).trim();
  t.same(await shown(), [`b1 bridged ${address} running`], 'by its address on the bridge');
  t.match(await agent.cli('endpoint', 'rm', 'near', address), { code: 1 });
  const [before] = await endpoints(agent);
  await agent.stop('SIGKILL');
  agent = await startAgent({ ...options, folder: agent.folder });
  await answered();
  await docker.run('pause', 'b1');
  await until('it is drained', shown, (all) => all.join() === `b1 bridged ${address} draining`);
  t.equal((await endpoints(agent))[0]?.TaskID, before?.TaskID, 'it is the same task after a restart of the agent');
  await docker.run('rm', '-f', 'b1');
  await until('it has gone', shown, (all) => all.length === 0);
});
