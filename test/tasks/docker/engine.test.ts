// What an engine may answer, by a stub of it: the real one is in test/netns/docker.test.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { DockerEngine, type EngineEvent } from '../../../src/tasks/docker/engine.ts';

const ID = 'a'.repeat(64);

type Answers = (path: string, request: IncomingMessage, response: ServerResponse) => string | undefined;

/** Answers by path; undefined is 404. */
async function stub(version: string, answer: Answers) {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-engine-'));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '');
    asked.push(path);
    response.setHeader('api-version', version);
    const body = path.endsWith('/_ping') ? 'OK' : answer(path, request, response);
    if (response.headersSent) return;
    response.statusCode = body === undefined ? 404 : 200;
    response.end(body ?? '{"message":"no such container"}');
  });
  const socket = join(folder, 'docker.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { engine: new DockerEngine(socket), asked, socket };
}

t.test('the version that both speak', async (t) => {
  const older = await stub('1.39', () => '[]');
  t.same(await older.engine.containers(), []);
  t.same(older.asked, ['/_ping', '/v1.39/containers/json?all=1']);
  const newer = await stub('1.51', () => '[]');
  await newer.engine.containers();
  t.same(newer.asked, ['/_ping', '/v1.41/_ping', '/v1.41/containers/json?all=1']);
  const ancient = await stub('1.24', () => '[]');
  await t.rejects(ancient.engine.containers(), {
    code: 'UNAVAILABLE',
    message: /speaks version 1\.24 .* 1\.29 is the least/,
  });
  const other = await stub('', () => '[]');
  await t.rejects(other.engine.containers(), { message: /does not say which version/ });
});

t.test('a signal', async (t) => {
  const statuses = [204, 409, 404, 500];
  const { engine, asked } = await stub('1.41', (_path, { method }, response) => {
    response.writeHead(method === 'POST' ? (statuses.shift() ?? 0) : 405).end();
    return undefined;
  });
  for (const _ of [1, 2, 3]) await engine.kill(ID, 15);
  await t.rejects(engine.kill(ID, 15), { message: /answered 500 when it was to send signal 15/ });
  t.equal(asked.at(-1), `/v1.41/containers/${ID}/kill?signal=15`);
});

t.test('answers that cannot be', async (t) => {
  const answers: string[] = ['{', '[{"Id":"../../x"}]', '{}'];
  const { engine, socket } = await stub('1.41', () => answers.shift());
  await t.rejects(engine.containers(), {
    message: `the Docker Engine at ${socket} answered /containers/json?all=1 with what is no JSON`,
  });
  await t.rejects(engine.containers(), { message: /at 0\.Id: expected 64 hexadecimal digits/ });
  await t.rejects(engine.inspect(ID), { message: /with what was not expected, at Id/ });
  t.equal(await engine.inspect(ID), undefined, 'there is no such container');
  const nobody = new DockerEngine('/nowhere/docker.sock');
  await t.rejects(nobody.containers(), { message: /is not there; does it run\?/ });
});

t.test('events, in whatever pieces they come', async (t) => {
  const event = (Type: string, Action: string, Attributes: Readonly<Record<string, string>>) =>
    `${JSON.stringify({ Type, Action, Actor: { ID, Attributes } })}\n`;
  const text = [
    event('container', 'kill', { signal: '15', name: 'x' }),
    event('network', 'connect', { container: 'b'.repeat(64) }),
    event('image', 'pull', {}),
    event('container', 'health_status: healthy', {}),
  ].join('');
  const { engine, asked } = await stub('1.41', (_path, _request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    for (const piece of text.match(/[\s\S]{1,50}/g) ?? []) response.write(piece);
    response.end();
    return '';
  });
  const heard: EngineEvent[] = [];
  let listening = 0;
  const follow = () =>
    engine.follow(
      () => listening++,
      (one) => heard.push(one),
      new AbortController().signal,
    );
  await follow();
  t.equal(listening, 1);
  t.same(heard, [
    { container: ID, action: 'kill', signal: 15 },
    { container: 'b'.repeat(64), action: 'connect' },
    { container: ID, action: 'health_status: healthy' },
  ]);
  t.match(asked[2], /^\/v1\.41\/events\?filters=.*"health_status"/);
  const silent = await stub('1.41', (_path, _request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    return '';
  });
  const stop = new AbortController();
  await silent.engine.follow(
    () => stop.abort(),
    () => undefined,
    stop.signal,
  );
  t.pass('it ends when it is told to');
});

t.test('an engine that hangs holds up nobody who leaves', async (t) => {
  const asked: (() => void)[] = [];
  const { engine } = await stub('1.41', (_path, _request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    for (const tell of asked) tell();
    return '';
  });
  const isAsked = new Promise<void>((resolve) => asked.push(resolve));
  const answer = engine.inspect(ID);
  await isAsked;
  engine.close();
  await t.rejects(answer, { code: 'UNAVAILABLE' });
  await t.rejects(engine.containers(), { code: 'UNAVAILABLE' });
});
