// A real PostgreSQL in a container, found by name: by those on its networks, and by nobody else. Two of them may have one name.
import './support/postgres.ts';
import './support/node.ts';
import t from 'tap';
import { startAgent } from '../support/agent.ts';
import { tryTcp } from '../support/netns.ts';
import { needsPrograms } from '../support/requirements.ts';
import { lookup, summary } from './support/clients.ts';
import { endpoints, vipOf } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { postgresCommand } from './support/postgres.ts';
import { spawnRun, startServer, until } from './support/tasks.ts';

const BACKEND = `services:
  postgres:
    networks: [backend]
    expose: ["5432"]
    x-vipmesh: {health: {tcp: 5432, interval: 100ms}}
  app: {networks: [backend]}
`;
const SHOP = `${BACKEND}
  stranger: {networks: [other]}
networks:
  backend: {driver: overlay, ipam: {config: [{subnet: 10.90.0.0/24}]}}
  other: {driver: overlay}
`;
/** The same names and the same addresses. */
const BANK = `${BACKEND}
networks:
  backend: {driver: overlay, ipam: {config: [{subnet: 10.90.0.0/24}]}}
`;
const PORT = 5432;

t.test('PostgreSQL by name', async (t) => {
  if (!needsPrograms(t, 'postgres', 'initdb', 'psql') || !(await mayBeNode(t))) return;
  const agent = await startAgent({ stacks: { shop: SHOP, bank: BANK }, args: ['--drain', '0s'] });
  for (const stack of ['shop', 'bank'])
    spawnRun(agent, ['--service', `${stack}_postgres`, '--network', `${stack}_backend`, '--', ...postgresCommand()]);
  const [shop, bank, stranger] = await Promise.all([
    startServer(agent, 'shop_app'),
    startServer(agent, 'bank_app'),
    startServer(agent, 'shop_stranger'),
  ]);
  const servers = await until(
    'both databases are healthy',
    async () => (await endpoints(agent)).filter(({ Service, Eligible }) => Service.endsWith('postgres') && Eligible),
    (found) => found.length === 2,
  );
  const addressOf = (service: string) => servers.find(({ Service }) => Service === service)?.Address ?? '';
  const psql = (stack: string, query: string) =>
    agent.cli(
      'run',
      '--service',
      `${stack}_app`,
      '--network',
      `${stack}_backend`,
      '--',
      'psql',
      '-h',
      'postgres',
      '-U',
      'postgres',
      '-Atc',
      query,
    );

  await t.test('an application on its network uses it by name, through its VIP', async (t) => {
    t.match(await psql('shop', 'select 1'), { code: 0, stdout: '1\n', stderr: '' });
    t.equal(
      summary(await lookup(shop.netns, 'postgres')),
      `NOERROR aa ra | ${await vipOf(agent, 'shop_backend', 'postgres')}`,
    );
    const asked = await psql('shop', 'select host(inet_server_addr()), inet_server_port()');
    t.equal(asked.stdout, `${addressOf('shop_postgres')}|5432\n`);
  });

  await t.test('O1: the other network has its own of the same name and addresses', async (t) => {
    const [ours, theirs] = [
      await vipOf(agent, 'shop_backend', 'postgres'),
      await vipOf(agent, 'bank_backend', 'postgres'),
    ];
    t.equal(ours, theirs, 'even the VIP is the same');
    const written = await Promise.all(
      ['shop', 'bank'].map((stack) =>
        psql(stack, `create table owner as select '${stack}' as name returning name`.replace(' returning name', '')),
      ),
    );
    t.same(
      written.map(({ code }) => code),
      [0, 0],
    );
    for (const stack of ['shop', 'bank'])
      t.equal((await psql(stack, 'select name from owner')).stdout, `${stack}\n`, stack);
    t.equal(tryTcp(bank.netns, theirs, PORT), 'connected');
  });

  await t.test('a container of another network neither finds nor reaches it', async (t) => {
    const failed = await agent.cli(
      'run',
      '--service',
      'stranger',
      '--',
      'psql',
      '-h',
      'postgres',
      '-U',
      'postgres',
      '-c',
      'select 1',
    );
    t.match(failed, { code: 2, stderr: /could not translate host name "postgres"/ });
    t.equal(summary(await lookup(stranger.netns, 'postgres')), 'NXDOMAIN aa ra | SOA');
    const vip = await vipOf(agent, 'shop_backend', 'postgres');
    for (const address of [vip, addressOf('shop_postgres')])
      t.not(tryTcp(stranger.netns, address, PORT), 'connected', address);
    t.equal(tryTcp(shop.netns, vip, PORT), 'connected', 'which is there');
    t.equal(tryTcp(shop.netns, addressOf('shop_postgres'), PORT), 'connected');
  });
  t.equal(await agent.stop(), 0);
});
