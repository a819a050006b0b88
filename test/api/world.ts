// The API over a unix socket, before a real control and a real store; only what needs a data path is made up.
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { apiCommands } from '../../src/agent/api-commands.ts';
import type { ApiContext } from '../../src/api/context.ts';
import { startApiServer } from '../../src/api/server.ts';
import type { ControlOptions } from '../../src/control/control.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { openWorld, type World } from '../control/world.ts';
import { fakeApi } from '../support/fake-api.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind, and say themselves what they expect.
  readonly json: any;
}

/** An object is sent as JSON. */
type Body = string | Uint8Array | object;

export interface ApiWorld extends World {
  readonly socket: string;
  readonly context: ApiContext;
  ask(method: string, path: string, body?: Body): Promise<Answer>;
  /** Ends the API; the rest ends with the test. */
  close(): Promise<void>;
  /** Everything that is desired, as text: the same before and after what was refused. */
  state(): Promise<string>;
}

export async function openApiWorld(t: Test, options: Partial<ControlOptions> = {}): Promise<ApiWorld> {
  const world = await openWorld(t, options);
  const { catalog, control, clock } = world;
  const fake = fakeApi().context;
  const context: ApiContext = {
    ...fake,
    facts: { ...fake.facts, nodeId: control.nodeId, nodeName: 'one', privileged: options.privileged ?? true },
    commands: apiCommands(control, (options.privileged ?? true) ? 'overlay' : 'local'),
    snapshot: () => catalog.snapshot,
    subscribe: (listener) => catalog.subscribe(listener),
    revisionOf: (id) =>
      Math.max(...(['service', 'network', 'task', 'node'] as const).map((kind) => catalog.revisionOf(kind, id))),
    frontends: () => [],
    endpoint: () => undefined,
    warnings: () => [],
    status: () => ({
      ...fake.status(),
      stacks: [{ Name: 'kept', File: '/srv/kept.yaml', State: 'applied' }],
    }),
  };
  // Not in t.testdir(): the path of a socket has 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-api-'));
  const socket = join(folder, 'api.sock');
  const server = await startApiServer({ socket, mode: 0o600, context, log: SILENT_LOG, clock });
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    ...world,
    socket,
    context,
    close: () => server.close(),
    ask: (method, path, body) => ask(socket, method, path, body),
    state: async () =>
      JSON.stringify(
        (await world.store.list('')).entries.filter(({ key }) => key !== 'head').map(({ key, value }) => [key, value]),
      ),
  };
}

export function ask(socketPath: string, method: string, path: string, body?: Body): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, json: jsonOf(text) }),
      );
    });
    asked.on('error', reject);
    asked.end(typeof body === 'object' && !(body instanceof Uint8Array) ? JSON.stringify(body) : body);
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
