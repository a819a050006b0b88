// `npm start`: an agent with real servers behind it, and what to try. Everything is started as a user would start it, by the
// program's own commands, so the demo shows nothing that a user cannot do.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';

const PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url));
const WEB_SERVER = fileURLToPath(new URL('./demo-server.js', import.meta.url));
const WEB_TASKS = 3;
/** A first start may have to wait for a slow disk; after this something is wrong and the agent's log says what. */
const READY_TIMEOUT_MS = 20_000;

/** Where the demo writes and what it asks of the agent. `out` gets what the user reads. */
interface Demo {
  readonly asRoot: boolean;
  readonly folder: string;
  readonly socket: string | undefined;
  readonly children: Set<ChildProcess>;
  readonly out: (text: string) => void;
}

export function demoCommand(out: (text: string) => void, done: (exitCode: number) => void): Command {
  return new Command('demo')
    .description('start an agent with real servers behind it, and say what to try')
    .option('--host <socket>', 'API socket of the demo agent', process.env.VIPMESH_HOST)
    .addHelpText('after', '\nExamples:\n  vipmesh demo\n  vipmesh demo --host unix:///tmp/demo.sock')
    .action(async (options: { readonly host?: string }) => {
      const demo: Demo = {
        asRoot: process.getuid?.() === 0,
        folder: mkdtempSync(join(tmpdir(), 'vipmesh-demo-')),
        socket: options.host,
        children: new Set(),
        out,
      };
      done(await runDemo(demo));
    });
}

async function runDemo(demo: Demo): Promise<number> {
  chmodSync(demo.folder, 0o755);
  const stopped = new Promise<number>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(0));
  });
  try {
    return await Promise.race([stopped, startAll(demo).then((agent) => exitOf(agent))]);
  } catch (error) {
    demo.out(`vipmesh demo: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await stopAll(demo);
  }
}

async function startAll(demo: Demo): Promise<ChildProcess> {
  const database = findPostgres(demo);
  const port = await freePort(8080);
  const stack = join(demo.folder, 'demo.yaml');
  writeFileSync(stack, stackFile(port, database !== undefined));
  const agent = vipmesh(demo, [
    'agent',
    '--stack',
    `demo=${stack}`,
    '--state-dir',
    join(demo.folder, 'state'),
    '--log-level',
    'warn',
    ...(demo.socket === undefined ? [] : ['--socket', demo.socket.replace(/^unix:\/\//, '')]),
  ]);
  await untilReady(demo, agent);
  for (let i = 0; i < WEB_TASKS; i++) vipmesh(demo, ['run', '--service', 'web', '--', process.execPath, WEB_SERVER]);
  if (database !== undefined) vipmesh(demo, ['run', '--service', 'postgres', '--', ...database]);
  await untilRunning(
    demo,
    database === undefined
      ? [['web', WEB_TASKS]]
      : [
          ['web', WEB_TASKS],
          ['postgres', 1],
        ],
  );
  demo.out(whatToTry(demo, port, database !== undefined));
  return agent;
}

function stackFile(port: number, withDatabase: boolean): string {
  const database = `
  postgres:
    expose: ["5432"]
    x-vipmesh:
      health: { tcp: 5432 }
`;
  return `services:
  web:
    ports: ["${port}:8000"]
    x-vipmesh:
      health: { http: / }
${withDatabase ? database : ''}
  shell: {}
`;
}

function whatToTry(demo: Demo, port: number, withDatabase: boolean): string {
  const status = ask<{ readonly dns?: { readonly address: string } }>(demo, ['status', '--format', 'json']);
  const inside = 'npx vipmesh run --service shell -- ';
  const dns = status.dns?.address ?? '127.0.0.11:53';
  const [dnsHost, dnsPort] = [dns.slice(0, dns.lastIndexOf(':')), dns.slice(dns.lastIndexOf(':') + 1)];
  const dig = demo.asRoot ? `${inside}dig +short` : `dig +short @${dnsHost} -p ${dnsPort}`;
  const address = demo.asRoot ? 'postgres' : vipOf(demo, 'postgres', withDatabase);
  const psql = `psql -h ${address} -U ${demo.asRoot ? 'postgres' : userInfo().username} -d postgres -c 'select version()'`;
  const lines = [
    `web      ${WEB_TASKS} HTTP tasks, published on http://localhost:${port}`,
    withDatabase
      ? `postgres PostgreSQL, at postgres:5432 ${demo.asRoot ? 'for every container of the network' : `(${address})`}`
      : 'postgres is left out: PostgreSQL is not installed on this machine',
    '',
    'Try, in another terminal:',
    `  curl http://localhost:${port}                      # each task in turn`,
    `  npx autocannon -c 64 -d 10 http://localhost:${port}`,
    `  ${dig} web tasks.web`,
    ...(withDatabase ? [`  ${demo.asRoot ? inside : ''}${psql}`] : []),
    '  npx vipmesh service ls',
    '',
    'ctrl-C stops everything and leaves nothing behind.',
  ];
  return `${lines.join('\n')}\n`;
}

function vipOf(demo: Demo, service: string, there: boolean): string {
  if (!there) return '';
  const found = ask<{ readonly addresses: readonly string[] }>(demo, ['resolve', service, '--format', 'json']);
  return found.addresses[0] ?? service;
}

