// Every setting of the agent: its flag, its environment variable, its default and the reason for it. PURE: what the
// machine is like comes as an argument, and the result is frozen.
import { isAbsolute, join } from 'node:path';
import { CLUSTER_SETTINGS, type ClusterConfig, parseCluster } from './config-cluster.ts';
import { DOCKER_SETTINGS, type DockerConfig, parseDocker } from './config-docker.ts';
import {
  DNS_PORT,
  DNS_SETTINGS,
  type ForwardingConfig,
  type HostPort,
  parseForwarding,
  splitHostPort,
} from './config-dns.ts';
import {
  formatHostPort,
  type IpAddress,
  ipVersion,
  parseIp,
  parseSubnet,
  prefixLength,
  type Subnet,
} from './model/address.ts';
import { nameProblem } from './model/name.ts';
import { type PortNumber, parsePort } from './model/port.ts';
import { formatDuration, parseDuration } from './runtime/duration.ts';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './runtime/log.ts';
import { defaultSocket, defaultStateDir } from './runtime/paths.ts';

export interface StackSource {
  readonly name: string;
  /** Absolute. */
  readonly file: string;
}

export interface Config extends ForwardingConfig {
  /** Compose files that the agent applies and watches, in the order given. */
  readonly stacks: readonly StackSource[];
  /** The API's unix socket. */
  readonly socket: string;
  /** 0660 for root, so that a group may be let in; 0600 for an ordinary user. */
  readonly socketMode: number;
  readonly stateDir: string;
  /** Where the node's own resolver listens, UDP and TCP. */
  readonly dns: HostPort;
  /** Data-plane threads, ≥ 1. */
  readonly workers: number;
  /** Health, readiness and metrics, over HTTP. */
  readonly admin: HostPort;
  /** How long open connections may take to finish once the agent is asked to stop, in milliseconds. */
  readonly drainMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Of all TCP connections, those that get a line in the log when they end: 0 to 1. */
  readonly connectionLog: number;
  /** Share of the questions to the resolver that are logged, 0 to 1. */
  readonly queryLog: number;
  readonly nodeName: string;
  /** Absent: this node is alone, and its store is its own. */
  readonly cluster?: ClusterConfig;
  /** Absent: no Docker Engine is followed. */
  readonly docker?: DockerConfig;
  /** Addresses of the bridge through which containers reach what is outside; root only. Absent: a free part of 100.127.0.0/16. */
  readonly egressSubnet?: Subnet;
  /** Accept networks that ask for encryption, and carry them in clear. */
  readonly allowPlaintextOverlays: boolean;
  /** The agent runs as root, and not with --local-only: overlays, containers and ports below 1024. */
  readonly privileged: boolean;
}

/** Flags of `vipmesh agent` as they were written; a repeatable one is always a list. */
export type AgentFlags = Readonly<Record<string, string | readonly string[] | boolean | undefined>>;

/** What defaults depend on. */
export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly home: string;
  readonly cwd: string;
  readonly hostname: string;
  readonly cpus: number;
  readonly stderrIsTerminal: boolean;
  /** Contents of /etc/resolv.conf; empty when there is none. */
  readonly resolvConf: string;
}

/** One line that names the flag and says what it should be. The process ends with status 2. */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID';
  readonly flag: string;
  constructor(flag: string, message: string) {
    super(`${flag}: ${message}`);
    this.name = 'ConfigError';
    this.flag = flag;
  }
}

export interface Setting {
  /** As commander wants it: `--dns <ADDR:PORT>`. */
  readonly flag: string;
  readonly help: string;
  readonly defaultText?: string;
  readonly repeatable?: boolean;
}

/** The table behind `vipmesh agent --help`. Each setting is also read from VIPMESH_…, lists separated by commas. */
export const SETTINGS: readonly Setting[] = [
  {
    flag: '--stack <NAME=FILE>',
    help: 'apply a Compose file as stack NAME, and again whenever it changes',
    repeatable: true,
  },
  {
    flag: '--socket <PATH>',
    help: 'unix socket of the API',
    defaultText: '/run/vipmesh/vipmesh.sock as root, else $XDG_RUNTIME_DIR/vipmesh.sock',
  },
  {
    flag: '--state-dir <DIR>',
    help: 'where state is kept',
    defaultText: '/var/lib/vipmesh as root, else $XDG_STATE_HOME/vipmesh',
  },
  {
    flag: '--dns <ADDR:PORT>',
    help: "where the node's own resolver listens",
    defaultText: '127.0.0.11:53 as root, else 127.0.0.11:1053',
  },
  ...DNS_SETTINGS,
  { flag: '--workers <N>', help: 'data-plane threads', defaultText: 'number of CPUs' },
  {
    flag: '--admin <ADDR:PORT>',
    help: 'where /healthz, /readyz and /metrics are served',
    defaultText: '127.0.0.1:7980',
  },
  { flag: '--drain <DURATION>', help: 'how long open connections may finish after SIGTERM', defaultText: '10s' },
  { flag: '--log-level <LEVEL>', help: `least level that is logged: ${LOG_LEVELS.join(', ')}`, defaultText: 'info' },
  {
    flag: '--log-format <FORMAT>',
    help: `${LOG_FORMATS.join(' or ')}`,
    defaultText: 'pretty when standard error is a terminal, else json',
  },
  {
    flag: '--connection-log <SHARE>',
    help: 'log TCP connections when they end: a share of all, such as 0.01, or off',
    defaultText: 'off',
  },
  {
    flag: '--query-log <SHARE>',
    help: 'log questions to the resolver and what they were answered: a share of all, such as 0.01, or off',
    defaultText: 'off',
  },
  { flag: '--node-name <NAME>', help: 'name of this node', defaultText: 'the host name' },
  ...CLUSTER_SETTINGS,
  ...DOCKER_SETTINGS,
  {
    flag: '--egress-subnet <SUBNET>',
    help: "addresses of the bridge to containers' outside world",
    defaultText: 'a free part of 100.127.0.0/16',
  },
  { flag: '--allow-plaintext-overlays', help: 'accept networks that ask for encryption, without encrypting' },
  { flag: '--local-only', help: 'no overlay networks, as for an ordinary user: for a root without capabilities' },
];

