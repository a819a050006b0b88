// Who is compared: the backend itself, vipmesh, and the peers, each with one worker or thread.
import { Resolver } from 'node:dns/promises';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type Processes, type Running } from './processes.ts';

/** Something that takes load on a port of 127.0.0.1. */
export interface Contender {
  readonly name: string;
  readonly port: number;
  /** Whose CPU and memory count. Undefined for the backend: there is nothing in between. */
  readonly process: Running | undefined;
}

export const DIRECT = 'no proxy';
export const OURS = 'vipmesh';
export const HAPROXY = 'HAProxy';
export const NGINX = 'nginx';
export const DNSMASQ = 'dnsmasq';
export const UNBOUND = 'unbound';

/** Paths of the backend. */
export const SMALL = '/small';
export const SIXTEEN = '/16k';
export const MEBIBYTE = '/1m';

export interface ManyServices {
  readonly services: number;
  readonly endpoints: number;
}

const NAMES = 1_000;
const STACK = 'bench';
/** What the names of the stack's network end in, and hence those of the peers. */
const DOMAIN = `${STACK}_default`;
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** Below the ports that the kernel hands to clients, so that a thousand in a row are likely to be free. */
const FIRST_PORT_OF_MANY = 20_000;
/** A stack file of ten thousand endpoints is committed whole before the first port opens. */
const MANY_DEADLINE_MS = 90_000;

export class Stage {
  readonly #processes: Processes;
  readonly #directory: string;
  /** Connections that each may have at once. */
  readonly #connections: number;
  #nextOfMany = FIRST_PORT_OF_MANY;

  constructor(processes: Processes, directory: string, connections: number) {
    this.#processes = processes;
    this.#directory = directory;
    this.#connections = connections;
  }

  /** At this address and, for `*`, at all of 127.0.0.0/8. */
  async backend(address = '127.0.0.1'): Promise<Contender> {
    const port = await freePort();
    const process = this.#processes.start('backend', 'nginx', this.backendWords('backend', `${address}:${port}`));
    await process.listening(port);
    return { name: DIRECT, port, process: undefined };
  }

