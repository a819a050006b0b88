// Where etcd is: `etcd://user:password@h1:2379,h2:2379/prefix`. PURE.
import { inspect } from 'node:util';

export interface Endpoint {
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface EtcdAddress {
  /** At least one. */
  readonly endpoints: readonly Endpoint[];
  /** What every key of ours begins with, before a `/`: begins with `/`, does not end with one. */
  readonly prefix: string;
  /** `etcds://`: TLS, with the system's certificate authorities unless others are given. */
  readonly tls: boolean;
  readonly user?: string;
  readonly password?: Secret;
}

/** A text that does not show when the object that holds it is logged. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '***';
  }

  toJSON(): string {
    return '***';
  }

  [inspect.custom](): string {
    return '***';
  }
}

/** etcd's own default for clients. */
const DEFAULT_PORT = 2379;
const DEFAULT_PREFIX = '/vipmesh';

const FORM = 'expected etcd://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]';

/** The address, or why it is none: a clause that never holds the password. */
export function parseEtcdUrl(text: string): EtcdAddress | string {
  const parts = /^(etcds?):\/\/(?:([^/]*)@)?([^/@]*)(\/.*)?$/.exec(text);
  if (parts === null) return FORM;
  const [, scheme, login, hosts = '', path = ''] = parts;
  const prefix = parsePrefix(path);
  if (prefix === undefined) return 'the prefix may hold printable ASCII without space, ? and #, and no empty part';
  const credentials = login === undefined ? {} : parseLogin(login);
  if (typeof credentials === 'string') return credentials;
  const endpoints: Endpoint[] = [];
  for (const host of hosts.split(',')) {
    const endpoint = parseEndpoint(host);
    if (endpoint === undefined) return `${host === '' ? 'an empty host' : host} is not HOST[:PORT]; ${FORM}`;
    if (endpoints.some((one) => endpointText(one) === endpointText(endpoint))) return `${host} is named twice`;
    endpoints.push(endpoint);
  }
  return { endpoints, prefix, tls: scheme === 'etcds', ...credentials };
}

/** `h1:2379`, `[fd00::1]:2379`. */
export function endpointText({ host, port }: Endpoint): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function parsePrefix(path: string): string | undefined {
  const prefix = path.replace(/\/$/, '');
  if (prefix === '') return DEFAULT_PREFIX;
  return /^(\/[!"$-.0->@-~]+)+$/.test(prefix) && prefix.length <= 256 ? prefix : undefined;
}

function parseLogin(login: string): { readonly user: string; readonly password?: Secret } | string {
  const colon = login.indexOf(':');
  const user = decode(colon < 0 ? login : login.slice(0, colon));
  const password = colon < 0 ? undefined : decode(login.slice(colon + 1));
  if (user === undefined || (colon >= 0 && password === undefined))
    return 'the user or the password has a % that no two hexadecimal digits follow; write %25 for it';
  if (user === '') return 'the user before the @ is empty';
  if (password === '') return `the password of ${user} is empty; leave the colon out to read it from a file`;
  return password === undefined ? { user } : { user, password: new Secret(password) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function parseEndpoint(text: string): Endpoint | undefined {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = parts?.[3] === undefined ? DEFAULT_PORT : Number(parts[3]);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
