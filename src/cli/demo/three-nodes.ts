// The demo of a cluster: three nodes on this machine, containers on each of them, and an overlay network that joins them.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createClient } from '../../api/client.ts';
import { environment, inNode, PROGRAM } from '../lab/agents.ts';
import { takeDown } from '../lab/down.ts';
import { isAlive } from '../lab/processes.ts';
import { type Lab, type LabNode, LabRecord } from '../lab/record.ts';
import { bringUp } from '../lab/up.ts';
import { type LabWorld, occupy } from '../lab/world.ts';
import { CliError } from '../shell.ts';
import { databaseCommand } from './database.ts';
import {
  allEligible,
  endAll,
  freePort,
  type Show,
  type Stage,
  type Started,
  startProgram,
  untilYes,
  WEB_SERVER,
} from './stage.ts';
import { commandLines, stackFile, WEB_PORT } from './text.ts';

const NAME = 'demo';
/** Open connections of a demo are worth no more. */
const AGENT_FLAGS = ['--drain', '1s'];
/** A first answer on a slow machine; after this something is wrong. */
const ANSWER_TIMEOUT_MS = 60_000;

export class ThreeNodes implements Show {
  readonly #stage: Stage;
  readonly #world: LabWorld;
  readonly #tasks: Started[] = [];

  constructor(stage: Stage, world: LabWorld) {
    this.#stage = stage;
    this.#world = world;
  }

