// The Docker Engine's API, as far as it is needed to follow containers: HTTP on its unix socket, one connection a request. What
// it answers is checked before anything believes it.
import { type IncomingMessage, request } from 'node:http';
import { z } from 'zod';
import { TaskError } from '../task-error.ts';
import { type ContainerDetails, containerDetails } from './container-details.ts';

/** What happened to a container, as `docker events` shows it. */
export interface EngineEvent {
  /** Its full id. */
  readonly container: string;
  /** `start`, `die`, `health_status: healthy`; `connect` and `disconnect` are a network's. */
  readonly action: string;
  /** Of `kill`: the number of the signal that is sent. */
  readonly signal?: number;
}

export interface Engine {
  /** The full ids of all containers, stopped ones too. */
  containers(): Promise<readonly string[]>;
  /** Undefined: there is none. */
  inspect(id: string): Promise<ContainerDetails | undefined>;
  /** Sends it a signal (its number). Nothing happens when it is gone, or does not run. */
  kill(id: string, signal: number): Promise<void>;
  /**
   * Tells events from now on, once `listening` was called, until the engine ends the stream or `signal` is aborted; then it
   * resolves.
   */
  follow(listening: () => void, heard: (event: EngineEvent) => void, signal: AbortSignal): Promise<void>;
  /** Whatever was asked and is not answered yet fails now, and so does what is asked from now on. */
  close(): void;
}

/** Engine 20.10 and later speak it; an older one is asked in its own version. */
const KNOWN_VERSION = '1.41';
/** What is read is in every version since (Docker 17.05). */
const LEAST_VERSION = '1.29';
/** A thousand containers with long labels; more is no engine. */
const MAX_BODY_BYTES = 64 * 2 ** 20;
/** One event, with all labels of its container. */
const MAX_LINE_BYTES = 2 ** 20;
/** An engine that is busy pulling and building answers late; who waits this long waits for ever. */
const ANSWER_TIMEOUT_MS = 60_000;
/** Each probe of a health check comes with three events that say nothing: only what is named here is asked for. */
const CONTAINER_EVENTS = [
  'start',
  'kill',
  'stop',
  'die',
  'destroy',
  'rename',
  'pause',
  'unpause',
  'update',
  'health_status',
  'connect',
  'disconnect',
];

const listing = z.array(z.object({ Id: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits') }));

const message = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()).nullish() }),
});

interface Asking {
  readonly method?: 'GET' | 'POST';
  /** Ends it; its answer may be long in coming. */
  readonly signal?: AbortSignal;
}

export class DockerEngine implements Engine {
  readonly #socket: string;
  readonly #closing = new AbortController();
  #version: string | undefined;

