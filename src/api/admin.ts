// Health, readiness and metrics over HTTP, for whoever watches the agent. Reads only; loopback by default.
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Metrics } from '../runtime/metrics.ts';
import { ApiError } from './errors.ts';

export interface AdminServer {
  /** The port really listened on. */
  readonly port: number;
  close(): Promise<void>;
}

export interface AdminOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Undefined: ready. Else why not, in a few words: `draining`. */
  notReady(): string | undefined;
}

/** Scrapers keep one connection; more than this is nobody's scraper. */
const MAX_CONNECTIONS = 256;
const REQUEST_TIMEOUT_MS = 10_000;

/** Throws ApiError SOCKET_IN_USE when the address is taken. */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, 'only GET and HEAD\n');
      return;
    }
    answer(path, options, response).catch(() => send(response, 500, 'metrics could not be collected\n'));
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : options.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(path: string, options: AdminOptions, response: ServerResponse): Promise<void> {
  switch (path) {
    case '/healthz':
      send(response, 200, 'ok\n');
      return;
    case '/readyz': {
      const why = options.notReady();
      send(response, why === undefined ? 200 : 503, why === undefined ? 'ready\n' : `${why}\n`);
      return;
    }
    case '/metrics':
      send(response, 200, await options.metrics.render(), options.metrics.contentType);
      return;
    default:
      send(response, 404, 'there are /healthz, /readyz and /metrics here\n');
  }
}

function send(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}

function listen(server: Server, { address, port }: AdminOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(address, port, cause)));
    server.listen({ host: address, port }, resolve);
  });
}

function listenError(address: string, port: number, cause: NodeJS.ErrnoException): ApiError {
  const where = `${address.includes(':') ? `[${address}]` : address}:${port}`;
  if (cause.code === 'EADDRINUSE') {
    return new ApiError(
      'SOCKET_IN_USE',
      `${where} (health and metrics) is taken by another program; choose another with --admin`,
      { cause },
    );
  }
  if (cause.code === 'EADDRNOTAVAIL') {
    return new ApiError(
      'SOCKET_UNUSABLE',
      `${where} (health and metrics) is no address of this node; choose another with --admin`,
      { cause },
    );
  }
  return new ApiError('SOCKET_UNUSABLE', `${where} (health and metrics) cannot be listened on: ${cause.message}`, {
    cause,
  });
}