  async begin(): Promise<{ readonly ended: Promise<number> }> {
    const began = performance.now();
    await this.#removeFormer();
    this.#stage.out('Starting three nodes, an etcd and a database ...\n');
    const [lab, database] = await together(
      bringUp(this.#world, { name: NAME, nodes: 3, agentFlags: AGENT_FLAGS }),
      databaseCommand(this.#stage, '*'),
    );
    const record = LabRecord.open(NAME);
    // Nobody else is to change it or take it down while this shows it.
    if (record !== undefined) occupy(this.#world, record);
    const port = await this.#deploy(lab);
    await this.#startTasks(lab, database);
    const answer = await this.#askDatabase(lab, database !== undefined);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    this.#stage.out(whatToTry({ lab, port, answer, withDatabase: database !== undefined, seconds }));
    return { ended: new Promise<never>(() => undefined) };
  }

  async end(): Promise<void> {
    // A demo that was refused, because another one is running, has nothing to end.
    const busy = LabRecord.open(NAME)?.lab.busy;
    if (busy !== undefined && busy.pid !== process.pid && isAlive(this.#world.machine.processes, busy)) return;
    const tasks = endAll(this.#tasks);
    await takeDown(this.#world, NAME);
    await tasks;
  }

  /** What a demo that was killed has left is in the way of the next one. */
  async #removeFormer(): Promise<void> {
    const busy = LabRecord.open(NAME)?.lab.busy;
    if (busy !== undefined && isAlive(this.#world.machine.processes, busy))
      throw new CliError('FAILED', `another demo is running (pid ${busy.pid}); stop it first`);
    await takeDown(this.#world, NAME);
  }

  /** Resolves with the published port. */
  async #deploy({ nodes: [first] }: Lab): Promise<number> {
    const port = await freePort(WEB_PORT);
    const file = join(this.#stage.folder, 'demo.yaml');
    writeFileSync(file, stackFile({ port, webTasks: 3, driver: 'overlay', withDatabase: true }));
    await this.#command(first, ['stack', 'deploy', '-c', file, NAME]);
    return port;
  }

  /** A web server on each node, and on the second one a database. Without PostgreSQL the web server stands in for it. */
  async #startTasks({ nodes }: Lab, database: readonly string[] | undefined): Promise<void> {
    const web = [process.execPath, WEB_SERVER];
    for (const node of nodes) this.#run(node, 'web', web);
    this.#run(nodes[1], 'postgres', database ?? web);
    for (const { socket } of nodes)
      await untilYes(this.#stage, 'the tasks did not become healthy', this.#tasks, () =>
        allEligible(createClient(socket), { web: nodes.length, postgres: 1 }),
      );
  }

  /** What it answers to a container on another node. */
  #askDatabase({ nodes }: Lab, isPostgres: boolean): Promise<string> {
    const sql = "select 'PostgreSQL ' || current_setting('server_version')";
    const ask = isPostgres
      ? ['psql', '-h', 'postgres', '-U', 'postgres', '-Atc', sql]
      : [
          process.execPath,
          '-e',
          "fetch('http://postgres:5432').then((a) => a.text()).then((text) => console.log(text))",
        ];
    return this.#command(nodes[2], ['run', '--service', 'app', '--', ...ask]);
  }

  #run(node: LabNode | undefined, service: string, command: readonly string[]): void {
    if (node === undefined) return;
    const words = [...inNode(node), process.execPath, PROGRAM, 'run', '--service', service, '--', ...command];
    this.#tasks.push(
      startProgram(this.#stage, `${service} on ${node.name}`, words, { env: this.#environment(node), quiet: true }),
    );
  }

  /** Runs a command of the program on a node, to its end; resolves with what it says. Rejects with CliError. */
  async #command(node: LabNode | undefined, words: readonly string[]): Promise<string> {
    if (node === undefined) return '';
    const [program = '', ...rest] = [...inNode(node), process.execPath, PROGRAM, ...words];
    const options = { env: this.#environment(node), timeout: ANSWER_TIMEOUT_MS, signal: this.#stage.stop };
    try {
      return (await promisify(execFile)(program, rest, options)).stdout.trim();
    } catch (cause) {
      this.#stage.stop.throwIfAborted();
      throw failure(node, words, cause);
    }
  }

  #environment({ name, socket }: LabNode) {
    return { ...environment(this.#world.env), VIPMESH_HOST: `unix://${socket}`, VIPMESH_NODE: name };
  }
}

function failure({ name }: LabNode, words: readonly string[], cause: unknown): CliError {
  const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
  return new CliError('FAILED', `vipmesh ${words.join(' ')} on ${name}: ${said || String(cause)}`, { cause });
}

interface Scene {
  readonly lab: Lab;
  readonly port: number;
  /** What the database said. */
  readonly answer: string;
  readonly withDatabase: boolean;
  readonly seconds: string;
}

function whatToTry({ lab: { nodes }, port, answer, withDatabase, seconds }: Scene): string {
  const [, second] = nodes;
  const app = 'npx vipmesh lab exec node3 -- vipmesh run --service app --';
  const roles = ['this machine', 'postgres', 'app'];
  const lines = [
    '',
    ...nodes.map(({ name, address }, index) => `${name}   ${address.padEnd(12)}   web, ${roles[index]}`),
    '',
    `app on node3 asked postgres:5432 by name, and node2 answered: ${answer}`,
    `(${seconds} s from nothing; each node is a network namespace with its own agent, VXLAN joins their containers)`,
    '',
    'Try, in another terminal:',
    '',
    ...commandLines([
      [`curl http://localhost:${port}`, 'again and again: web on each node in turn'],
      [`curl http://${second?.address}:${port}`, 'the same on every node'],
      [
        withDatabase
          ? `${app} psql -h postgres -U postgres -c 'select version()'`
          : `${app} curl -s http://postgres:5432`,
      ],
      [`${app} dig +short postgres web tasks.web`],
      ['npx vipmesh service ls'],
      ['npx vipmesh node ls'],
      ['npx vipmesh status', 'who is there, and how soon each node has what changed'],
      [`npx autocannon -c 64 -d 10 http://localhost:${port}`],
    ]),
    '',
    ...(withDatabase ? [] : ['PostgreSQL is not installed, so a web server stands in for it.', '']),
    'ctrl-C stops everything and leaves nothing behind.',
  ];
  return `${lines.join('\n')}\n`;
}

/** Both results. Rejects with the first failure, when both are over. */
async function together<A, B>(one: Promise<A>, other: Promise<B>): Promise<readonly [A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}
