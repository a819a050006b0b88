// Overlay networks across nodes, with real agents on a real store: what users see of them.
import { mayHaveLab, startLab } from './support/lab.ts';
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { macOf } from '../../src/overlay/names.ts';
import { ip } from '../support/builders.ts';
import { sendUdp, tryTcp } from '../support/netns.ts';
import { httpGet } from './support/clients.ts';
import { vxlanPacket } from './support/frames.ts';
import { does, endpointsOf, statusOf } from './support/lab-mesh.ts';
import { namespaces } from './support/node.ts';
import { startServer, until } from './support/tasks.ts';

const PORT = 8080;

t.test('containers on several nodes', async (t) => {
  if (!(await mayHaveLab(t))) return;
  const mesh = await startLab();
  const [one, two, three] = [mesh.node(1), mesh.node(2), mesh.node(3)];
  const before = namespaces();
  await does(one, 'network', 'create', '--driver', 'overlay', '--internal', '--subnet', '10.99.0.0/24', 'back');
  await does(one, 'service', 'create', '--name', 'web', '--network', 'back');
  await does(one, 'service', 'create', '--name', 'shell', '--network', 'back');
  const vip = await vipOf('web');

  async function vipOf(service: string): Promise<string> {
    const [found] = await one.json<readonly { Endpoint: { VirtualIPs: readonly { Addr: string }[] } }[]>(
      'service',
      'inspect',
      service,
    );
    return found?.Endpoint.VirtualIPs[0]?.Addr.split('/')[0] ?? '';
  }

  const servers = await Promise.all([two, three].map((node) => startServer(node.runner, 'web')));
  const shell = await startServer(one.runner, 'shell');
  const all = servers.map(({ name }) => name).sort();

  await t.test('by address, and by VIP from every node', async (t) => {
    for (const { name, address } of servers) {
      const text = await until(
        `${name} is reached`,
        () => httpGet(shell.netns, address, 8000),
        (answer) => answer.startsWith(name),
      );
      t.match(text, `${name} met ::ffff:${shell.address}`, 'and sees who it is');
    }
    for (const from of [shell, ...servers]) {
      const seen = new Set<string>();
      await until(
        'the VIP leads to all',
        async () => seen.add((await httpGet(from.netns, vip, 8000)).split(' ')[0] ?? ''),
        (names) => all.every((name) => names.has(name)),
      );
      t.ok(
        all.every((name) => seen.has(name)),
        from.name,
      );
    }
  });

  await t.test('O2: a frame from an address that is no node is dropped, and told by the metrics', async (t) => {
    const foreign = one.address.replace(/\d+$/, '250');
    const [program = '', ...words] = [...three.through, 'ip', 'address', 'add', `${foreign}/32`, 'dev', 'lo'];
    execFileSync(program, words);
    const dropped = async (reason: string) =>
      Number(
        new RegExp(`^vipmesh_overlay_frames_dropped_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(
          await two.metrics(),
        )?.[1],
      );
    t.equal(await dropped('stranger'), 0);
    const [network] = await one.json<readonly { Options: Readonly<Record<string, string>> }[]>(
      'network',
      'inspect',
      'back',
    );
    const vni = network?.Options['com.docker.network.driver.overlay.vxlanid_list'];
    const inner = { from: shell.address, fromMac: macOf(ip(shell.address)), to: servers[0]?.address ?? '' };
    const frame = vxlanPacket(Number(vni), { ...inner, toMac: macOf(ip(inner.to)), port: 53, text: 'from a stranger' });
    sendUdp(three.netns, two.address, 4789, frame, foreign);
    await until(
      'it is counted',
      () => dropped('stranger'),
      (count) => count === 1,
    );
    t.equal(await dropped('stranger'), 1);
  });

  await t.test('published on a node that has none of its containers', async (t) => {
    await does(one, 'service', 'update', '--publish-add', `${PORT}:8000`, 'web');
    for (const node of mesh.nodes) {
      const seen = new Set<string>();
      await until(
        `${node.name} leads to all`,
        async () => seen.add((await httpGet(node.netns, '127.0.0.1', PORT)).split(' ')[0] ?? ''),
        (names) => all.every((name) => names.has(name)),
      );
      t.ok(
        all.every((name) => seen.has(name)),
        node.name,
      );
    }
  });

  await t.test('M12: an agent is killed and comes back', async (t) => {
    const [server] = servers;
    if (server === undefined) return;
    await two.killAgent();
    t.match(await httpGet(shell.netns, server.address, 8000), server.name, 'its container is reached by address');
    await two.restartAgent();
    const text = await until(
      'it is served again',
      () => httpGet(server.netns, vip, 8000),
      (answer) => all.some((name) => answer.startsWith(name)),
    );
    t.match(text, ' met ');
    t.match(await httpGet(shell.netns, server.address, 8000), server.name);
  });

  await t.test('a container that goes is not reached, and its place is given back', async (t) => {
    await does(one, 'service', 'update', '--publish-rm', '8000', 'web');
    for (const { run, ended } of servers) {
      run.kill('SIGTERM');
      await ended;
    }
    await until(
      'nobody serves',
      () => endpointsOf(one),
      (list) => list.every(({ Service }) => Service !== 'web'),
    );
    t.equal(tryTcp(shell.netns, vip, 8000), 'ECONNREFUSED');
    await until(
      'only the first node has the network',
      () => namespaces().filter((name) => !before.includes(name)),
      (names) => names.length === 2,
    );
    for (const node of mesh.nodes)
      t.same((await statusOf(node)).Warnings, [], `${node.name} has nothing to complain of`);
  });
  await mesh.down();
});