  /** Words for nginx with one worker, without logs: three answers, one of a few bytes from memory, two by sendfile. */
  backendWords(name: string, listen: string): readonly string[] {
    const root = join(this.#directory, 'www');
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, SIXTEEN), Buffer.alloc(1 << 14, 'x'));
    writeFileSync(join(root, MEBIBYTE), Buffer.alloc(1 << 20, 'x'));
    const file = this.#write(`${name}.conf`, [
      ...this.#nginxHead(name),
      'http { access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 3600s;',
      `  server { listen ${listen} backlog=4096;`,
      `    location = ${SMALL} { return 200 "the answer of the bench\\n"; }`,
      `    location / { root ${root}; } } }`,
    ]);
    return ['-c', file, '-p', this.#directory];
  }

  /** An agent with two published ports, TCP and UDP. */
  async ours(
    tcpEndpoint: number,
    udpEndpoint: number,
    workers = 1,
  ): Promise<{ readonly tcp: Contender; readonly udp: Contender }> {
    const [tcp, udp] = [await freePort(), await freePort()];
    const services = [
      '  published:',
      `    ports: ["${tcp}:80", "${udp}:53/udp"]`,
      `    x-vipmesh: { endpoints: ["80=127.0.0.1:${tcpEndpoint}", "53=127.0.0.1:${udpEndpoint}"], health: none }`,
    ];
    const process = await this.#agent('ports', await freePort(), services, workers);
    await process.listening(tcp);
    return { tcp: { name: OURS, port: tcp, process }, udp: { name: OURS, port: udp, process } };
  }

  /** An agent with one worker and a service for each name. */
  async oursNames(): Promise<Contender> {
    const port = await freePort();
    const process = await this.#agent(
      'names',
      port,
      hostNames().map(({ name }) => `  ${name}: {}`),
    );
    await process.until(() => answers(port), 'answer questions');
    return { name: OURS, port, process };
  }

  /** An agent with many services of as many endpoints, which are one server under many addresses; the port of the last one. */
  async oursMany(endpoint: number, { services, endpoints }: ManyServices): Promise<Contender> {
    const first = this.#nextOfMany;
    this.#nextOfMany += services;
    const all = Array.from({ length: endpoints }, (_, i) => `"80=127.0.0.${i + 1}:${endpoint}"`).join(', ');
    const lines = Array.from({ length: services }, (_, i) => [
      `  s${i}:`,
      `    ports: ["${first + i}:80"]`,
      `    x-vipmesh: { endpoints: [${all}], health: none }`,
    ]);
    const port = first + services - 1;
    const process = await this.#agent(`many-${services}`, await freePort(), lines.flat());
    await process.listening(port, MANY_DEADLINE_MS);
    return { name: `${services} services`, port, process };
  }

  async haproxy(endpoint: number, threads = 1): Promise<Contender> {
    const port = await freePort();
    const words = this.haproxyWords(`haproxy-${threads}`, `127.0.0.1:${port}`, `127.0.0.1:${endpoint}`, threads);
    const process = this.#processes.start('haproxy', 'haproxy', words);
    await process.listening(port);
    return { name: HAPROXY, port, process };
  }

  /** Words for HAProxy between two addresses with ports. */
  haproxyWords(name: string, listen: string, endpoint: string, threads = 1): readonly string[] {
    const file = this.#write(`${name}.cfg`, [
      'global',
      `  nbthread ${threads}`,
      `  maxconn ${this.#connections}`,
      'defaults',
      '  mode tcp',
      '  timeout connect 5s',
      '  timeout client 1h',
      '  timeout server 1h',
      'frontend published',
      `  bind ${listen} backlog 4096`,
      '  default_backend endpoints',
      'backend endpoints',
      `  server one ${endpoint}`,
    ]);
    return ['-db', '-f', file];
  }

  /** TCP and UDP in one process. */
  async nginx(
    tcpEndpoint: number,
    udpEndpoint: number,
    workers = 1,
  ): Promise<{ readonly tcp: Contender; readonly udp: Contender }> {
    const [tcp, udp] = [await freePort(), await freePort()];
    const file = this.#write(`stream-${workers}.conf`, [
      `load_module ${STREAM_MODULE};`,
      ...this.#nginxHead(`stream-${workers}`, workers),
      'stream { access_log off;',
      `  server { listen 127.0.0.1:${tcp} backlog=4096; proxy_pass 127.0.0.1:${tcpEndpoint}; proxy_timeout 1h; }`,
      `  server { listen 127.0.0.1:${udp} udp; proxy_pass 127.0.0.1:${udpEndpoint}; proxy_timeout 60s; } }`,
    ]);
    const process = this.#processes.start('nginx-stream', 'nginx', ['-c', file, '-p', this.#directory]);
    await process.listening(tcp);
    return { tcp: { name: NGINX, port: tcp, process }, udp: { name: NGINX, port: udp, process } };
  }

  async dnsmasq(): Promise<Contender> {
    const port = await freePort();
    const hosts = this.#write(
      'hosts',
      hostNames().map(({ name, address }) => `${address} ${name}.${DOMAIN}`),
    );
    const process = this.#processes.start('dnsmasq', 'dnsmasq', [
      ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root', '--pid-file='],
      ...[
        `--addn-hosts=${hosts}`,
        `--port=${port}`,
        '--listen-address=127.0.0.1',
        '--bind-interfaces',
        `--local=/${DOMAIN}/`,
      ],
    ]);
    await process.until(() => answers(port), 'answer questions');
    return { name: DNSMASQ, port, process };
  }

  async unbound(): Promise<Contender> {
    const port = await freePort();
    const file = this.#write('unbound.conf', [
      'server:',
      '  num-threads: 1',
      `  interface: 127.0.0.1@${port}`,
      '  access-control: 127.0.0.0/8 allow',
      '  do-daemonize: no',
      '  use-syslog: no',
      '  logfile: ""',
      '  verbosity: 0',
      '  chroot: ""',
      '  username: ""',
      '  pidfile: ""',
      `  directory: "${this.#directory}"`,
      '  module-config: "iterator"',
      `  local-zone: "${DOMAIN}." static`,
      ...hostNames().map(({ name, address }) => `  local-data: "${name}.${DOMAIN}. A ${address}"`),
      'remote-control:',
      '  control-enable: no',
    ]);
    const process = this.#processes.start('unbound', 'unbound', ['-d', '-c', file]);
    await process.until(() => answers(port), 'answer questions');
    return { name: UNBOUND, port, process };
  }

  /** Every name, once, as dnsperf reads them. */
  queryFile(): string {
    return this.#write(
      'queries',
      hostNames().map(({ name }) => `${name}.${DOMAIN} A`),
    );
  }

  async #agent(name: string, dns: number, services: readonly string[], workers = 1): Promise<Running> {
    const directory = mkdtempSync(join(this.#directory, `${name}-`));
    const stack = join(directory, 'stack.yml');
    writeFileSync(stack, ['networks: { default: { driver: local } }', 'services:', ...services, ''].join('\n'));
    return this.#processes.start(`vipmesh-${name}`, process.execPath, [
      ...[
        fileURLToPath(new URL('../src/main.js', import.meta.url)),
        'agent',
        '--workers',
        `${workers}`,
        '--drain',
        '1s',
      ],
      ...[
        '--stack',
        `${STACK}=${stack}`,
        '--state-dir',
        join(directory, 'state'),
        '--socket',
        join(directory, 'api.sock'),
      ],
      ...['--dns', `127.0.0.1:${dns}`, '--admin', `127.0.0.1:${await freePort()}`],
    ]);
  }

  #nginxHead(name: string, workers = 1): readonly string[] {
    return [
      `daemon off; user root; worker_processes ${workers}; worker_rlimit_nofile ${2 * this.#connections + 200};`,
      `pid ${join(this.#directory, `${name}.pid`)}; error_log ${join(this.#directory, `${name}.log`)} crit;`,
      `events { worker_connections ${2 * this.#connections + 100}; multi_accept on; }`,
    ];
  }

  #write(name: string, lines: readonly string[]): string {
    const file = join(this.#directory, name);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return file;
  }
}

/** `s0` to `s999`, each with an address of its own. */
function hostNames(): readonly { readonly name: string; readonly address: string }[] {
  return Array.from({ length: NAMES }, (_, i) => ({ name: `s${i}`, address: `10.64.${1 + (i >> 8)}.${i & 255}` }));
}

/** True when the last name has an address. */
async function answers(port: number): Promise<boolean> {
  const resolver = new Resolver({ timeout: 200, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  try {
    return (await resolver.resolve4(`${hostNames().at(-1)?.name}.${DOMAIN}`)).length === 1;
  } catch {
    return false;
  }
}
