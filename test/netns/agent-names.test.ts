// What a container gets for its services' names with the tools that operators use: `dig` and `curl`, in both families.
import './support/node.ts';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import type { Resolution } from '../../src/api/schema.ts';
import { startAgent } from '../support/agent.ts';
import { needsPrograms } from '../support/requirements.ts';
import { addressReply, startMockUpstream } from '../support/mock-upstream.ts';
import { datagrams } from './support/clients.ts';
import { untilServing } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';
import { startServer, startServers, type Task } from './support/tasks.ts';

const STACK = `services:
  web:
    networks: [dual]
    ports: [{target: 8000, published: 8080, name: http}, {target: 7000, protocol: udp, published: 7000, name: lines}]
  shell: {networks: [dual]}
networks:
  dual:
    driver: overlay
    enable_ipv6: true
    ipam: {config: [{subnet: 10.99.7.0/24}, {subnet: "fd99:7::/64"}]}
`;
const DUAL = 'shop_dual';

t.test('names in containers, by dig and curl', async (t) => {
  if (!(await mayBeNode(t))) return;
  if (!needsPrograms(t, 'dig', 'curl')) return;
  const upstream = await startMockUpstream(() => []);
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--upstream', `127.0.0.1:${upstream.port}`] });
  const [shell, web] = await Promise.all([startServer(agent, 'shell'), startServers(agent, 'web', 2)]);
  await untilServing(agent, DUAL, 'web', web);
  const dig = (...words: readonly string[]) => inside(shell, 'dig', '+tries=1', '+time=10', ...words);
  const short = async (...words: readonly string[]) => (await dig('+short', ...words)).trim().split('\n').sort();
  const [vip4 = '', ...more4] = await short('web', 'A');
  const [vip6 = '', ...more6] = await short('web', 'AAAA');

  await t.test('a service has a VIP of each family, and each endpoint an address of each', async (t) => {
    t.match(vip4, /^10\.99\.7\./);
    t.match(vip6, /^fd99:7::/);
    t.same([more4, more6], [[], []]);
    for (const name of ['web.dual', 'web.shop_dual', 'shop_web'])
      t.same([await short(name, 'A'), await short(name, 'AAAA')], [[vip4], [vip6]], name);
    const four = await short('tasks.web', 'A');
    t.same(four, web.map(({ address }) => address).sort());
    const six = await short('tasks.web', 'AAAA');
    t.equal(six.length, 2);
    for (const address of six) t.match(address, /^fd99:7::/);
    for (const [i, task] of web.entries()) {
      t.same(await short(task.name, 'A'), [task.address], `task ${i}`);
      t.equal((await short(`${task.name}.dual`, 'AAAA')).length, 1);
    }
  });

  await t.test('D6: the way back, in both families', async (t) => {
    for (const address of [vip4, vip6]) t.same(await short('-x', address), ['shop_web.shop_dual.'], address);
    for (const task of web) {
      const [six = ''] = await short(task.name, 'AAAA');
      for (const address of [task.address, six]) t.same(await short('-x', address), [`${task.name}.shop_dual.`]);
    }
    for (const address of ['10.99.7.200', 'fd99:7::7777'])
      t.match(await dig('-x', address), /status: NXDOMAIN.*\n.*flags: qr aa rd ra/, address);
  });

  await t.test('D7: SRV leads to the VIP, and below tasks. to the endpoints', async (t) => {
    for (const port of ['_http', '_8000', '_8080', '_HTTP']) {
      const answer = await dig(`${port}._tcp.web`, 'SRV');
      t.match(answer, /IN\tSRV\t0 0 8000 shop_web\.shop_dual\.\n/, port);
      t.match(
        answer,
        new RegExp(`ADDITIONAL SECTION:\nshop_web\\.shop_dual\\.\t\\d\tIN\tA\t${vip4}\n.*\tIN\tAAAA\t${vip6}\n`),
        port,
      );
    }
    t.same(
      await short('_lines._udp.tasks.web.dual', 'SRV'),
      web.map(({ name }) => `0 1 7000 ${name}.shop_dual.`).sort(),
    );
    t.match(await dig('_http._sctp.web', 'SRV'), /status: NOERROR.*\n.*ANSWER: 0, AUTHORITY: 1/);
  });

  await t.test('the VIP of each family takes any port, over TCP and UDP, and is shared out', async (t) => {
    for (const address of [vip4, vip6]) {
      const host = address.includes(':') ? `[${address}]` : address;
      const met = new Set<string>();
      for (let i = 0; i < 4; i++)
        met.add(nameIn(await inside(shell, 'curl', '-sS', '-m', '20', `http://${host}:8000/`)));
      t.same([...met].sort(), web.map(({ name }) => name).sort(), `TCP to ${address}`);
      const heard = new Set<string>();
      for (let i = 0; i < 4; i++) {
        const client = await datagrams(shell.netns, address, 7000);
        heard.add(nameIn(String((await client.ask('1'))[0])));
        client.close();
      }
      t.same([...heard].sort(), web.map(({ name }) => name).sort(), `UDP to ${address}`);
    }
    t.match(await inside(shell, 'curl', '-6sS', '-m', '20', 'http://web:8000/'), /^shop_web/, 'by name');
  });
  t.equal(upstream.asked.length, 0, 'nobody outside was asked');

  await t.test('`vipmesh resolve` says the same, and why', async (t) => {
    const why = async (...words: readonly string[]) => {
      // What does not exist is told by the exit code too.
      const { stdout } = await agent.cli('resolve', '--explain', '--format', 'json', ...words);
      const { Outcome, Answers, Explained } = JSON.parse(stdout) as Resolution;
      return [Outcome, ...Answers.flatMap(({ Addresses }) => Addresses), ...(Explained?.Steps.slice(-1) ?? [])];
    };
    const as = ['--as', shell.name];
    t.match(await why(...as, 'web'), ['answer', vip4, vip6, { Where: DUAL, Found: /^VIP of service shop_web: / }]);
    t.match(await why(...as, '_http._tcp.web'), ['answer', 'shop_web.shop_dual:8000', { Where: DUAL }]);
    t.match(await why(...as, vip6), ['answer', 'shop_web.shop_dual', { Where: DUAL }]);
    t.match(await why('web.dual'), ['nxdomain', { Found: 'a name of network shop_dual, which this client is not on' }]);
    upstream.behave((asked) => [addressReply(asked, '192.0.2.80')]);
    const [outcome, step] = await why(...as, 'www.example.com');
    t.equal(outcome, 'forwarded');
    t.match(step, { Where: `server 127.0.0.1:${upstream.port}`, Found: 'NOERROR, 1 record', Milliseconds: Number });
  });
  t.equal(await agent.stop(), 0);
});

function nameIn(answer: string): string {
  return answer.split(' ')[0] ?? '';
}

/** What a program prints that runs in a container's network. */
async function inside(task: Task, ...command: readonly string[]): Promise<string> {
  const enter = ['net', 'mnt'].map((kind) => `--${kind === 'net' ? 'net' : 'mount'}=/proc/${task.pid}/ns/${kind}`);
  const { stdout } = await promisify(execFile)('nsenter', [...enter, '--', ...command]);
  return stdout;
}
