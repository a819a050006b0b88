// The API's other end: one request a connection over the unix socket, answers validated.
import { type IncomingMessage, request } from 'node:http';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import { defaultSocket } from '../runtime/paths.ts';
import { ApiError, codeOfAnswer } from './errors.ts';
import type { RunTaskRequest } from './requests.ts';
import { errorBody, type TaskEvent, taskEvent } from './schema.ts';

export interface ApiClient {
  readonly socket: string;
  /** Each throws ApiError: with the agent's own message, or AGENT_NOT_RUNNING, or AGENT_INCOMPATIBLE. */
  get<T extends z.ZodType>(path: string, schema: T, query?: Query): Promise<z.infer<T>>;
  post(path: string, body?: unknown, query?: Query): Promise<unknown>;
  delete(path: string): Promise<void>;
  /** What is answered line by line, until the agent ends it, or `close` does. */
  stream<T extends z.ZodType>(
    path: string,
    schema: T,
    query?: Query,
  ): Promise<{ readonly events: AsyncIterable<z.infer<T>>; close(): void }>;
  /** Asks for a task. Its events end with the task or the agent; `close` ends the connection and hence the task. */
  runTask(body: RunTaskRequest): Promise<{ readonly events: AsyncIterable<TaskEvent>; close(): void }>;
}

type Query = Readonly<Record<string, string | boolean | undefined>>;

export function createClient(socket: string): ApiClient {
  return {
    socket,
    async get(path, schema, query) {
      const answer = await exchange(socket, 'GET', withQuery(path, query));
      return checked(schema, parseBody(await bodyOf(answer), path), path);
    },
    async post(path, body, query) {
      const text = await bodyOf(await exchange(socket, 'POST', withQuery(path, query), body));
      return text === '' ? undefined : parseBody(text, path);
    },
    async delete(path) {
      await bodyOf(await exchange(socket, 'DELETE', path));
    },
    async stream(path, schema, query) {
      const answer = await exchange(socket, 'GET', withQuery(path, query));
      return {
        events: lines(answer, schema, path),
        close: () => {
          answer.destroy();
        },
      };
    },
    async runTask(body) {
      const path = '/vipmesh/tasks';
      const answer = await exchange(socket, 'POST', path, body);
      return {
        events: lines(answer, taskEvent, path),
        close: () => {
          answer.destroy();
        },
      };
    },
  };
}

/** Where to find the agent: `--host` before VIPMESH_HOST before the default of this user. `unix://` may be left out. */
export function socketOf(host: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  const given = host ?? (env.VIPMESH_HOST === '' ? undefined : env.VIPMESH_HOST);
  if (given === undefined) return defaultSocket({ env, uid: process.getuid?.() ?? 0, home: homedir() });
  const path = given.startsWith('unix://') ? given.slice('unix://'.length) : given;
  if (path.includes('://') || !path.startsWith('/')) {
    throw new ApiError('BAD_REQUEST', `the agent's address should be unix:///path/of/the.sock, not "${given}"`);
  }
  return path;
}

/** A path whose parts may hold any character: apiPath`/services/${name}`. */
export function apiPath(strings: TemplateStringsArray, ...values: readonly string[]): string {
  return strings.reduce((path, part, index) => `${path}${encodeURIComponent(values[index - 1] ?? '')}${part}`);
}

/** Resolves with a successful answer whose body has not been read; rejects with ApiError otherwise. */
function exchange(socket: string, method: string, path: string, body?: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers =
      text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const asked = request({ socketPath: socket, method, path, headers, agent: false });
    asked.once('error', (cause: NodeJS.ErrnoException) => reject(unreachable(socket, cause)));
    asked.once('response', (answer) => {
      const status = answer.statusCode ?? 500;
      if (status >= 200 && status < 300) {
        resolve(answer);
        return;
      }
      bodyOf(answer).then((text) => reject(refusal(status, text)), reject);
    });
    asked.end(text);
  });
}

function bodyOf(answer: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    answer.setEncoding('utf8');
    answer.on('data', (chunk: string) => {
      text += chunk;
    });
    answer.once('error', (cause) =>
      reject(new ApiError('AGENT_NOT_RUNNING', 'the agent ended while it answered', { cause })),
    );
    answer.once('end', () => resolve(text));
  });
}

async function* lines<T extends z.ZodType>(
  answer: IncomingMessage,
  schema: T,
  path: string,
): AsyncGenerator<z.infer<T>> {
  const reader = createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY });
  // A connection that breaks ends the stream like its regular end: the reader cannot do anything else about it.
  answer.once('error', () => reader.close());
  for await (const line of reader) {
    if (line !== '') yield checked(schema, parseBody(line, path), path);
  }
}

function checked<T extends z.ZodType>(schema: T, value: unknown, path: string): z.infer<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const first = result.error.issues[0];
  throw new ApiError(
    'AGENT_INCOMPATIBLE',
    `the agent's answer to ${path} is not understood (${first?.path.join('.')}: ${first?.message}); is it another version than this command?`,
  );
}

function parseBody(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw incompatible(`the answer to ${path} is not JSON; is it really a vipmesh agent?`, cause);
  }
}

function incompatible(message: string, cause: unknown): ApiError {
  return new ApiError('AGENT_INCOMPATIBLE', message, { cause });
}

function refusal(status: number, text: string): ApiError {
  let message = text.trim();
  try {
    message = errorBody.parse(JSON.parse(text)).message;
  } catch {
    // Not our error body: the text itself is the best there is.
  }
  return new ApiError(codeOfAnswer(status, message), message === '' ? `the agent answered ${status}` : message);
}

function unreachable(socket: string, cause: NodeJS.ErrnoException): ApiError {
  const start = `start it with \`vipmesh agent\`${socket.startsWith('/run/') ? ' as root' : ''}, or say where it is with --host or VIPMESH_HOST`;
  switch (cause.code) {
    case 'ENOENT':
      return new ApiError('AGENT_NOT_RUNNING', `no agent at ${socket}; ${start}`, { cause });
    case 'ECONNREFUSED':
      return new ApiError('AGENT_NOT_RUNNING', `the agent at ${socket} has ended; ${start}`, { cause });
    case 'EACCES':
    case 'EPERM':
      return new ApiError('AGENT_NOT_RUNNING', `permission denied on ${socket}; use sudo, or join the group vipmesh`, {
        cause,
      });
    default:
      return new ApiError('AGENT_NOT_RUNNING', `the agent at ${socket} cannot be asked: ${cause.message}`, { cause });
  }
}

function withQuery(path: string, query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) if (value !== undefined) parameters.set(key, String(value));
  return parameters.size === 0 ? path : `${path}?${parameters}`;
}