/** The command that serves PostgreSQL on the task's address, its data freshly initialised; undefined when there is none. */
function findPostgres(demo: Demo): readonly string[] | undefined {
  if (demo.asRoot) install(demo, { postgres: 'postgresql', dig: 'bind9-dnsutils', curl: 'curl' });
  const [initdb, postgres] = [findProgram('initdb'), findProgram('postgres')];
  if (initdb === undefined || postgres === undefined) return undefined;
  const data = join(demo.folder, 'postgres');
  // PostgreSQL refuses to run as root, so there it becomes its own user, which Debian's package made.
  const as = demo.asRoot ? ['runuser', '-u', 'postgres', '--'] : [];
  execFileSync('mkdir', ['-m', '700', data]);
  if (demo.asRoot) {
    const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })));
    chownSync(data, uid ?? 0, gid ?? 0);
  }
  const [program = initdb, ...rest] = [...as, initdb, '-D', data, '-A', 'trust', '--no-sync'];
  execFileSync(program, rest, { stdio: 'ignore', cwd: '/' });
  const hba = join(data, 'pg_hba.conf');
  writeFileSync(hba, `${readFileSync(hba, 'utf8')}\nhost all all all trust\n`);
  const listen = demo.asRoot ? '*' : '$VIPMESH_ADDR';
  const serve = `exec ${[...as, postgres, '-D', data, '-k', data].join(' ')} -c "listen_addresses=${listen}"`;
  return ['sh', '-c', `cd / && ${serve}`];
}

/** Installs what is missing, by Debian package, without starting a database of the package's own. */
function install(demo: Demo, packages: Readonly<Record<string, string>>): void {
  const missing = Object.entries(packages).flatMap(([program, name]) =>
    findProgram(program) === undefined ? [name] : [],
  );
  if (missing.length === 0 || findProgram('apt-get') === undefined) return;
  demo.out(`installing ${missing.join(', ')} ...\n`);
  const policy = '/etc/postgresql-common/createcluster.d/vipmesh-demo.conf';
  const script = `mkdir -p /etc/postgresql-common/createcluster.d && echo create_main_cluster=false > ${policy}
    { apt-get update -q; apt-get install -y -q --no-install-recommends ${missing.join(' ')}; }
    rm -f ${policy}`;
  const result = spawnSync('sh', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  const still = missing.filter((name) =>
    Object.entries(packages).some(([program, of]) => of === name && !findProgram(program)),
  );
  if (still.length > 0)
    demo.out(`apt could not install ${still.join(', ')}: ${result.stderr.trim().split('\n').at(-1) ?? ''}\n`);
}

function findProgram(program: string): string | undefined {
  const servers = '/usr/lib/postgresql';
  const versions = existsSync(servers) ? readdirSync(servers).map((version) => join(servers, version, 'bin')) : [];
  const folders = [...(process.env.PATH ?? '').split(':'), ...versions];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

function vipmesh(demo: Demo, words: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: environment(demo),
    detached: true,
  });
  demo.children.add(child);
  child.once('exit', () => demo.children.delete(child));
  return child;
}

function ask<Answer>(demo: Demo, words: readonly string[]): Answer {
  const text = execFileSync(process.execPath, [PROGRAM, ...words], {
    encoding: 'utf8',
    env: environment(demo),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(text) as Answer;
}

function environment(demo: Demo): NodeJS.ProcessEnv {
  return demo.socket === undefined ? process.env : { ...process.env, VIPMESH_HOST: demo.socket };
}

async function untilReady(demo: Demo, agent: ChildProcess): Promise<void> {
  await until(agent, () => ask(demo, ['status', '--format', 'json']) !== undefined, 'the agent did not become ready');
}

async function untilRunning(demo: Demo, wanted: readonly (readonly [string, number])[]): Promise<void> {
  const [first] = demo.children;
  await until(
    first,
    () =>
      wanted.every(
        ([service, count]) =>
          ask<{ readonly addresses: readonly string[] }>(demo, ['resolve', `tasks.${service}`, '--format', 'json'])
            .addresses.length >= count,
      ),
    'the tasks did not become healthy',
  );
}

/** Asks until the answer is yes; a question that fails is asked again. */
async function until(agent: ChildProcess | undefined, question: () => boolean, otherwise: string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (agent?.exitCode !== null) throw new Error('the agent ended; its message is above');
    try {
      if (question()) return;
    } catch {
      // Not yet there; the deadline bounds this.
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${otherwise} within ${READY_TIMEOUT_MS / 1000} s`);
}

/** The first port from `first` on that nobody holds. */
async function freePort(first: number): Promise<number> {
  for (let port = first; port < first + 100; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer().once('error', () => resolve(false));
      server.listen(port, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error(`no port between ${first} and ${first + 99} is free`);
}

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}

/** Tasks first, so that each leaves cleanly, then the agent. */
async function stopAll(demo: Demo): Promise<void> {
  const [agent, ...tasks] = demo.children;
  for (const group of [tasks, agent === undefined ? [] : [agent]]) {
    const ended = group.map(exitOf);
    for (const child of group) child.kill('SIGTERM');
    await Promise.all(ended);
  }
  rmSync(demo.folder, { recursive: true, force: true });
}
