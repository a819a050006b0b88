// The resolvers that are compared as forwarders with a cache, and the server that all of them ask.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { Resolver } from 'node:dns/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Contender, DNSMASQ, OURS, UNBOUND } from '../contenders.ts';
import { freePort, type Processes, type Running } from '../processes.ts';

const NAMES = 1_000;
const DOMAIN = 'bench.example';
/** A day: nothing is asked twice while it is measured. */
const TTL_S = 86_400;
/** A service of ours, for what is not forwarded. */
export const LOCAL_NAME = 'local';

export class DnsServers {
  readonly #processes: Processes;
  readonly #directory: string;

  constructor(processes: Processes, directory: string) {
    this.#processes = processes;
    this.#directory = directory;
  }

  /** unbound, which knows all names; its port. */
  async outside(): Promise<number> {
    const port = await freePort();
    const data = names().map((name, i) => `  local-data: "${name} ${TTL_S} A 192.0.2.${i % 256}"`);
    await this.#unbound('outside', port, [`  local-zone: "${DOMAIN}." static`, ...data], []);
    return port;
  }

  async ours(upstream: number): Promise<Contender> {
    const port = await freePort();
    const directory = mkdtempSync(join(this.#directory, 'agent-'));
    const stack = join(directory, 'stack.yml');
    writeFileSync(
      stack,
      ['networks: { default: { driver: local } }', 'services:', `  ${LOCAL_NAME}: {}`, ''].join('\n'),
    );
    const process = this.#processes.start('vipmesh', globalThis.process.execPath, [
      ...[fileURLToPath(new URL('../../src/main.js', import.meta.url)), 'agent', '--workers', '1', '--drain', '1s'],
      ...[
        '--stack',
        `bench=${stack}`,
        '--state-dir',
        join(directory, 'state'),
        '--socket',
        join(directory, 'api.sock'),
      ],
      ...['--dns', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${await freePort()}`],
      ...['--upstream', `127.0.0.1:${upstream}`],
    ]);
    await process.until(() => answers(port, LOCAL_NAME), 'answer questions');
    return { name: OURS, port, process };
  }

  async dnsmasq(upstream: number): Promise<Contender> {
    const port = await freePort();
    const process = this.#processes.start('dnsmasq', 'dnsmasq', [
      ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root', '--pid-file='],
      ...[`--port=${port}`, '--listen-address=127.0.0.1', '--bind-interfaces'],
      ...['--cache-size=10000', `--server=127.0.0.1#${upstream}`],
    ]);
    await process.until(() => answers(port, firstName()), 'answer questions');
    return { name: DNSMASQ, port, process };
  }

  async unbound(upstream: number): Promise<Contender> {
    const port = await freePort();
    const forward = ['forward-zone:', '  name: "."', `  forward-addr: 127.0.0.1@${upstream}`];
    const process = await this.#unbound('unbound', port, ['  do-not-query-localhost: no'], forward);
    return { name: UNBOUND, port, process };
  }

  /** Every name, once, as dnsperf reads them. */
  queryFile(): string {
    const file = join(this.#directory, 'outside-names');
    writeFileSync(file, `${names().join(' A\n')} A\n`);
    return file;
  }

  async #unbound(name: string, port: number, server: readonly string[], rest: readonly string[]): Promise<Running> {
    const directory = join(this.#directory, name);
    mkdirSync(directory);
    const file = join(directory, 'unbound.conf');
    const lines = [
      ...['server:', '  num-threads: 1', `  interface: 127.0.0.1@${port}`, '  access-control: 127.0.0.0/8 allow'],
      ...[
        '  do-daemonize: no',
        '  use-syslog: no',
        '  logfile: ""',
        '  verbosity: 0',
        '  chroot: ""',
        '  username: ""',
      ],
      ...['  pidfile: ""', `  directory: "${directory}"`, '  module-config: "iterator"', '  incoming-num-tcp: 64'],
      ...server,
      ...['remote-control:', '  control-enable: no'],
      ...rest,
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    const process = this.#processes.start(name, 'unbound', ['-d', '-c', file]);
    return process.until(() => answers(port, firstName()), 'answer questions');
  }
}

function names(): readonly string[] {
  return Array.from({ length: NAMES }, (_, i) => `n${i}.${DOMAIN}`);
}

function firstName(): string {
  return `n0.${DOMAIN}`;
}

async function answers(port: number, name: string): Promise<boolean> {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  try {
    return (await resolver.resolve4(name)).length === 1;
  } catch {
    return false;
  }
}
