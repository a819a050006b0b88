// On which addresses and interfaces a published port is: a real agent on a node (this process's own network namespace) whose addresses change.
import { inOwnNetns } from '../support/own-netns.ts';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';
import t from 'tap';
import { type Agent, startAgent } from '../support/agent.ts';
import { needsPrograms, needsRoot } from '../support/requirements.ts';
import { ask } from '../support/tcp-rig.ts';

function ip(...words: string[]): void {
  execFileSync('ip', words);
}

/** Who answers. A datagram that comes before the port is ours is lost, so it is sent again and again. */
async function whoEchoes(host: string, port: number): Promise<unknown> {
  const socket = createSocket('udp4');
  const again = setInterval(() => socket.send('echo', port, host), 20);
  const [, from] = await once(socket, 'message');
  clearInterval(again);
  socket.close();
  return from;
}

/** Another node at the other end of a link, 10.9.8.1 and fd09::1: a program that stands for its network namespace. */
async function otherNode(link: string): Promise<number> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo; cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.teardown(() => holder.kill());
  await once(holder.stdout, 'data');
  const pid = holder.pid ?? 0;
  ip('link', 'set', link, 'netns', String(pid));
  const there = `ip link set ${link} up; ip address add 10.9.8.1/24 dev ${link}; ip address add fd09::1/64 dev ${link} nodad`;
  execFileSync('nsenter', [`--net=/proc/${pid}/ns/net`, 'sh', '-c', there]);
  return pid;
}

/** As `ask`, from there. */
async function askFrom(pid: number, host: string, port: number): Promise<string> {
  const program = `const socket = require('net').connect(${port}, '${host}');
    socket.on('data', (data) => { console.log(String(data)); socket.destroy(); }).on('error', ({ code }) => console.log(code));`;
  const { stdout } = await promisify(execFile)('nsenter', [
    `--net=/proc/${pid}/ns/net`,
    process.execPath,
    '-e',
    program,
  ]);
  return stdout.trim();
}

/** What `service inspect` says of a published port. */
async function state(agent: Agent, port: number): Promise<string> {
  const { stdout } = await agent.cli('service', 'inspect', '--pretty', 'web');
  const lines = stdout.split('\n').filter((line) => line.includes(`:${port}/`));
  return lines.sort().join(' // ');
}

async function untilSaid(host: string, port: number, expected: string): Promise<void> {
  while ((await ask(port, host)) !== expected);
}

t.test('addresses and interfaces that are not there, then are', async (t) => {
  if (!needsRoot(t, 'to give a node addresses') || !needsPrograms(t, 'ip')) return;
  t.ok(inOwnNetns, 'this process is a node of its own');
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'eth9', 'type', 'veth', 'peer', 'name', 'eth10');
  for (const link of ['eth9', 'eth10']) ip('link', 'set', link, 'up');
  const outside = await otherNode('eth10');
  const server = createServer((socket) => socket.on('error', () => {}).end('served')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  const echo = createSocket('udp4').bind(address.port, address.address);
  await once(echo, 'listening');
  echo.on('message', (datagram, { port, address: client }) => echo.send(datagram, port, client));
  t.teardown(() => {
    server.close();
    echo.close();
  });
  const agent = await startAgent({
    stacks: {
      shop: `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.115.0.0/16 }] } }
services:
  web:
    ports: ["8001:80", "%lo:8004:80", "%eth9:8005:80", "%eth9:8005:80/udp", "%eth11:8006:80", "%eth11:8006:80/udp", "10.9.8.7:8002:80", "10.9.8.7:8002:80/udp", "[fd09::7]:8002:80", "127.0.0.1:8003:80"]
    x-vipmesh: { endpoints: ["127.0.0.1:${address.port}"], health: { tcp: true, timeout: 20s } }
`,
    },
  });
  for (const host of ['127.0.0.1', '::1']) await untilSaid(host, 8001, 'served');
  await untilSaid('127.0.0.1', 8003, 'served');
  t.equal(await ask(8003, '::1'), 'ECONNREFUSED', 'an address that was given is the only one');
  t.equal(await ask(8002, '127.0.0.1'), 'ECONNREFUSED');
  const shown = await agent.cli('service', 'inspect', '--pretty', 'web');
  t.match(shown.stdout, /10\.9\.8\.7:8002\/tcp +80 +blocked .*no interface of this node has the address 10\.9\.8\.7/);
  t.match(shown.stdout, /\[fd09::7\]:8002\/tcp +80 +blocked .*no interface of this node has the address fd09::7/);

  ip('address', 'add', '10.9.8.7/24', 'dev', 'eth9');
  ip('address', 'add', 'fd09::7/64', 'dev', 'eth9', 'nodad');
  await untilSaid('10.9.8.7', 8002, 'served');
  await untilSaid('fd09::7', 8002, 'served');
  t.match(await whoEchoes('10.9.8.7', 8002), { address: '10.9.8.7', port: 8002 }, 'UDP on the number of a TCP port');
  t.equal(await ask(8002, '127.0.0.1'), 'ECONNREFUSED');
  t.equal(await ask(8001, '10.9.8.7'), 'served', 'every address means also those that came later');

  await untilSaid('127.0.0.1', 8004, 'served');
  t.equal(await ask(8005, '127.0.0.1'), 'ECONNREFUSED', 'an address of another interface');
  for (const host of ['10.9.8.7', 'fd09::7']) t.equal(await ask(8005, host), 'served', 'from the node itself');
  t.match(await whoEchoes('10.9.8.7', 8005), { address: '10.9.8.7', port: 8005 }, 'UDP');
  t.equal(await askFrom(outside, '10.9.8.7', 8005), 'served');
  t.equal(await askFrom(outside, 'fd09::7', 8005), 'served');
  t.equal(await askFrom(outside, '10.9.8.7', 8004), 'ECONNREFUSED');
  t.match(await state(agent, 8006), /%eth11:8006\/tcp +80 +blocked .*this node has no interface eth11/);
  ip('link', 'add', 'eth11', 'type', 'veth', 'peer', 'name', 'eth12');
  while (!/8006\/udp +80 +blocked .*the interface eth11 of this node is down/.test(await state(agent, 8006)));
  for (const link of ['eth11', 'eth12']) ip('link', 'set', link, 'up');
  while (!/8006\/tcp +80 +listening.* \/\/ .*8006\/udp +80 +listening/.test(await state(agent, 8006)));
  ip('link', 'delete', 'eth11');
  while (!/8006\/tcp +80 +blocked.* \/\/ .*8006\/udp +80 +blocked/.test(await state(agent, 8006)));
  ip('link', 'add', 'eth11', 'type', 'veth', 'peer', 'name', 'eth12');
  while (!/8006\/tcp +80 +listening/.test(await state(agent, 8006)));

  // What is elsewhere, or not yet anywhere, may be published by hand as well.
  const endpoint = ['--endpoint', `127.0.0.1:${address.port}`, '--network', 'shop_default'];
  const words = ['service', 'create', '--no-healthcheck', ...endpoint, '--publish', '10.9.8.8:8002:80', 'second'];
  t.match(await agent.cli(...words), { code: 0 });
  t.equal(await ask(8002, '10.9.8.7'), 'served', 'one number at two addresses is two ports');
  ip('address', 'add', '10.9.8.8/24', 'dev', 'eth9');
  await untilSaid('10.9.8.8', 8002, 'served');
});
