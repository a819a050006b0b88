// Reads what /proc, the disk and other programs tell about this machine. What cannot be read is undefined, and its check says so.
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync, readlinkSync, statfsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { Resolver } from 'node:dns/promises';
import { dirname } from 'node:path';
import { formatHostPort } from '../../model/address.ts';
import { findProgram } from '../programs.ts';
import type { PrivilegeFacts } from './kernel.ts';
import type { LimitFacts } from './limits.ts';
import type { Place } from './machine.ts';
import type { StoreFacts } from './mesh.ts';
import type { DroppingChain, EgressFacts } from './outside.ts';
import type { Upstream } from './resolvers.ts';

/** A server that takes longer than this costs every name from outside as much. */
const DNS_TIMEOUT_MS = 1500;
const DNS_TRIES = 2;
const CONNECT_TIMEOUT_MS = 2000;
const PROGRAM_TIMEOUT_MS = 5000;

export function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function readNumber(path: string): number | undefined {
  const text = read(path)?.trim();
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

/** `pid`: the agent's; undefined: this process stands for an agent that it would start. */
export function lookAtPrivileges(
  pid: number | undefined,
): Pick<PrivilegeFacts, 'uid' | 'capabilities' | 'firstFreePort'> {
  const status = read(`/proc/${pid ?? 'self'}/status`);
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? '')?.[1];
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(status ?? '')?.[1];
  return {
    uid: uid === undefined ? -1 : Number(uid),
    capabilities: effective === undefined ? undefined : BigInt(`0x${effective}`),
    firstFreePort: readNumber('/proc/sys/net/ipv4/ip_unprivileged_port_start') ?? 1024,
  };
}

export function lookAtDescriptors(pid: number | undefined): Omit<LimitFacts, 'pid'> {
  const who = pid ?? 'self';
  const [, soft, hard] =
    /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(read(`/proc/${who}/limits`) ?? '') ?? [];
  const number = (text: string) => (text === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(text));
  const [open, , all] = (read('/proc/sys/fs/file-nr') ?? '').trim().split(/\s+/).map(Number);
  return {
    descriptors: soft === undefined || hard === undefined ? undefined : { soft: number(soft), hard: number(hard) },
    open: pid === undefined ? undefined : entriesOf(`/proc/${pid}/fd`)?.length,
    most: readNumber('/proc/sys/fs/nr_open') ?? 1 << 20,
    machine: open === undefined || all === undefined ? undefined : { open, most: all },
  };
}

export function lookAtForwarding(): Pick<EgressFacts, 'forwarding' | 'isForwardingWritable' | 'tracked'> {
  const path = '/proc/sys/net/ipv4/ip_forward';
  const value = readNumber(path);
  const [count, most] = ['count', 'max'].map((what) => readNumber(`/proc/sys/net/netfilter/nf_conntrack_${what}`));
  return {
    forwarding: value === undefined ? undefined : value !== 0,
    isForwardingWritable: mayWrite(path),
    tracked: count === undefined || most === undefined ? undefined : { count, most },
  };
}

/** iptables of the old kind, which nftables knows nothing of, where it is in use. Root only. */
export async function lookAtOldIptables(): Promise<readonly DroppingChain[]> {
  const program = findProgram('iptables-legacy');
  if (program === undefined || !/^filter$/m.test(read('/proc/net/ip_tables_names') ?? '')) return [];
  return readOldIptables(await output(program, ['-w', '-S']));
}

/** What `iptables -S` prints. */
export function readOldIptables(rules: string): readonly DroppingChain[] {
  if (!/^-P FORWARD DROP$/m.test(rules)) return [];
  return [{ family: 'ip', table: 'filter (iptables-legacy)', chain: 'FORWARD', knowsEgress: rules.includes('vmeg-') }];
}

/** Of a folder, or of the nearest one above it that exists. */
export function lookAtDisk(folder: string): NonNullable<StoreFacts['disk']> {
  let nearest = folder;
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  const { bavail, bsize } = statfsSync(nearest);
  return { isThere: nearest === folder, isWritable: mayWrite(nearest), freeBytes: bavail * bsize };
}

/** Any answer will do; the root's servers are asked for, which every server knows and which gives nothing away. */
export async function askUpstream({ address, port }: Place): Promise<Upstream> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  const name = formatHostPort(address, port);
  resolver.setServers([name]);
  try {
    await resolver.resolveNs('.');
    return { address: name, error: undefined };
  } catch (error) {
    const code = codeOf(error);
    const isSilent = ['ETIMEOUT', 'ECONNREFUSED', 'ECANCELLED'].includes(code);
    return { address: name, error: isSilent ? code : undefined };
  }
}

/** Whether somebody accepts connections there. */
export function askServer({ host, port }: { readonly host: string; readonly port: number }): Promise<{
  readonly address: string;
  readonly error: string | undefined;
}> {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new Promise((resolve) => {
    const connection = createConnection({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const end = (error: string | undefined) => {
      connection.destroy();
      resolve({ address, error });
    };
    connection.once('connect', () => end(undefined));
    connection.once('timeout', () => end('no answer'));
    connection.once('error', (error) => end(codeOf(error)));
  });
}

/** What tells the network namespace of a process from others; undefined where this user may not know. */
export function namespaceOf(pid: number | 'self'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

/** Who has each of these sockets open, as far as this user may see. */
export function holdersOf(
  inodes: ReadonlySet<string>,
): ReadonlyMap<string, { readonly pid: number; readonly name: string }> {
  const found = new Map<string, { readonly pid: number; readonly name: string }>();
  for (const pid of entriesOf('/proc') ?? []) {
    if (found.size === inodes.size) break;
    if (!/^\d+$/.test(pid)) continue;
    for (const fd of entriesOf(`/proc/${pid}/fd`) ?? []) {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined && inodes.has(inode))
        found.set(inode, { pid: Number(pid), name: read(`/proc/${pid}/comm`)?.trim() ?? '' });
    }
  }
  return found;
}

/** Whether this user may see what a process has open. */
export function mayLookInto(pid: number): boolean {
  return entriesOf(`/proc/${pid}/fd`) !== undefined;
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function entriesOf(folder: string): readonly string[] | undefined {
  try {
    return readdirSync(folder);
  } catch {
    return undefined;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function output(program: string, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, [...words], { timeout: PROGRAM_TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program}: ${stderr.trim() || error.message}`, { cause: error }));
    });
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
