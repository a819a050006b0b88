// The demo of one node: an agent with real servers behind it. Everything is started as a user would start it, by the program's own
// commands, so the demo shows nothing that a user cannot do.
import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { ApiClient } from '../../api/client.ts';
import { resolution } from '../../api/schema.ts';
import { agentStatus } from '../../api/status-schema.ts';
import { PROGRAM } from '../lab/agents.ts';
import { CliError } from '../shell.ts';
import { databaseCommand } from './database.ts';
import {
  allEligible,
  endAll,
  endOf,
  freePort,
  type Show,
  type Stage,
  type Started,
  startProgram,
  untilYes,
  WEB_SERVER,
} from './stage.ts';
import { commandLines, stackFile, WEB_PORT } from './text.ts';

const WEB_TASKS = 3;

export interface OneNodeOptions {
  /** Of the agent that is started. */
  readonly client: ApiClient;
  /** Commands do not look for its socket by themselves. */
  readonly ownSocket: boolean;
  /** `overlay` needs root, and namespaces. */
  readonly driver: 'overlay' | 'local';
}

export class OneNode implements Show {
  readonly #stage: Stage;
  readonly #options: OneNodeOptions;
  #agent: Started | undefined;
  readonly #tasks: Started[] = [];

  constructor(stage: Stage, options: OneNodeOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  async begin(): Promise<{ readonly ended: Promise<number> }> {
    const { client, driver } = this.#options;
    await this.#refuseOtherAgent();
    const database = await databaseCommand(this.#stage, driver === 'overlay' ? '*' : '$VIPMESH_ADDR');
    const port = await freePort(WEB_PORT);
    const agent = this.#startAgent(
      stackFile({ port, webTasks: WEB_TASKS, driver, withDatabase: database !== undefined }),
    );
    await untilYes(
      this.#stage,
      'the agent did not become ready',
      [agent],
      async () => (await this.#status()).State === 'ready',
    );
    for (let slot = 1; slot <= WEB_TASKS; slot++) this.#run('web', `web.${slot}`, [process.execPath, WEB_SERVER]);
    if (database !== undefined) this.#run('postgres', 'postgres', database);
    const wanted = { web: WEB_TASKS, ...(database === undefined ? {} : { postgres: 1 }) };
    await untilYes(this.#stage, 'the tasks did not become healthy', [agent, ...this.#tasks], () =>
      allEligible(client, wanted),
    );
    this.#stage.out(await this.#whatToTry(port, database !== undefined));
    return { ended: endOf(agent) };
  }

  /** Tasks first, so that each leaves cleanly, then the agent. */
  async end(): Promise<void> {
    await endAll(this.#tasks);
    if (this.#agent !== undefined) await endAll([this.#agent]);
  }

  /** Its answers would be taken for the demo's own, and its services would get the demo's tasks. */
  async #refuseOtherAgent(): Promise<void> {
    const other = await this.#status().catch(() => undefined);
    if (other === undefined) return;
    throw new CliError(
      'FAILED',
      `another agent is running on ${this.#options.client.socket} (pid ${other.PID}); stop it first, or give the demo a socket of its own with --host unix:///tmp/demo.sock`,
    );
  }

  #startAgent(stack: string): Started {
    const { folder } = this.#stage;
    const file = join(folder, 'demo.yaml');
    writeFileSync(file, stack);
    const localOnly = this.#stage.asRoot && this.#options.driver === 'local' ? ['--local-only'] : [];
    const places = ['--socket', this.#options.client.socket, '--state-dir', join(folder, 'state')];
    this.#agent = this.#start(
      'the agent',
      ['agent', '--stack', `demo=${file}`, ...places, ...localOnly, '--log-level', 'warn'],
      false,
    );
    return this.#agent;
  }

  #run(service: string, name: string, command: readonly string[]): void {
    this.#tasks.push(this.#start(name, ['run', '--service', service, '--', ...command], true));
  }

  #start(name: string, words: readonly string[], quiet: boolean): Started {
    const env = { ...process.env, VIPMESH_HOST: `unix://${this.#options.client.socket}` };
    return startProgram(this.#stage, name, [process.execPath, PROGRAM, ...words], { env, quiet });
  }

  #status() {
    return this.#options.client.get('/vipmesh/status', agentStatus);
  }

  async #whatToTry(port: number, withDatabase: boolean): Promise<string> {
    const { client, ownSocket, driver } = this.#options;
    const [listen = '127.0.0.11:53/udp'] = (await this.#status()).DNS.Listen;
    const [host = '', dnsPort = ''] = listen.replace('/udp', '').split(':');
    const vipmesh = ownSocket ? `npx vipmesh -H unix://${client.socket}` : 'npx vipmesh';
    const inside = `${vipmesh} run --service app -- `;
    const inContainers = driver === 'overlay';
    const dig = inContainers ? `${inside}dig +short` : `dig +short @${host} -p ${dnsPort}`;
    const address = inContainers || !withDatabase ? 'postgres' : await this.#addressOf('postgres');
    const user = this.#stage.asRoot ? 'postgres' : userInfo().username;
    const psql = `${inContainers ? inside : ''}psql -h ${address} -U ${user} -d postgres -c 'select version()'`;
    const lines = [
      '',
      `web        ${WEB_TASKS} HTTP tasks, published on http://localhost:${port}`,
      withDatabase
        ? `postgres   PostgreSQL, at postgres:5432 ${inContainers ? 'for every container of the network' : `(${address})`}`
        : 'postgres   is left out: PostgreSQL is not installed on this machine',
      '',
      'Try, in another terminal:',
      '',
      ...commandLines([
        [`curl http://localhost:${port}`, 'again and again: each task in turn'],
        [`npx autocannon -c 64 -d 10 http://localhost:${port}`],
        [`${dig} web tasks.web`],
        ...(withDatabase ? [[psql] as const] : []),
        [`${vipmesh} service ls`],
        [`${vipmesh} service inspect --pretty web`],
      ]),
      '',
      'ctrl-C stops everything and leaves nothing behind.',
    ];
    return `${lines.join('\n')}\n`;
  }

  async #addressOf(service: string): Promise<string> {
    const found = await this.#options.client.get('/vipmesh/resolve', resolution, { name: service });
    return found.Answers[0]?.Addresses[0] ?? service;
  }
}
