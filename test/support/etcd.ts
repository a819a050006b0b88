// Real etcd servers on unused loopback ports, in temporary directories; they end with the test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram, needsPrograms } from './requirements.ts';

/** The part of a tap test that is used here. */
interface Owner {
  teardown(action: () => unknown): void;
  pass(message: string, extra: { readonly skip: string }): unknown;
  fail(message: string): unknown;
}

export interface EtcdOptions {
  /** Serve clients over TLS, and take only those with a certificate of this authority. */
  readonly tls?: Certificates;
  /** More of etcd's own flags. */
  readonly flags?: readonly string[];
}

/** True when etcd is there; otherwise has said why the test did not run. */
export function needsEtcd(t: Owner): boolean {
  return needsPrograms(t, 'etcd', 'openssl', 'setpriv');
}

/** A cluster of one, ready. `needsEtcd` comes before. */
export async function startEtcd(t: Owner, options: EtcdOptions = {}): Promise<EtcdServer> {
  const [server] = await startEtcdCluster(t, 1, options);
  return server as EtcdServer;
}

/** Members of one cluster, all ready. */
export async function startEtcdCluster(
  t: Owner,
  size: number,
  options: EtcdOptions = {},
): Promise<readonly EtcdServer[]> {
  const directory = mkdtempSync(join(tmpdir(), 'etcd-'));
  const running: EtcdServer[] = [];
  t.teardown(async () => {
    for (const server of running) await server.kill();
    rmSync(directory, { recursive: true, force: true });
  });
  for (let attempt = 1; ; attempt++) {
    const ports = await unusedPorts(size * 3);
    const members = Array.from({ length: size }, (_, n) => ({
      name: `m${n + 1}`,
      clientPort: ports[n * 3] as number,
      peerPort: ports[n * 3 + 1] as number,
      healthPort: ports[n * 3 + 2] as number,
    }));
    const cluster = members.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join(',');
    const servers = members.map(
      (member) => new EtcdServer(join(directory, `${attempt}-${member.name}`), member, cluster, options),
    );
    running.push(...servers);
    try {
      for (const server of servers) server.spawn();
      await Promise.all(servers.map((server) => server.ready()));
      return servers;
    } catch (error) {
      for (const server of servers) await server.kill();
      // Another program may have taken a port in between.
      if (attempt === 3) throw error;
    }
  }
}

interface Member {
  readonly name: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly healthPort: number;
}

export class EtcdServer {
  /** HOST:PORT of its client port. */
  readonly endpoint: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly #directory: string;
  readonly #arguments: readonly string[];
  readonly #health: string;
  #process: ChildProcess | undefined;