/** 127.0.0.11 is where containers of Docker networks ask, so nothing has to be learnt anew. */
const DNS_ADDRESS = '127.0.0.11' as IpAddress;
const USER_DNS_PORT = 1053 as PortNumber;
/** Loopback: metrics name services and addresses, which are nobody's business outside. */
const ADMIN: HostPort = { address: '127.0.0.1' as IpAddress, port: 7980 as PortNumber };
/** Long enough for requests in flight, shorter than systemd's 90 s and Kubernetes' 30 s before SIGKILL. */
const DRAIN_MS = 10_000;
/** A worker has its own listeners and buffers; more threads than any machine's CPUs are a typing error. */
const MAX_WORKERS = 256;
/** A day: longer than that, a stopping agent is a forgotten one. */
const MAX_DRAIN_MS = 24 * 3_600_000;
/** sun_path holds 108 bytes with the final zero (unix(7)). */
const MAX_SOCKET_PATH = 107;

/** Flags before environment before defaults. Throws ConfigError. */
export function parseConfig(flags: AgentFlags, machine: Machine): Config {
  const read = reader(flags, machine.env);
  const privileged = machine.uid === 0 && !read.flag('local-only');
  const ownDns = { address: DNS_ADDRESS, port: privileged ? DNS_PORT : USER_DNS_PORT };
  const dns = read.one('dns', hostPort(ownDns)) ?? ownDns;
  const refuse = (flag: string, problem: string): never => {
    throw new ConfigError(flag, problem);
  };
  return Object.freeze({
    stacks: Object.freeze(uniqueStacks(read.many('stack', (text, flag) => stack(text, flag, machine.cwd)))),
    socket: read.one('socket', (text, flag) => socketPath(text, flag, machine.cwd)) ?? defaultSocket(machine),
    socketMode: privileged ? 0o660 : 0o600,
    stateDir: read.one('state-dir', (text, flag) => path(text, flag, machine.cwd)) ?? defaultStateDir(machine),
    dns,
    ...parseForwarding(read, dns, machine.resolvConf, refuse),
    workers: read.one('workers', workerCount) ?? Math.max(1, machine.cpus),
    admin: read.one('admin', hostPort(ADMIN)) ?? ADMIN,
    drainMs: read.one('drain', duration) ?? DRAIN_MS,
    logLevel: read.one('log-level', oneOf(LOG_LEVELS)) ?? 'info',
    logFormat: read.one('log-format', oneOf(LOG_FORMATS)) ?? (machine.stderrIsTerminal ? 'pretty' : 'json'),
    connectionLog: read.one('connection-log', share) ?? 0,
    queryLog: read.one('query-log', share) ?? 0,
    nodeName: read.one('node-name', nodeName) ?? defaultNodeName(machine.hostname),
    ...optional(
      'cluster',
      parseCluster(read, (text, flag) => path(text, flag, machine.cwd), refuse),
    ),
    ...optional('docker', parseDocker(read, refuse)),
    ...optional('egressSubnet', read.one('egress-subnet', egressSubnet)),
    allowPlaintextOverlays: read.flag('allow-plaintext-overlays'),
    privileged,
  });
}

export function formatAddress({ address, port }: HostPort): string {
  return formatHostPort(address, port);
}

function optional<Name extends string, T>(name: Name, value: T | undefined): { readonly [Key in Name]?: T } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [Key in Name]?: T });
}

type Parse<T> = (text: string, flag: string) => T;

