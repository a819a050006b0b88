// The settings of an agent that is one of several. PURE.
import { type IpAddress, isLoopback, parseIp } from './model/address.ts';
import { type PortNumber, parsePort } from './model/port.ts';
import { type EtcdAddress, parseEtcdUrl } from './store/etcd/address.ts';

export interface ClusterConfig {
  readonly store: EtcdAddress;
  /** Paths, absolute. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Its first line is the password of the URL's user. */
  readonly passwordFile?: string;
  /** Where other agents reach this one. Absent: the machine's own way to others, which is followed. */
  readonly advertise?: IpAddress;
  /** Where other nodes send overlay traffic. Absent: the same. */
  readonly dataAddress?: IpAddress;
  /** UDP; the agents ask each other whether they are well. */
  readonly probePort: PortNumber;
}

/** Rows of the table behind `vipmesh agent --help`. */
export const CLUSTER_SETTINGS = [
  {
    flag: '--store <URL>',
    help: 'etcd://[USER@]HOST[:PORT],HOST…[/PREFIX] (etcds: with TLS), which makes all agents with the same URL one mesh',
    defaultText: 'embedded: this node alone, in the state directory',
  },
  { flag: '--store-ca <FILE>', help: "certificate authority of etcd's servers, PEM" },
  { flag: '--store-cert <FILE>', help: 'certificate of this client of etcd, PEM' },
  { flag: '--store-password-file <FILE>', help: "file whose first line is the password of the URL's user" },
  { flag: '--store-key <FILE>', help: 'private key of that certificate, PEM' },
  {
    flag: '--advertise <ADDR>',
    help: 'address at which other agents reach this one',
    defaultText: "one of the machine's that lead to others, and when it gets another, that",
  },
  {
    flag: '--data-address <ADDR>',
    help: 'address to which other nodes send overlay traffic',
    defaultText: 'as --advertise',
  },
  { flag: '--probe-port <PORT>', help: 'UDP port for the probes between agents', defaultText: '7946' },
] as const;

/** Serf's, and so Docker's, for the same purpose: firewalls between nodes of a Swarm have it open. */
const PROBE_PORT = 7946 as PortNumber;

interface Reader {
  one<T>(name: string, parse: (text: string, flag: string) => T): T | undefined;
}

/** What a flag should have been; `flag` is where it was written. */
type Refuse = (flag: string, problem: string) => never;

/** Undefined: the agent is alone. */
export function parseCluster(
  read: Reader,
  path: (text: string, flag: string) => string,
  refuse: Refuse,
): ClusterConfig | undefined {
  const store = read.one('store', (text, flag) => {
    if (text === 'embedded') return undefined;
    const address = parseEtcdUrl(text);
    return typeof address === 'string' ? refuse(flag, address) : address;
  });
  const ca = read.one('store-ca', path);
  const cert = read.one('store-cert', path);
  const key = read.one('store-key', path);
  const passwordFile = read.one('store-password-file', path);
  const advertise = read.one('advertise', (text, flag) => ownAddress(text, flag, refuse));
  const dataAddress = read.one('data-address', (text, flag) => ownAddress(text, flag, refuse));
  const probePort = read.one(
    'probe-port',
    (text, flag) => parsePort(text) ?? refuse(flag, `should be a port of 1 to 65535, not "${text}"`),
  );
  if (store === undefined) {
    const given = Object.entries({ ca, cert, key, 'password-file': passwordFile }).find(
      ([, value]) => value !== undefined,
    );
    if (given !== undefined) refuse(`--store-${given[0]}`, 'is of no use without --store etcd://…');
    return undefined;
  }
  if ((cert === undefined) !== (key === undefined))
    refuse(cert === undefined ? '--store-key' : '--store-cert', '--store-cert and --store-key need each other');
  return {
    // Certificates say what is meant, whatever the scheme.
    store: ca === undefined && cert === undefined ? store : { ...store, tls: true },
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
    ...(advertise === undefined ? {} : { advertise }),
    ...(dataAddress === undefined ? {} : { dataAddress }),
    probePort: probePort ?? PROBE_PORT,
  };
}

function ownAddress(text: string, flag: string, refuse: Refuse): IpAddress {
  const address = parseIp(text);
  if (address === undefined) return refuse(flag, `should be an IPv4 or IPv6 address of this machine, not "${text}"`);
  if (/^(0\.0\.0\.0|::)$/.test(address))
    return refuse(flag, `should be one address that others can reach, not ${text}`);
  return address;
}

/** The first address of a machine that others may reach; IPv4 before IPv6. */
export function reachableAddress(addresses: readonly IpAddress[]): IpAddress | undefined {
  const outside = addresses.filter(
    (address) => !isLoopback(address) && !address.startsWith('fe80:') && !address.startsWith('169.254.'),
  );
  return outside.find((address) => !address.includes(':')) ?? outside[0];
}