  /** `socket`: its path. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  async containers(): Promise<readonly string[]> {
    const body = await this.#json('/containers/json?all=1');
    return this.#checked(listing, body, '/containers/json').map(({ Id }) => Id);
  }

  async inspect(id: string): Promise<ContainerDetails | undefined> {
    const path = `/containers/${encodeURIComponent(id)}/json`;
    const body = await this.#json(path);
    return body === undefined ? undefined : this.#checked(containerDetails, body, path);
  }

  async kill(id: string, signal: number): Promise<void> {
    const answer = await this.#get(`/containers/${encodeURIComponent(id)}/kill?signal=${signal}`, { method: 'POST' });
    answer.resume();
    const { statusCode } = answer;
    if (statusCode !== 204 && statusCode !== 404 && statusCode !== 409)
      throw this.#problem(`answered ${statusCode} when it was to send signal ${signal}`);
  }

  async follow(listening: () => void, heard: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    // The engine may have become another since it was asked.
    this.#version = undefined;
    const filters = JSON.stringify({ type: ['container', 'network'], event: CONTAINER_EVENTS });
    const answer = await this.#get(`/events?filters=${encodeURIComponent(filters)}`, { signal });
    if (answer.statusCode !== 200) {
      answer.resume();
      throw this.#problem(`answered ${answer.statusCode} to /events`);
    }
    listening();
    let rest = '';
    try {
      for await (const chunk of answer.setEncoding('utf8')) {
        const lines = (rest + String(chunk)).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > MAX_LINE_BYTES) throw this.#problem('sent an event that has no end');
        for (const line of lines) {
          const event = this.#event(line);
          if (event !== undefined) heard(event);
        }
      }
    } catch (error) {
      if (error instanceof TaskError) throw error;
      // The engine, or whoever followed it, has ended.
    } finally {
      answer.destroy();
    }
  }

  close(): void {
    this.#closing.abort();
  }

  #event(line: string): EngineEvent | undefined {
    if (line.trim() === '') return undefined;
    const { Type, Action, Actor } = this.#checked(message, this.#parsed(line, '/events'), '/events');
    const attributes = Actor.Attributes ?? {};
    const container = Type === 'network' ? attributes.container : Actor.ID;
    if (container === undefined || (Type !== 'network' && Type !== 'container')) return undefined;
    const signal = Number(attributes.signal);
    return { container, action: Action, ...(Action === 'kill' && Number.isInteger(signal) ? { signal } : {}) };
  }

  /** Undefined for 404. */
  async #json(path: string): Promise<unknown> {
    const answer = await this.#get(path);
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of answer) {
        bytes += (chunk as Buffer).length;
        if (bytes > MAX_BODY_BYTES) throw this.#problem(`sent more than ${MAX_BODY_BYTES} bytes as ${path}`);
        chunks.push(chunk as Buffer);
      }
    } catch (error) {
      if (error instanceof TaskError) throw error;
      throw this.#problem(`broke off its answer to ${path}`, error);
    }
    if (answer.statusCode === 404) return undefined;
    const text = Buffer.concat(chunks).toString();
    if (answer.statusCode !== 200)
      throw this.#problem(`answered ${answer.statusCode} to ${path}: ${text.trim().slice(0, 200)}`);
    return this.#parsed(text, path);
  }

  async #get(path: string, how: Asking = {}): Promise<IncomingMessage> {
    this.#version ??= await this.#negotiate();
    return this.#send(`/v${this.#version}${path}`, how);
  }

  /** The lower one of the engine's version and ours; an engine that has given up ours is asked in its own. */
  async #negotiate(): Promise<string> {
    const answer = await this.#send('/_ping');
    answer.resume();
    const theirs = String(answer.headers['api-version'] ?? '');
    if (!/^\d{1,3}\.\d{1,3}$/.test(theirs)) throw this.#problem('does not say which version of the API it speaks');
    if (isLower(theirs, LEAST_VERSION))
      throw this.#problem(`speaks version ${theirs} of the API; ${LEAST_VERSION} is the least that will do`);
    if (isLower(theirs, KNOWN_VERSION)) return theirs;
    const tried = await this.#send(`/v${KNOWN_VERSION}/_ping`);
    tried.resume();
    return tried.statusCode === 200 ? KNOWN_VERSION : theirs;
  }

  #send(path: string, { signal, method = 'GET' }: Asking = {}): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const until = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]);
      const options = { socketPath: this.#socket, path, method, headers: { host: 'docker' }, agent: false as const };
      const sent = request({ ...options, signal: until }, (answer) => {
        // Events may be far apart.
        if (signal !== undefined) sent.setTimeout(0);
        resolve(answer);
      });
      sent.setTimeout(ANSWER_TIMEOUT_MS, () =>
        sent.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)),
      );
      // Also after its answer has begun, when nobody waits for this any more.
      sent.on('error', (error: NodeJS.ErrnoException) => reject(this.#problem(reason(error), error)));
      sent.end();
    });
  }

  #parsed(text: string, path: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw this.#problem(`answered ${path} with what is no JSON`, error);
    }
  }

  #checked<T extends z.ZodType>(schema: T, value: unknown, path: string): z.infer<T> {
    const { success, data, error } = schema.safeParse(value);
    if (success) return data;
    const [issue] = error.issues;
    throw this.#problem(`answered ${path} with what was not expected, at ${issue?.path.join('.')}: ${issue?.message}`);
  }

  #problem(what: string, cause?: unknown): TaskError {
    return new TaskError('UNAVAILABLE', `the Docker Engine at ${this.#socket} ${what}`, { cause });
  }
}

function reason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return 'is not there; does it run?';
    case 'ECONNREFUSED':
      return 'does not listen; has it been stopped?';
    case 'EACCES':
      return 'may not be used by this user; its socket belongs to root and the group docker';
    default:
      return `cannot be asked: ${error.message}`;
  }
}

function isLower(a: string, b: string): boolean {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA < majorB || (majorA === majorB && minorA < minorB);
}
