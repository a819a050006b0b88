// The API over HTTP on a unix socket: routing, versions, limits and errors. What is answered stands in the files
// named after the routes.
import { createServer, type Server } from 'node:http';
import { type FastifyInstance, fastify } from 'fastify';
import { type Clock, systemClock } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { ApiContext } from './context.ts';
import { API_VERSION } from './docker-shape.ts';
import { addDockerRoutes, noneHere, notHere } from './docker-routes.ts';
import { addDockerWrites } from './docker-writes.ts';
import { ApiError, type ApiErrorCode, httpStatus } from './errors.ts';
import { EventLog } from './event-log.ts';
import { addEventRoutes } from './event-routes.ts';
import { addOpenApi } from './openapi.ts';
import { bindSocket, releaseSocket } from './socket-file.ts';
import { addStackRoutes } from './stack-routes.ts';
import { addVipmeshRoutes } from './vipmesh-routes.ts';

export interface ApiServer {
  /** Refuses new requests, waits for those in progress, ends streams, removes the socket. Idempotent. */
  close(): Promise<void>;
}

export interface ApiServerOptions {
  readonly socket: string;
  readonly mode: number;
  readonly context: ApiContext;
  readonly log: Log;
  readonly clock?: Clock;
}

/** A stack of a thousand services is about 300 KiB of JSON. */
const BODY_LIMIT_BYTES = 4 * 1024 * 1024;
/** Every running `vipmesh run` holds one connection. */
const MAX_CONNECTIONS = 4096;
/** A local client has sent its request long before; this is for one that hangs. */
const REQUEST_TIMEOUT_MS = 30_000;

/** Throws ApiError SOCKET_IN_USE when another agent answers there, SOCKET_UNUSABLE when the path cannot be taken. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { context, log, socket, mode, clock = systemClock } = options;
  let server: Server | undefined;
  const app = fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    exposeHeadRoutes: true,
    rewriteUrl: (request) => withoutVersion(request.url ?? '/'),
    serverFactory: (handler) => {
      server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, handler);
      server.maxConnections = MAX_CONNECTIONS;
      return server;
    },
  });
  const streams = new Set<() => void>();
  addErrorHandling(app, log);
  acceptEmptyBodies(app);
  // On the raw answer, which streams write to by themselves.
  app.addHook('onRequest', async (_request, { raw }) => {
    raw.setHeader('Api-Version', API_VERSION.newest);
    raw.setHeader('Ostype', 'linux');
    raw.setHeader('Server', `vipmesh/${context.facts.version} (linux)`);
  });
  // Docker's client reads an error's message only under this very type, without a charset.
  app.addHook('onSend', async (_request, reply) => {
    if (String(reply.getHeader('content-type')).startsWith('application/json'))
      reply.header('content-type', 'application/json');
  });
  const events = new EventLog(
    (listener) => context.subscribe(listener),
    () => clock.wallTime(),
  );
  addOpenApi(app, context.facts.version);
  addDockerRoutes(app, context);
  addDockerWrites(app, context);
  addEventRoutes(app, events, clock, streams);
  addVipmeshRoutes(app, context, streams);
  addStackRoutes(app, context);
  await app.ready();
  if (server === undefined) throw new ApiError('INTERNAL', 'the HTTP server was not made');
  const bound: Server = server;
  try {
    await bindSocket(bound, socket, mode);
  } catch (error) {
    events.close();
    throw error;
  }
  return {
    close: onceAsync(() => {
      events.close();
      return closeServer(app, bound, socket, streams);
    }),
  };
}

async function closeServer(
  app: FastifyInstance,
  server: Server,
  socket: string,
  streams: Set<() => void>,
): Promise<void> {
  for (const end of streams) end();
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  releaseSocket(socket);
  server.closeIdleConnections();
  await closed;
  await app.close();
}

/** `/v1.41/services` → `/services`. Versions outside the range stay, and end in the handler for unknown paths. */
function withoutVersion(url: string): string {
  const match = /^\/v1\.(\d{1,3})(?=\/)/.exec(url);
  if (match === null) return url;
  const minor = Number(match[1]);
  return minor >= minorOf(API_VERSION.oldest) && minor <= minorOf(API_VERSION.newest)
    ? url.slice(match[0].length)
    : url;
}

