// `vipmesh run` in a container: what the command finds, says and ends with; how a task leaves; what happens when its service goes.
import './support/node.ts';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { tryTcp } from '../support/netns.ts';
import { connectFrom, httpGet, lines } from './support/clients.ts';
import { untilServing } from './support/mesh.ts';
import { mayBeNode, namespaces } from './support/node.ts';
import { kill, spawnRun, startServer, until } from './support/tasks.ts';

const NODE = 0;
const FRONT = 'shop_front';
const OTHERS = `services:
  shell: {networks: [front]}
  small: {networks: [small]}
`;
const NETWORKS = `networks:
  front: {driver: overlay}
  small: {driver: overlay, ipam: {config: [{subnet: 10.99.0.0/29}]}}
`;
const STACK = `${OTHERS}
  web: {networks: [front], ports: ["8080:8000", "7000:7000"], x-vipmesh: {drain: 60s}}
${NETWORKS}`;

t.test('vipmesh run', async (t) => {
  if (!(await mayBeNode(t))) return;
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--drain', '0s'] });
  const sh = (script: string, ...options: string[]) =>
    agent.cli('run', '--service', 'shell', ...options, '--', 'sh', '-c', script);

  await t.test('exit codes, output, surroundings', async (t) => {
    const [seven, killed, missing, said] = await Promise.all([
      sh('exit 7'),
      sh('kill -9 $$'),
      agent.cli('run', '--service', 'shell', '--', '/no/such/program'),
      sh(
        'echo to stdout; echo to stderr >&2; uname -n; cat /etc/resolv.conf /etc/hosts; echo "$VIPMESH_ADDR $VIPMESH_SERVICE $VIPMESH_TASK"',
        '--hostname',
        'box',
        '--name',
        'mine',
      ),
    ]);
    t.equal(seven.code, 7);
    t.equal(killed.code, 137);
    t.match(missing, { code: 127, stdout: '', stderr: /^vipmesh run: .*\/no\/such\/program.*\n$/ });
    t.equal(said.stderr, 'to stderr\n');
    const [first, hostname, nameserver, ...rest] = said.stdout.split('\n');
    t.same([first, hostname, nameserver], ['to stdout', 'box', 'nameserver 127.0.0.11']);
    const [address = '', service, task] = (rest.at(-2) ?? '').split(' ');
    t.match(address, /^10\.64\./);
    t.same([service, task], ['shop_shell', 'mine']);
    t.ok(
      rest.some((line) => line.startsWith(address) && line.includes('box')),
      'in /etc/hosts too',
    );
  });

  await t.test('what cannot be is one clear line', async (t) => {
    const table: readonly (readonly [readonly string[], RegExp])[] = [
      [['--service', 'nothing'], /^vipmesh run: .*nothing.*\n$/],
      [['--service', 'shell', '--network', 'small'], /^vipmesh run: .*small.*\n$/],
    ];
    for (const [words, message] of table) {
      const outcome = await agent.cli('run', ...words, '--', 'true');
      t.match(outcome, { code: 1, stdout: '', stderr: message }, words.join(' '));
      t.comment(outcome.stderr.trim());
    }
    // A /29 has six addresses: the node's, the VIP, and four tasks.
    const four = await Promise.all(Array.from({ length: 4 }, () => startServer(agent, 'small')));
    const full = await agent.cli('run', '--service', 'small', '--', 'true');
    t.match(full, { code: 1, stderr: /^vipmesh run: .*10\.99\.0\.0\/29.*\n$/ }, 'a full network');
    t.comment(full.stderr.trim());
    t.match(
      await httpGet(four[0]?.netns ?? -1, four[3]?.address ?? '', 8000),
      `${four[3]?.name} met`,
      'nothing is lost',
    );
    for (const { run, ended } of four) {
      run.kill('SIGTERM');
      t.equal(await ended, 0);
    }
  });

  await t.test('--publish makes the service, or gives it the port, which stays when the task ends', async (t) => {
    const first = await startServer(agent, 'made', '--network', FRONT, '-p', '8181:8000');
    t.match(first.complaints, [/^vipmesh run: service made is new and publishes \*:8181->8000\/tcp; it stays when/]);
    await untilServing(agent, FRONT, 'made', [first]);
    t.match(await httpGet(NODE, '127.0.0.1', 8181), `${first.name} met `);
    const second = await startServer(agent, 'made', '-p', '8181:8000', '--publish', '8282:8000');
    t.match(second.complaints, [/^vipmesh run: service made publishes .*\*:8282->8000\/tcp from now on/]);
    await untilServing(agent, FRONT, 'made', [first, second]);
    const met = await Promise.all([1, 2].map(() => httpGet(NODE, '127.0.0.1', 8282)));
    t.same(met.map((text) => text.split(' ')[0]).sort(), [first.name, second.name].sort(), 'over both tasks');
    const taken = await agent.cli('run', '--service', 'shell', '-p', '8181:8000', '--', 'true');
    t.match(taken, { code: 1, stdout: '', stderr: /^vipmesh run: .*8181\/tcp is published by service made; .*\n$/ });
    for (const { run, ended } of [first, second]) {
      run.kill('SIGTERM');
      t.equal(await ended, 0);
    }
    t.equal(tryTcp(NODE, '127.0.0.1', 8282), 'ECONNREFUSED', 'nobody is left');
    const third = await startServer(agent, 'made');
    await untilServing(agent, FRONT, 'made', [third]);
    t.match(await httpGet(NODE, '127.0.0.1', 8282), `${third.name} met `, "the port was the service's");
    t.match(await agent.cli('service', 'rm', 'made'), { code: 0 });
    t.equal(await third.ended, 0);
    t.equal(tryTcp(NODE, '127.0.0.1', 8181), 'ECONNREFUSED', 'and goes with it');
  });

  await t.test('signals reach the command; the terminating ones after it has left', async (t) => {
    const [leaving, staying] = [await startServer(agent, 'web'), await startServer(agent, 'web')];
    await untilServing(agent, FRONT, 'web', [leaving, staying]);
    for (const signal of ['SIGHUP', 'SIGUSR1'] as const) {
      leaving.run.kill(signal);
      t.equal(await leaving.says(new RegExp(`^${signal}$`)), signal);
    }
    const open = lines(connectFrom(NODE, '127.0.0.1', 7000));
    const other = lines(connectFrom(NODE, '127.0.0.1', 7000));
    const greetings = [await open.line(), await other.line()];
    const [kept, elsewhere] = greetings[0] === leaving.name ? [open, other] : [other, open];
    leaving.run.kill('SIGTERM');
    await untilServing(agent, FRONT, 'web', [staying]);
    for (let i = 0; i < 10; i++) t.match(await httpGet(NODE, '127.0.0.1', 8080), `${staying.name} met `);
    t.equal(await kept.ask('and me?'), `${leaving.name} and me?`, 'the open connection goes on');
    t.equal(tryTcp(staying.netns, leaving.address, 8000), 'connected', 'the command has heard nothing yet');
    kept.socket.end();
    t.equal(await kept.ended, 'end');
    t.equal(await leaving.says(/^SIGTERM$/), 'SIGTERM', 'after the last connection');
    t.equal(await leaving.ended, 0, "the command's own exit code");
    t.equal(await elsewhere.ask('still'), `${staying.name} still`);

    staying.run.kill('SIGTERM');
    await untilServing(agent, FRONT, 'web', []);
    t.equal(tryTcp(NODE, '127.0.0.1', 8080), 'ECONNREFUSED', 'T7: nobody is left');
    t.equal(await elsewhere.ask('still'), `${staying.name} still`);
    staying.run.kill('SIGTERM');
    t.equal(await staying.ended, 0, 'asked twice, it does not wait');
    t.match(await elsewhere.ended, /^(end|ECONNRESET)$/);
  });

  await t.test('a service that goes from its stack takes its tasks with it', async (t) => {
    const before = namespaces();
    const web = await startServer(agent, 'web');
    const shell = spawnRun(agent, ['--service', 'shell', '--', 'sh', '-c', 'echo up; exec sleep 1000']);
    await shell.says(/^up$/);
    t.equal(namespaces().length, before.length + 2);
    writeFileSync(agent.stackFile('shop'), `${OTHERS}${NETWORKS}`);
    t.equal(await web.ended, 0);
    t.match(web.complaints.join('\n'), /stopping .*removed/);
    t.equal(await web.says(/^SIGTERM$/), 'SIGTERM');
    await until('its namespace is gone', namespaces, (names) => names.length === before.length + 1);
    t.equal(tryTcp(NODE, '127.0.0.1', 8080), 'ECONNREFUSED', 'T14: the port is free');
    t.equal(shell.run.exitCode, null, 'the other service goes on');
    shell.run.kill('SIGINT');
    t.equal(await shell.ended, 130);
    await until('its namespace is gone, too', namespaces, (names) => names.join() === before.join());
  });

  await t.test('kill -9 of vipmesh run leaves the command running; its end is noticed', async (t) => {
    const before = namespaces();
    const task = await startServer(agent, 'shell');
    await agent.logged((line) => line.message === 'task runs' && line.task === task.name);
    const died = once(task.run, 'exit');
    task.run.kill('SIGKILL');
    await died;
    await agent.logged((line) => line.level === 'warn' && line.task === task.name);
    t.match(readFileSync(`/proc/${task.pid}/cmdline`, 'utf8'), /server\.js/);
    kill(task.pid, 'SIGKILL');
    await until('its namespace is gone', namespaces, (names) => names.join() === before.join());
    t.pass('the namespace went with the command');
  });
  t.equal(await agent.stop(), 0);
});
