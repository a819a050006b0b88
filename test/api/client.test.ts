// The client against the server, over a real socket: tasks that are run, answers that cannot be used, where the agent is.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { apiPath, createClient, socketOf } from '../../src/api/client.ts';
import type { TaskEvent } from '../../src/api/schema.ts';
import { agentStatus } from '../../src/api/status-schema.ts';
import { fakeApi, serveFake } from '../support/fake-api.ts';

const PREPARED: TaskEvent = {
  Event: 'prepared',
  TaskID: 'task-web-1',
  Name: 'web.1.task-web-1',
  Service: 'web',
  Addresses: [{ Network: 'default', Address: '127.64.0.10' }],
  Env: { PORT: '80', VIPMESH_ADDR: '127.64.0.10' },
};
const PROBE: TaskEvent = { Event: 'probe', Number: 1, Command: ['true'], Shell: false, TimeoutMs: 1000 };

t.test('events of a task arrive as they happen and end with the task', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  fake.events = [PREPARED, PROBE];
  const { events } = await createClient(socket).runTask({ Service: 'web', Port: 8080 });
  const seen: TaskEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (seen.length === 2) fake.endTask();
  }
  t.same(seen, [PREPARED, PROBE]);
  t.same(fake.calls, ['start {"Service":"web","Port":8080}']);
  await fake.abandoned;
});

t.test('a client that goes away abandons its task', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  fake.events = [PREPARED];
  const { events, close } = await createClient(socket).runTask({ Service: 'web' });
  t.same((await events[Symbol.asyncIterator]().next()).value, PREPARED);
  close();
  await fake.abandoned;
});

t.test('an agent that closes ends the stream', async (t) => {
  const fake = fakeApi();
  const { socket, server } = await serveFake(fake, t);
  fake.events = [PREPARED];
  const { events } = await createClient(socket).runTask({ Service: 'web' });
  const seen: TaskEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    void server.close();
  }
  t.same(seen, [PREPARED]);
  await fake.abandoned;
});

t.test('a refused task is an error with the reason', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  fake.failure = Object.assign(new Error('no address is left on default'), { code: 'exhausted' });
  await t.rejects(createClient(socket).runTask({ Service: 'web' }), {
    code: 'CONFLICT',
    message: 'no address is left on default',
  });
});

t.test('answers that are none', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-client-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const cases = [
    ['HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<hi>', { code: 'AGENT_INCOMPATIBLE', message: /is not JSON/ }],
    [
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}',
      { code: 'AGENT_INCOMPATIBLE', message: /Version: .*another version/ },
    ],
    ['HTTP/1.1 500 no\r\ncontent-length: 3\r\n\r\nodd', { code: 'INTERNAL', message: 'odd' }],
    ['HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n', { code: 'INTERNAL', message: 'the agent answered 500' }],
    [
      'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{',
      { code: 'AGENT_NOT_RUNNING', message: /ended while it answered/ },
    ],
    ['nonsense', { code: 'AGENT_NOT_RUNNING', message: /cannot be asked/ }],
  ] as const;
  for (const [index, [answer, expected]] of cases.entries()) {
    const path = join(folder, String(index));
    const server = createServer((connection) => connection.once('data', () => connection.end(answer)));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await t.rejects(createClient(path).get('/vipmesh/status', agentStatus), expected);
    server.close();
  }
});

t.test('where the agent is', (t) => {
  t.equal(socketOf('unix:///a.sock', { VIPMESH_HOST: '/b.sock' }), '/a.sock');
  t.equal(socketOf(undefined, { VIPMESH_HOST: '/b.sock' }), '/b.sock');
  t.match(socketOf(undefined, { VIPMESH_HOST: '', XDG_RUNTIME_DIR: '/run/user/1' }), /^\/run\/.*vipmesh\.sock$/);
  for (const wrong of ['tcp://127.0.0.1:2375', 'relative.sock'])
    t.throws(() => socketOf(wrong, {}), { code: 'BAD_REQUEST' });
  t.equal(apiPath`/services/${'a/b?c'}/x`, '/services/a%2Fb%3Fc/x');
  t.end();
});