function minorOf(version: string): number {
  return Number(version.split('.')[1]);
}

function addErrorHandling(app: FastifyInstance, log: Log): void {
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0] ?? '/';
    const version = /^\/v(\d+\.\d+)\//.exec(path)?.[1];
    if (version !== undefined) throw new ApiError('BAD_REQUEST', versionProblem(version));
    const none = noneHere(request.method, path);
    if (none !== undefined) throw new ApiError('NOT_FOUND', none);
    const missing = notHere(request.method, path);
    if (missing !== undefined) throw new ApiError('NOT_SUPPORTED', missing);
    throw new ApiError('NOT_FOUND', `no such path: ${request.method} ${path}`);
  });
  app.setErrorHandler((error: unknown, request, reply) => {
    const status = statusOf(error);
    const message = error instanceof Error ? error.message : String(error);
    const expected = status < 500 || status === 501 || status === 503;
    if (!expected && !(error instanceof ApiError && error.code === 'OUT_OF_SEQUENCE'))
      log.error('api request failed', { method: request.method, url: request.url, error });
    else log.debug('api request refused', { method: request.method, url: request.url, status, error: message });
    const errors = error instanceof ApiError ? error.errors : undefined;
    return reply.status(status).send({ message, ...(errors === undefined ? {} : { Errors: errors }) });
  });
}

function versionProblem(version: string): string {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const { newest, oldest } = API_VERSION;
  return major > 1 || (major === 1 && minor > minorOf(newest))
    ? `client version ${version} is too new. Maximum supported API version is ${newest}`
    : `client version ${version} is too old. Minimum supported API version is ${oldest}, please upgrade your client to a newer version`;
}

/** Docker's own client sends some POSTs without a body and with any content type. */
function acceptEmptyBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => {
    const text = typeof body === 'string' ? body : body.toString('utf8');
    // Where nobody reads it, it need not be JSON: an image that is imported, say.
    if (request.is404 || text.trim() === '') {
      done(null, undefined);
      return;
    }
    try {
      done(null, JSON.parse(text, withoutPrototype));
    } catch (cause) {
      done(
        new ApiError('BAD_REQUEST', `the body is not JSON: ${cause instanceof Error ? cause.message : ''}`, { cause }),
      );
    }
  });
}

/** A key that would change what objects inherit is no name of anything. */
function withoutPrototype(key: string, value: unknown): unknown {
  return key === '__proto__' ? undefined : value;
}

/**
 * HTTP status of whatever a handler threw. Other rooms' errors are known by their code's last words, so that this room need
 * not know each of them: `SERVICE_NOT_FOUND`, `PORT_TAKEN`, `in-use`.
 */
function statusOf(error: unknown): number {
  if (error instanceof ApiError) return httpStatus(error.code);
  if (!(error instanceof Error)) return 500;
  if ('statusCode' in error && typeof error.statusCode === 'number') return error.statusCode;
  const code = 'code' in error && typeof error.code === 'string' ? error.code.toUpperCase().replaceAll('-', '_') : '';
  const found = CODE_ENDINGS.find(([ending]) => ending.test(code));
  return found === undefined ? 500 : httpStatus(found[1]);
}

const CODE_ENDINGS: readonly (readonly [RegExp, ApiErrorCode])[] = [
  [/(^|_)(NOT_FOUND|UNKNOWN|ABSENT)$/, 'NOT_FOUND'],
  [/(^|_)(CONFLICT|EXISTS|TAKEN|IN_USE|CLASH|EXHAUSTED|FULL|OVERLAP|OVERLAPS)$/, 'CONFLICT'],
  [/(^|_)(NOT_SUPPORTED|UNSUPPORTED)$/, 'NOT_SUPPORTED'],
  [/(^|_)(UNAVAILABLE|CLOSED|LOST)$/, 'UNAVAILABLE'],
  [/(^|_)(FORBIDDEN|PRIVILEGE)$/, 'FORBIDDEN'],
  [/(^|_)(INVALID|AMBIGUOUS|BAD_SETTING|REFUSED)$/, 'BAD_REQUEST'],
];

function onceAsync(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= run();
    return running;
  };
}
