// A command in a container: its network, its resolver, its name; and that the node's own are untouched.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { probeHttp, probeTcp } from '../../src/health/probes.ts';
import type { IpAddress } from '../../src/model/address.ts';
import { closeNetns, createNetns, deleteNetns, openNetns } from '../../src/native/netns.ts';
import { needsPrograms, needsRoot } from '../support/requirements.ts';
import { StubAgent } from '../support/stub-agent.ts';

const PROGRAM = fileURLToPath(new URL('../support/run-command.js', import.meta.url));
const RESOLV_CONF = 'nameserver 127.0.0.11\nsearch example.com\n';
const HOSTS = '127.0.0.1 localhost\n10.64.0.2 db1\n';
const never = new AbortController().signal;

t.test('a command in a container', async (t) => {
  if (!mayRun(t)) return;
  const name = `vipmesh-test-run-${process.pid}`;
  const path = `/run/netns/${name}`;
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  createNetns(path);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const netns = openNetns(path);
  const renewed = join(folder, 'renewed.conf');
  writeFileSync(renewed, 'of the node');
  const files = { '/etc/resolv.conf': RESOLV_CONF, '/etc/hosts': HOSTS, [renewed]: 'of the container' };
  const agent = new StubAgent(join(folder, 'agent.sock'), {
    prepared: { Namespace: path, Hostname: 'db1', Files: files },
  });
  await agent.listen();
  const node = { files: nodeFiles(), hostname: hostname() };
  const server = `require('http').createServer((request, response) => response.end(request.url === '/name' ? require('os').hostname() : 'ok'))
    .listen(8000, '127.0.0.1', () => console.log('ready'))`;
  const child = spawn(
    process.execPath,
    [PROGRAM, '--host', agent.socket, '--service', 'db', '--', process.execPath, '-e', server],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TMPDIR: folder },
    },
  );
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await agent.kill();
    closeNetns(netns);
    deleteNetns(path);
    rmSync(folder, { recursive: true });
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));

  const address = '127.0.0.1' as IpAddress;
  t.same(await probeTcp({ address, port: 8000, netns }, never), { ok: true }, 'probed from inside its network');
  t.same(await probeHttp({ address, port: 8000, netns }, { path: '/' }, never), { ok: true });
  t.match(await probeTcp({ address, port: 8000, netns: 0 }, never), { ok: false }, 'and nowhere else');
  t.match(await probeTcp({ address: '192.0.2.1' as IpAddress, port: 8000, netns }, never), {
    ok: false,
    reason: /^no route to/,
  });

  const inside = async (number: number, command: string) => {
    agent.send({ Event: 'probe', Number: number, Command: [command], Shell: true, TimeoutMs: 60_000 });
    const heard = await agent.hear(`probes/${number} `);
    return (JSON.parse(heard.slice(heard.indexOf('{'))) as { Output: string }).Output;
  };
  t.equal(await inside(1, 'cat /etc/resolv.conf'), RESOLV_CONF);
  t.equal(await inside(2, 'cat /etc/hosts'), HOSTS);
  t.equal(await inside(3, 'uname -n'), 'db1\n');
  t.equal(await inside(4, 'readlink /proc/self/ns/net'), `${namespaceOf(name)}\n`);
  t.equal(await inside(5, 'grep -c vipmesh-run- /proc/self/mounts || true'), '0\n', 'the tmpfs is hidden');
  const pid = /\d+/.exec(await agent.hear('running'))?.[0] ?? '';
  t.equal(readFileSync(`/proc/${pid}/root/etc/hosts`, 'utf8'), HOSTS, 'the command sees the same as its checks');

  writeFileSync(`${renewed}.new`, 'renewed by the node');
  renameSync(`${renewed}.new`, renewed);
  t.equal(readFileSync(renewed, 'utf8'), 'renewed by the node');
  let number = 6;
  while ((await inside(number, `cat ${renewed}`)) !== 'of the container') number++;
  t.pass('a rename over a replaced file takes the replacement away, and it comes back');

  t.same(nodeFiles(), node.files, 'the node is as it was');
  t.equal(hostname(), node.hostname);
  t.same(
    readdirSync(folder).filter((entry) => entry.startsWith('vipmesh-run-')),
    [],
    'no folder is left',
  );

  child.kill('SIGTERM');
  await agent.hear('leave');
  t.equal(await ended, 143, 'the signal that ended the command');
});

t.test('a namespace that is not there is one clear line', async (t) => {
  if (!mayRun(t)) return;
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  const agent = new StubAgent(join(folder, 'agent.sock'), {
    prepared: { Namespace: '/run/netns/vipmesh-none', Files: {} },
  });
  await agent.listen();
  t.teardown(async () => {
    await agent.kill();
    rmSync(folder, { recursive: true });
  });
  const child = spawn(process.execPath, [PROGRAM, '--host', agent.socket, '--service', 'db', '--', 'true']);
  let said = '';
  child.stderr.on('data', (data) => {
    said += String(data);
  });
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 1);
  t.match(said, /^vipmesh run: [^\n]*\/run\/netns\/vipmesh-none[^\n]*\n$/);
  t.equal(await agent.hear('exited'), 'exited {"ExitCode":null,"Signal":null}');
});

function mayRun(t: Test): boolean {
  return needsRoot(t, 'containers are network and mount namespaces') && needsPrograms(t, 'ip');
}

function nodeFiles(): readonly string[] {
  return ['/etc/resolv.conf', '/etc/hosts'].map((path) => readFileSync(path, 'utf8'));
}

function namespaceOf(name: string): string {
  return execFileSync('ip', ['netns', 'exec', name, 'readlink', '/proc/self/ns/net'], { encoding: 'utf8' }).trim();
}