  constructor(directory: string, member: Member, cluster: string, options: EtcdOptions) {
    this.#directory = directory;
    this.clientPort = member.clientPort;
    this.peerPort = member.peerPort;
    this.endpoint = `127.0.0.1:${member.clientPort}`;
    this.#health = `http://127.0.0.1:${member.healthPort}`;
    const { tls, flags = [] } = options;
    const client = `${tls === undefined ? 'http' : 'https'}://${this.endpoint}`;
    const peer = `http://127.0.0.1:${member.peerPort}`;
    const secure =
      tls === undefined
        ? []
        : [
            '--cert-file',
            tls.serverCert,
            '--key-file',
            tls.serverKey,
            '--client-cert-auth',
            '--trusted-ca-file',
            tls.ca,
          ];
    this.#arguments = [
      ['--name', member.name, '--data-dir', join(directory, 'data')],
      ['--listen-client-urls', client, '--advertise-client-urls', client],
      ['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ['--initial-cluster', cluster, '--initial-cluster-token', cluster, '--initial-cluster-state', 'new'],
      ['--listen-metrics-urls', this.#health, '--log-level', 'error', '--logger', 'zap'],
      secure,
      flags,
    ].flat();
  }

  /** Begins to run, on the data that are there. */
  spawn(): void {
    mkdirSync(this.#directory, { recursive: true });
    const log = openSync(join(this.#directory, 'log'), 'a');
    // Also when the test is killed itself, nothing of it stays.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', findProgram('etcd') ?? 'etcd', ...this.#arguments], {
      stdio: ['ignore', log, log],
      env: { PATH: process.env.PATH },
    });
    closeSync(log);
    this.#process = child;
  }

  /** Resolves when it knows a leader and answers. */
  async ready(): Promise<void> {
    for (;;) {
      if (this.#process?.exitCode !== null) throw new Error(`etcd ended: ${this.log()}`);
      if (await isHealthy(this.#health)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async start(): Promise<void> {
    this.spawn();
    await this.ready();
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Forgets all data. It must have been killed. */
  empty(): void {
    rmSync(join(this.#directory, 'data'), { recursive: true, force: true });
  }

  log(): string {
    const path = join(this.#directory, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** True when this member leads. */
  async leads(): Promise<boolean> {
    const { header, leader } = (await this.ask('maintenance/status', {})) as {
      header: { member_id: string };
      leader: string;
    };
    return header.member_id === leader;
  }

  /** Forgets all history before this revision. */
  async compact(revision: number): Promise<void> {
    await this.ask('kv/compaction', { revision, physical: true });
  }

  /** Writes past any store; the revision. */
  async put(key: string, value: string): Promise<number> {
    const { header } = (await this.ask('kv/put', { key: base64(key), value: base64(value) })) as {
      header: { revision: string };
    };
    return Number(header.revision);
  }

  /** One call through etcd's JSON gateway; only without TLS. */
  async ask(path: string, body: object, token?: string): Promise<unknown> {
    const response = await fetch(`http://${this.endpoint}/v3/${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      ...(token === undefined ? {} : { headers: { authorization: token } }),
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${path}: ${answer}`);
    return JSON.parse(answer);
  }
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Files in PEM. */
export interface Certificates {
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

/** An authority, a server's certificate for 127.0.0.1 and localhost or other names, and a client's. */
export function makeCertificates(directory: string, names = 'IP:127.0.0.1,DNS:localhost'): Certificates {
  mkdirSync(directory, { recursive: true });
  const at = (name: string) => join(directory, name);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl([
    'req',
    '-x509',
    ...curve,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-days',
    '2',
    '-subj',
    '/CN=test authority',
  ]);
  const issue = (name: string, subject: string, extensions: string) => {
    writeFileSync(at(`${name}.ext`), extensions);
    openssl(['req', '-new', ...curve, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`), '-subj', subject]);
    const signer = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial'];
    const files = ['-in', at(`${name}.csr`), '-out', at(`${name}.crt`), '-extfile', at(`${name}.ext`)];
    openssl(['x509', '-req', ...signer, ...files, '-days', '2']);
  };
  // etcd's JSON gateway is a client of its own server, with the server's certificate: hence both usages.
  issue('server', '/CN=etcd', `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`);
  issue('client', '/CN=vipmesh', 'extendedKeyUsage=clientAuth\n');
  return {
    ca: at('ca.crt'),
    serverCert: at('server.crt'),
    serverKey: at('server.key'),
    clientCert: at('client.crt'),
    clientKey: at('client.key'),
  };
}

function openssl(parameters: readonly string[]): void {
  const { status, stderr } = spawnSync('openssl', parameters, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`openssl ${parameters[0]}: ${stderr}`);
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) });
    return (await response.text()).includes('"true"');
  } catch {
    return false;
  }
}

/** Below the ports that the kernel hands out by itself, so that one stays free while a server is down. */
const PORTS = { from: 12_000, count: 10_000 };

async function unusedPorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = PORTS.from + Math.floor(Math.random() * PORTS.count);
    if (await isUnused(port)) ports.add(port);
  }
  return [...ports];
}

async function isUnused(port: number): Promise<boolean> {
  const server = createServer();
  const listening = once(server, 'listening').then(
    () => true,
    () => false,
  );
  server.listen(port, '127.0.0.1');
  const free = await listening;
  server.close();
  return free;
}
