// B4, S9: whatever is sent to the API, it answers with a status below 500 and goes on.
import { connect } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { fakeApi, serveFake } from '../support/fake-api.ts';

/** Sends bytes as they are; resolves with all that came back. */
function send(socket: string, bytes: Uint8Array | string): Promise<string> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    let text = '';
    connection.setEncoding('utf8');
    connection.on('data', (chunk: string) => {
      text += chunk;
    });
    connection.on('error', () => undefined);
    connection.on('close', () => resolve(text));
    connection.end(bytes);
  });
}

function post(path: string, body: string): string {
  const length = Buffer.byteLength(body);
  return `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n${body}`;
}

const PATHS = [
  '/vipmesh/endpoints',
  '/vipmesh/tasks/t1/running',
  '/vipmesh/tasks/t1/exited',
  '/vipmesh/tasks/t1/probes/1',
];

t.test('bodies', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  const field = fc.constantFrom(
    'Service',
    'Endpoint',
    'PID',
    'ExitCode',
    'Signal',
    'Output',
    '__proto__',
    'constructor',
  );
  const body = fc.oneof(
    fc.json(),
    fc.dictionary(field, fc.jsonValue()).map((value) => JSON.stringify(value)),
    fc.string({ unit: 'binary' }),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...PATHS), body, async (path, text) => {
      const answer = await send(socket, post(path, text));
      return /^HTTP\/1\.1 [24]\d\d /.test(answer);
    }),
    { numRuns: 400 },
  );
  t.match(await send(socket, 'GET /_ping HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK/);
});

t.test('paths, queries and bytes that are no HTTP', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  const known = fc.constantFrom(
    '/services',
    '/tasks',
    '/networks',
    '/nodes',
    '/vipmesh/services',
    '/vipmesh/resolve',
    '/v1.41',
  );
  const path = fc
    .tuple(known, fc.string(), fc.webQueryParameters())
    .map(
      ([start, rest, query]) =>
        `GET ${start}/${encodeURIComponent(rest)}?${query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    );
  const bytes = fc.uint8Array({ maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(fc.oneof(path, bytes), async (request) => {
      const answer = await send(socket, request);
      return answer === '' || /^HTTP\/1\.1 [24]\d\d /.test(answer);
    }),
    { numRuns: 400 },
  );
  t.match(await send(socket, 'GET /_ping HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK/);
});
