// Weights from outside: a real agent, real servers, shares that are counted.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { type Agent, PROGRAM, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';

/** A server that says its name and closes. */
async function server(name: string): Promise<string> {
  const one = createServer((socket) => socket.on('error', () => {}).end(name)).listen(0, '127.0.0.1');
  await once(one, 'listening');
  t.teardown(() => one.close());
  return `127.0.0.1:${(one.address() as AddressInfo).port}`;
}

async function ask(port: number, localAddress = '127.0.0.1'): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

/** How often each name answered. */
async function shares(port: number, count: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const name = await ask(port);
    seen[name] = (seen[name] ?? 0) + 1;
  }
  return seen;
}

/** Workers hear of a change a moment after the agent did: a first count may be of before. A wrong share is never right. */
async function untilShares(port: number, expected: Record<string, number>): Promise<Record<string, number>> {
  const count = Object.values(expected).reduce((sum, one) => sum + one, 0);
  for (let attempt = 0; ; attempt++) {
    const seen = await shares(port, count).catch(() => ({}) as Record<string, number>);
    const same = Object.keys(expected).every((name) => seen[name] === expected[name]);
    if (same || attempt === ATTEMPTS) return seen;
  }
}

const ATTEMPTS = 100;

function healthy(agent: Agent, count: number): Promise<unknown> {
  return agent.logged(() => agent.log.filter(({ message }) => message === 'task is healthy').length >= count);
}

interface Listed {
  readonly Weight: number;
  readonly Eligible: boolean;
  readonly Reason?: string;
  readonly OpenConnections: number;
}

async function endpoints(agent: Agent): Promise<readonly Listed[]> {
  const [service] = await agent.json<readonly { readonly Vipmesh: { readonly Endpoints: readonly Listed[] } }[]>(
    'service',
    'inspect',
    'web',
  );
  return service?.Vipmesh.Endpoints ?? [];
}

t.test('T5: by weight, and by another weight, and by none', async (t) => {
  const [one, two] = [await server('one'), await server('two')];
  const port = unusedPort();
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.111.0.0/16 }] } }
services:
  web:
    ports: ["${port}:80"]
    x-vipmesh: { endpoints: [${one}, { address: "${two}", weight: 2 }], health: { tcp: true, timeout: 20s } }
`,
    },
  });
  await healthy(agent, 2);
  t.same(await untilShares(port, { one: 10, two: 20 }), { one: 10, two: 20 });
  t.match(await agent.cli('endpoint', 'ls', 'web'), { stdout: /ID +SERVICE +.* WEIGHT +ELIGIBLE/ });
  t.same(
    (await endpoints(agent)).map(({ Weight }) => Weight),
    [1, 2],
  );

  t.match(await agent.cli('endpoint', 'add', 'web', one), { code: 1, stderr: /has the endpoint .* already/ });
  t.match(await agent.cli('endpoint', 'add', '--weight', '3', 'web', two), { code: 0 });
  t.same(await untilShares(port, { one: 5, two: 15 }), { one: 5, two: 15 });

  t.match(await agent.cli('endpoint', 'add', '--weight', '0', 'web', two), { code: 0 });
  t.same(await untilShares(port, { one: 6 }), { one: 6 });
  t.match((await endpoints(agent))[1], {
    Weight: 0,
    Eligible: false,
    Reason: /weight is 0: it gets no new connection/,
  });
  t.match(await agent.cli('service', 'inspect', '--pretty', 'web'), { stdout: / WEIGHT +ELIGIBLE .*its weight is 0/s });

  const third = await server('three');
  t.match(await agent.cli('endpoint', 'add', '--weight', '2', 'web', third), { code: 0 });
  await healthy(agent, 3);
  t.same(await untilShares(port, { one: 10, three: 20 }), { one: 10, three: 20 });
  for (const bad of ['-1', '257', '1.5', 'x'])
    t.match(await agent.cli('endpoint', 'add', `--weight=${bad}`, 'web', '127.0.0.1:1'), {
      code: 2,
      stderr: /should be a whole number from 0 \(no new connections\) to 256/,
    });
});

t.test('tasks of commands, least connections', async (t) => {
  const [port, target] = [unusedPort(), unusedPort()];
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.112.0.0/16 }] } }
services:
  web:
    ports: ["${port}:${target}"]
    x-vipmesh: { balance: least-connections, health: { tcp: true, timeout: 20s } }
`,
    },
  });
  const program = `require('net').createServer((s) => s.on('error', () => {}).resume().write(process.env.VIPMESH_TASK)).listen(process.env.PORT, process.env.VIPMESH_ADDR)`;
  for (const [name, weight] of [
    ['light', '1'],
    ['heavy', '3'],
  ] as const) {
    const words = [
      'run',
      '--service',
      'web',
      '--name',
      name,
      '--weight',
      weight,
      '--',
      process.execPath,
      '-e',
      program,
    ];
    const env = { ...process.env, VIPMESH_HOST: agent.folder.socket };
    const task = spawn(process.execPath, [PROGRAM, ...words], { env, stdio: 'ignore' });
    t.teardown(() => task.kill());
  }
  await healthy(agent, 2);
  const names = ['heavy', 'heavy', 'heavy', 'heavy', 'heavy', 'heavy', 'light', 'light'];
  let seen: string[] = [];
  for (let attempt = 0; attempt < ATTEMPTS && seen.join() !== names.join(); attempt++) {
    const open: Socket[] = [];
    seen = [];
    for (const _ of names) {
      const socket = connect(port, '127.0.0.1');
      open.push(socket);
      seen.push(await once(socket, 'data').then(String, () => 'refused'));
    }
    seen.sort();
    for (const socket of open) socket.destroy();
    for (;;) if ((await endpoints(agent)).every(({ OpenConnections }) => OpenConnections === 0)) break;
  }
  t.same(seen, names);
});

t.test('every way of sharing out, from many clients', async (t) => {
  const [light, heavy] = [await server('light'), await server('heavy')];
  const services = ['least-connections', 'random', 'source-hash', 'affinity'].map((way) => {
    const how = way === 'affinity' ? 'affinity: 1h' : `balance: ${way}`;
    return { way, how, port: unusedPort() };
  });
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.113.0.0/16 }] } }
services:${services
        .map(
          ({ way, how, port }) => `
  ${way}:
    ports: ["${port}:80"]
    x-vipmesh:
      endpoints: [${light}, { address: "${heavy}", weight: 3 }]
      ${how}
      health: { tcp: true, timeout: 20s }`,
        )
        .join('')}
`,
    },
  });
  await healthy(agent, 2 * services.length);
  for (const { way, port } of services) {
    const heard = new Set<string>();
    for (let i = 0; !(heard.has('light') && heard.has('heavy')); i = (i + 1) % 250)
      heard.add(await ask(port, `127.1.1.${i + 1}`).catch(() => ''));
    // Where open connections count, all stay open: how soon an end is counted would decide otherwise.
    const stays = way === 'least-connections' || way === 'random';
    const open: Socket[] = [];
    let count = 0;
    for (let client = 0; client < 200; client++) {
      const localAddress = `127.0.1.${client + 1}`;
      if (stays) {
        const socket = connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true });
        open.push(socket);
        if (String(((await once(socket, 'data')) as [Buffer])[0]) === 'light') count++;
      } else if ((await ask(port, localAddress)) === 'light') count++;
    }
    for (const socket of open) socket.destroy();
    // A quarter, and five standard deviations of chance.
    t.ok(count > 19 && count < 81, `${way}: ${count} of 200`);
  }
});
