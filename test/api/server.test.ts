// The API over a real unix socket: paths, versions, errors, limits, who may have the socket.
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { startApiServer } from '../../src/api/server.ts';
import { groupIdIn } from '../../src/api/socket-file.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { fakeApi, serveFake } from '../support/fake-api.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly json: unknown;
}

function ask(socketPath: string, method: string, path: string, body?: string | object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () =>
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text,
          json: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : undefined,
        }),
      );
    });
    asked.on('error', reject);
    asked.end(typeof body === 'object' ? JSON.stringify(body) : body);
  });
}

t.test('answers on every accepted version and none', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  for (const prefix of ['', '/v1.25', '/v1.41', '/v1.44', '/v1.50']) {
    const { status, json } = await ask(socket, 'GET', `${prefix}/services`);
    t.equal(status, 200, prefix);
    t.match(json, [{ Spec: { Name: 'web' } }, { Spec: { Name: 'shop_db' } }]);
  }
  t.match(await ask(socket, 'GET', '/v1.99/services'), {
    status: 400,
    json: { message: 'client version 1.99 is too new. Maximum supported API version is 1.50' },
  });
  t.match(await ask(socket, 'GET', '/v1.24/services'), { status: 400, json: { message: /1\.24 is too old/ } });
});

t.test('_ping is what Docker clients look for', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  const ping = await ask(socket, 'GET', '/_ping');
  t.match(ping, { status: 200, text: 'OK' });
  t.match(ping.headers, {
    'api-version': '1.50',
    ostype: 'linux',
    'docker-experimental': 'false',
    'content-type': /^text\/plain/,
  });
  const head = await ask(socket, 'HEAD', '/_ping');
  t.match(head, { status: 200, text: '' });
});

t.test('errors are a status and one sentence', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  const cases: readonly (readonly [string, string, number, RegExp, (string | object)?])[] = [
    ['GET', '/services/wbe', 404, /wbe.*web/],
    ['GET', '/services/svc', 400, /may mean/],
    ['GET', '/networks/nope', 404, /no network is called "nope"/],
    ['GET', '/nodes/beta', 404, /no node is called "beta"; there is alpha/],
    ['GET', '/nothing', 404, /^no such path: GET \/nothing$/],
    ['GET', '/containers/json', 501, /does not run containers.*vipmesh run/],
    ['POST', '/v1.41/swarm/init', 501, /no swarm/],
    ['POST', '/v1.41/images/create?fromSrc=-', 501, /no images/, 'an archive'],
    ['GET', '/containers/web/json', 404, /^No such container: web/],
    ['GET', '/v1.50/images/registry.example/web:1/json', 404, /^No such image: registry.example\/web:1/],
    ['GET', '/volumes/data', 404, /^No such volume: data/],
    ['GET', '/services?filters=%7B', 400, /^filters should be a JSON object/],
    [
      'GET',
      `/services?filters=${encodeURIComponent('{"colour":["red"]}')}`,
      400,
      /^invalid filter 'colour'; known ones are id, name/,
    ],
    ['POST', '/vipmesh/endpoints', 400, /^the body is not JSON/, '{'],
    ['POST', '/vipmesh/endpoints', 400, /Service: .*; Endpoint: /, ''],
    ['POST', '/vipmesh/endpoints', 400, /Colour/, { Service: 'web', Endpoint: '1.2.3.4', Colour: 1 }],
    ['POST', '/vipmesh/endpoints', 404, /nope/, { Service: 'nope', Endpoint: '1.2.3.4:5' }],
    ['POST', '/vipmesh/endpoints', 413, /too large/i, `"${'x'.repeat(5_000_000)}"`],
    ['DELETE', '/vipmesh/endpoints/task-web-1', 409, /end its command/],
    ['POST', '/vipmesh/tasks/task-web-1/running', 400, /PID/, { PID: -1 }],
    ['POST', '/vipmesh/tasks/task-web-1/probes/x', 400, /whole number/, { ExitCode: 0, Output: '' }],
    ['GET', '/vipmesh/resolve', 400, /name is missing/],
    ['GET', '/vipmesh/resolve?name=web&task=nope', 404, /no task is called "nope"/],
    ['GET', '/vipmesh/resolve?name=web&task=t&network=n', 400, /network and task are both given/],
  ];
  for (const [method, path, status, message, body] of cases) {
    const answer = await ask(socket, method, path, body);
    t.match(answer, { status, json: { message } }, `${method} ${path}`);
  }
  t.same(fake.calls, [], 'nothing was done');
});

t.test("other rooms' errors keep their message and get a fitting status", async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  for (const [code, status] of [
    ['ENDPOINT_EXISTS', 409],
    ['in-use', 409],
    ['ENDPOINT_INVALID', 400],
    ['NOT_FOUND', 404],
    ['STORE_UNAVAILABLE', 503],
    ['ODD', 500],
  ] as const) {
    fake.failure = Object.assign(new Error(`because of ${code}`), { code });
    t.match(await ask(socket, 'POST', '/vipmesh/endpoints', { Service: 'web', Endpoint: '1.2.3.4' }), {
      status,
      json: { message: `because of ${code}` },
    });
  }
});