function reader(flags: AgentFlags, env: Machine['env']) {
  const values = (name: string): { readonly flag: string; readonly texts: readonly string[] } => {
    const given = flags[name];
    if (typeof given === 'string') return { flag: `--${name}`, texts: [given] };
    if (Array.isArray(given) && given.length > 0) return { flag: `--${name}`, texts: given };
    const variable = `VIPMESH_${name.toUpperCase().replaceAll('-', '_')}`;
    const set = env[variable];
    if (set === undefined || set.trim() === '') return { flag: `--${name}`, texts: [] };
    return { flag: variable, texts: set.split(',').map((text) => text.trim()) };
  };
  return {
    one<T>(name: string, parse: Parse<T>): T | undefined {
      const { flag, texts } = values(name);
      return texts.length === 0 ? undefined : parse(texts.join(','), flag);
    },
    many<T>(name: string, parse: Parse<T>): readonly T[] {
      const { flag, texts } = values(name);
      return texts.map((text) => parse(text, flag));
    },
    flag(name: string): boolean {
      if (typeof flags[name] === 'boolean') return flags[name];
      const { flag, texts } = values(name);
      const [text] = texts;
      if (text === undefined || text === '0' || text === 'false') return false;
      if (text === '1' || text === 'true') return true;
      throw new ConfigError(flag, `should be true or false, not "${text}"`);
    },
  };
}

function stack(text: string, flag: string, cwd: string): StackSource {
  const equals = text.indexOf('=');
  if (equals < 1 || equals === text.length - 1) {
    throw new ConfigError(flag, `should be NAME=FILE, such as shop=compose.yaml, not "${text}"`);
  }
  const name = text.slice(0, equals);
  const problem = nameProblem(name);
  if (problem !== undefined) throw new ConfigError(flag, `the stack name "${name}" ${problem}`);
  return { name, file: path(text.slice(equals + 1), flag, cwd) };
}

function uniqueStacks(stacks: readonly StackSource[]): readonly StackSource[] {
  for (const [index, { name, file }] of stacks.entries()) {
    const first = stacks.findIndex((other) => other.name === name);
    if (first !== index) {
      throw new ConfigError(
        '--stack',
        `"${name}" is given twice (${stacks[first]?.file} and ${file}); give each file its own name`,
      );
    }
  }
  return stacks;
}

function path(text: string, flag: string, cwd: string): string {
  if (text === '') throw new ConfigError(flag, 'should be a path, not empty');
  return isAbsolute(text) ? text : join(cwd, text);
}

function socketPath(text: string, flag: string, cwd: string): string {
  const full = path(text.startsWith('unix://') ? text.slice('unix://'.length) : text, flag, cwd);
  const bytes = Buffer.byteLength(full);
  if (bytes > MAX_SOCKET_PATH) {
    throw new ConfigError(flag, `${full} has ${bytes} bytes; the path of a unix socket may have ${MAX_SOCKET_PATH}`);
  }
  return full;
}

/** `usual` is shown as an example. */
function hostPort(usual: HostPort): (text: string, flag: string) => HostPort {
  return (text, flag) => {
    const split = splitHostPort(text);
    const port = split.port === undefined ? undefined : parsePort(split.port);
    const address = parseIp(split.host);
    if (address === undefined || port === undefined) {
      const examples = `${usual.address}:${usual.port} or [::1]:${usual.port}`;
      throw new ConfigError(flag, `should be ADDRESS:PORT, such as ${examples}, not "${text}"`);
    }
    return { address, port };
  };
}

function workerCount(text: string, flag: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MAX_WORKERS) return count;
  throw new ConfigError(flag, `should be a number from 1 to ${MAX_WORKERS}, not "${text}"`);
}

function duration(text: string, flag: string): number {
  const value = parseDuration(text);
  if (value === undefined)
    throw new ConfigError(flag, `should be a duration such as 10s, 1m30s or 500ms, not "${text}"`);
  if (value > MAX_DRAIN_MS)
    throw new ConfigError(flag, `should be at most ${formatDuration(MAX_DRAIN_MS)}, not ${text}`);
  return value;
}

function oneOf<T extends string>(allowed: readonly T[]): Parse<T> {
  return (text, flag) => {
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw new ConfigError(flag, `should be one of ${allowed.join(', ')}, not "${text}"`);
  };
}

function share(text: string, flag: string): number {
  if (text === 'off') return 0;
  const value = /^\d(\.\d{1,9})?$/.test(text) ? Number(text) : 2;
  if (value <= 1) return value;
  throw new ConfigError(flag, `should be a share from 0 to 1, such as 0.01, or off, not "${text}"`);
}

function nodeName(text: string, flag: string): string {
  const problem = nameProblem(text);
  if (problem !== undefined) throw new ConfigError(flag, `the node name "${text}" ${problem}`);
  return text;
}

/** Host names may be longer than a DNS label; the first label stands for them. */
function defaultNodeName(hostname: string): string {
  if (nameProblem(hostname) === undefined) return hostname;
  const label = hostname.split('.')[0] ?? '';
  return nameProblem(label) === undefined ? label : 'node';
}

function egressSubnet(text: string, flag: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet === undefined || ipVersion(subnet) !== 4 || prefixLength(subnet) > 28 || prefixLength(subnet) < 8) {
    throw new ConfigError(flag, `should be an IPv4 subnet from /8 to /28, such as 100.127.0.0/16, not "${text}"`);
  }
  return subnet;
}
