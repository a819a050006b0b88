// What cannot be done on a node is one clear error, and nothing is lost by it: a second agent, an agent without privilege, a port
// that another program or another service has.
import './support/node.ts';
import { chownSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import t from 'tap';
import { type AgentFolder, failingAgent, makeFolder, startAgent } from '../support/agent.ts';
import { httpGet } from './support/clients.ts';
import { untilServing } from './support/mesh.ts';
import { mayBeNode, namespaces } from './support/node.ts';
import { startServer, until } from './support/tasks.ts';

const NODE = 0;
const NOBODY = 65534;
const web = (port: number) => `services:
  web: {networks: [front], ports: ["${port}:8000"]}
networks:
  front: {driver: overlay}
`;

t.test('what cannot be', async (t) => {
  if (!(await mayBeNode(t))) return;
  const agent = await startAgent({ stacks: { shop: web(8080) }, args: ['--drain', '0s'] });
  const task = await startServer(agent, 'web');
  await untilServing(agent, 'shop_front', 'web', [task]);
  const answer = (port: number) => httpGet(NODE, '127.0.0.1', port);
  const served = new RegExp(`^${task.name} met `);
  const notApplied = (what: RegExp) =>
    agent.logged((line) => line.message === 'stack file is not applied' && what.test(String(line.error)));

  await t.test('a second agent with the same state, socket or addresses', async (t) => {
    const { folder } = agent;
    const { path, socket, dnsPort, adminPort } = folder;
    const table: readonly (readonly [string, Partial<AgentFolder>, RegExp])[] = [
      ['the same everything', folder, /^another agent is running on \S+vipmesh\.sock \(pid \d+\); stop it first/],
      [
        'the same state',
        { path },
        /^\S+\/state\/store\/lock: process \d+ has this state directory open; stop it first/,
      ],
      ['the same socket', { socket }, /^another agent is running on \S+vipmesh\.sock \(pid \d+\); stop it first/],
      ['the same resolver', { dnsPort }, /^bind 127\.0\.0\.11:\d+\/tcp: EADDRINUSE/],
      ['the same admin address', { adminPort }, /^127\.0\.0\.1:\d+ \(health and metrics\) is taken .* --admin/],
    ];
    await Promise.all(
      table.map(async ([what, shared, message]) => {
        const outcome = await failingAgent({ folder: { ...(await makeFolder()), ...shared } });
        const lines = outcome.stderr
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line));
        const errors = lines.filter(({ level }) => level !== 'info');
        t.match({ code: outcome.code, errors }, { code: 1, errors: [{ error: message }] }, what);
        t.equal(errors.length, 1, 'one error');
      }),
    );
    t.match(await answer(8080), served, 'the first goes on');
    t.same(namespaces().length, 2, 'with its namespaces, and no others');
  });

  await t.test('T15: a port that another program holds', async (t) => {
    const holder = createServer((_request, response) => response.end('mine')).listen(8090);
    await once(holder, 'listening');
    writeFileSync(agent.stackFile('shop'), web(8090));
    const { error } = await notApplied(/8090/);
    t.match(error, /^\S+shop\.yaml: service shop_web: port 8090\/tcp cannot be published here/);
    t.equal(await answer(8090), 'mine', 'keeps it');
    t.match(await answer(8080), served, 'the last good state stays');
    holder.close();
    await until(
      'once it is free it is taken',
      () => answer(8090),
      (said) => served.test(said),
    );
    t.equal(await answer(8080), 'ECONNREFUSED', 'in place of the former one');
  });

  await t.test('T15: a port that another service has', async (t) => {
    writeFileSync(
      agent.stackFile('shop'),
      `${web(8090)}`.replace('networks:\n', '  late: {ports: ["8090:80"]}\nnetworks:\n'),
    );
    const { error } = await notApplied(/late/);
    t.match(error, /8090/);
    t.match(await answer(8090), served, 'the first is untouched');
  });

  await t.test('an agent without privilege and a stack with an overlay', async (t) => {
    const folder = await makeFolder();
    chownSync(folder.path, NOBODY, NOBODY);
    const ordinary = await startAgent({
      stacks: { shop: web(8091) },
      folder,
      args: ['--drain', '0s'],
      through: ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'],
    });
    const errors = ordinary.log.filter(({ level }) => level !== 'info').map(({ error }) => String(error));
    t.equal(errors.length, 1, 'one error');
    t.match(
      errors[0],
      /shop\.yaml:4:3: network shop_front: the driver overlay needs an agent that runs as root; use the driver local/,
    );
    t.equal(await ordinary.stop(), 0);
    t.match(await answer(8090), served, "root's agent goes on");
  });
  t.equal(await agent.stop(), 0);
});