t.test('lists are filtered', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  const names = async (path: string, filters: object, field: string) => {
    const { json } = await ask(socket, 'GET', `${path}?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    return (json as Record<string, unknown>[]).map((one) =>
      field === 'Spec' ? (one.Spec as { Name: string }).Name : one[field],
    );
  };
  t.same(await names('/services', { label: ['tier=front'] }, 'Spec'), ['web']);
  t.same(await names('/services', { label: { 'com.docker.stack.namespace=shop': true } }, 'Spec'), ['shop_db']);
  t.same(await names('/services', { mode: ['global'] }, 'Spec'), ['shop_db']);
  t.same(await names('/services', { name: ['w', 'x'] }, 'Spec'), ['web']);
  t.same(await names('/tasks', { service: ['web'], 'desired-state': ['running'] }, 'Slot'), [1, 2]);
  t.same(await names('/tasks', { node: ['beta'] }, 'Slot'), []);
  t.same(await names('/networks', { driver: ['overlay'] }, 'Name'), ['backend']);
  t.same(await names('/networks', { scope: ['local'], type: ['custom'] }, 'Name'), ['default']);
});

t.test('endpoints and tasks reach the commands', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  t.match(await ask(socket, 'POST', '/vipmesh/endpoints', { Service: 'shop_db', Endpoint: '[fd00::1]:5432' }), {
    status: 201,
    json: { ID: 'task-shop_db-1' },
  });
  t.equal((await ask(socket, 'DELETE', '/vipmesh/endpoints/task-shop_db-1')).status, 204);
  t.equal((await ask(socket, 'POST', '/vipmesh/tasks/t1/running', { PID: 12 })).status, 204);
  t.equal((await ask(socket, 'POST', '/vipmesh/tasks/t1/leave')).status, 204);
  t.equal((await ask(socket, 'POST', '/vipmesh/tasks/t1/exited', { ExitCode: null, Signal: 'SIGKILL' })).status, 204);
  t.equal((await ask(socket, 'POST', '/vipmesh/tasks/t1/probes/3', { ExitCode: 1, Output: 'bad' })).status, 204);
  t.equal((await ask(socket, 'GET', '/vipmesh/resolve?name=tasks.web&network=backend')).status, 200);
  t.same(fake.calls, [
    'add svc-shop_db [fd00::1]:5432',
    'remove task-shop_db-1',
    'running t1 12',
    'leave t1',
    'exited t1 null SIGKILL',
    'probed t1 3 1 bad',
    'resolve tasks.web network net-backend',
  ]);
});

t.test('the socket: its mode, a second agent, leftovers', async (t) => {
  const fake = fakeApi();
  const { socket, server } = await serveFake(fake, t);
  const again = () => startApiServer({ socket, mode: 0o600, context: fake.context, log: SILENT_LOG });
  t.equal(statSync(socket).mode & 0o777, 0o600);
  await t.rejects(again(), {
    code: 'SOCKET_IN_USE',
    message: `another agent is running on ${socket} (pid 4242); stop it first, or give this one its own --socket and --state-dir`,
  });
  t.equal((await ask(socket, 'GET', '/_ping')).status, 200, 'the first one is untouched');
  await server.close();
  t.throws(() => statSync(socket), 'the socket has gone with its agent');

  await leaveStaleSocket(socket);
  const second = await again();
  t.equal((await ask(socket, 'GET', '/_ping')).status, 200, 'a socket that nobody listens on is replaced');
  await second.close();
  await second.close();

  const long = { socket: `${socket}${'x'.repeat(100)}`, mode: 0o600, context: fake.context, log: SILENT_LOG };
  await t.rejects(startApiServer(long), { code: 'SOCKET_UNUSABLE', message: /bytes, of 107 at most/ });
  writeFileSync(socket, 'not a socket');
  await t.rejects(again(), { code: 'SOCKET_UNUSABLE', message: /exists and is no socket/ });
});

t.test('a mute program that holds the socket is not pushed aside', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-api-'));
  const socket = join(folder, 's');
  const mute = createServer((connection) => connection.end('garbage'));
  await new Promise<void>((resolve) => mute.listen(socket, resolve));
  t.teardown(() => {
    mute.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const start = startApiServer({ socket, mode: 0o600, context: fakeApi().context, log: SILENT_LOG });
  await t.rejects(start, {
    code: 'SOCKET_IN_USE',
    message: `another agent is running on ${socket}; stop it first, or give this one its own --socket and --state-dir`,
  });
});

t.test('closing waits for the request in progress', async (t) => {
  const fake = fakeApi();
  const { socket, server } = await serveFake(fake, t);
  let finish = () => {};
  const held = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const started = new Promise<void>((resolve) => {
    fake.context = { ...fake.context };
    fake.context.tasks.leave = async () => {
      resolve();
      await held;
    };
  });
  const answer = ask(socket, 'POST', '/vipmesh/tasks/t1/leave');
  await started;
  const closed = server.close();
  await t.rejects(ask(socket, 'GET', '/_ping'), { code: 'ENOENT' });
  finish();
  t.equal((await answer).status, 204);
  await closed;
});

t.test('the group of the socket', (t) => {
  t.equal(groupIdIn('root:x:0:\nvipmesh:x:997:ann\n', 'vipmesh'), 997);
  t.equal(groupIdIn('root:x:0:\nvipmeshes:x:997:\n', 'vipmesh'), undefined);
  t.equal(groupIdIn('vipmesh:x::\n', 'vipmesh'), undefined);
  t.end();
});

/** A socket file as kill -9 leaves it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  await new Promise((resolve) => child.once('exit', resolve));
}
