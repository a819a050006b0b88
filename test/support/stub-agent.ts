// The agent as `vipmesh run` sees it: the API of tasks on a unix socket, every answer decided by the test.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { TaskEvent } from '../../src/tasks/protocol.ts';

export interface StubOptions {
  readonly prepared?: object;
  /** How to answer a request for a task; absent: with `prepared`. */
  readonly refuse?: { readonly status: number; readonly message: string };
}

export class StubAgent {
  readonly socket: string;
  /** `running {"PID":1}` and the like, in order of arrival; `tasks` for the request itself, `closed` for a client that left. */
  readonly heard: string[] = [];
  options: StubOptions;
  /** While set, `leave` is not answered before it resolves. */
  drained: Promise<void> | undefined;
  #server: Server | undefined;
  #stream: ServerResponse | undefined;
  #wake: (() => void)[] = [];

  constructor(socket: string, options: StubOptions = {}) {
    this.socket = socket;
    this.options = options;
  }

  async listen(): Promise<void> {
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.listen(this.socket);
    await once(this.#server, 'listening');
  }

  /** As when the agent is killed: every connection breaks, the socket refuses. */
  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  send(event: TaskEvent): void {
    this.#stream?.write(`${JSON.stringify(event)}\n`);
  }

  /** Resolves with the first thing heard, from now or before, that begins so. */
  async hear(beginning: string): Promise<string> {
    for (;;) {
      const found = this.heard.find((one) => one.startsWith(beginning));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const what = request.url?.replace(/^\/vipmesh\/tasks\/?/, '').replace(/^[^/]+\//, '') || 'tasks';
    this.#note(`${what}${body === '' ? '' : ` ${body}`}`);
    if (what === 'tasks') this.#open(response);
    else {
      if (what === 'leave') await this.drained;
      if (what === 'exited') this.#stream?.end();
      response.writeHead(204).end();
    }
  }

  #open(response: ServerResponse): void {
    const { refuse, prepared } = this.options;
    if (refuse !== undefined) {
      response
        .writeHead(refuse.status, { 'content-type': 'application/json' })
        .end(JSON.stringify({ message: refuse.message }));
      return;
    }
    this.#stream = response;
    response.once('close', () => this.#note('closed'));
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const event = {
      Event: 'prepared',
      TaskID: 'task1',
      Name: 'web.1.task1',
      Service: 'web',
      Addresses: [],
      Env: {},
      ...prepared,
    };
    response.write(`${JSON.stringify(event)}\n`);
  }

  #note(what: string): void {
    this.heard.push(what);
    for (const wake of this.#wake.splice(0)) wake();
  }
}
