// The agents that run on this machine and may have made what is to be seen from here, in whatever network namespace they are: found
// by /proc, and asked who they are.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { createClient } from '../api/client.ts';
import { agentStatus } from '../api/status-schema.ts';
import type { NodeId } from '../model/node.ts';
import { kernelInstance } from './identity.ts';
import type { Living } from './remains.ts';

/** An agent answers in milliseconds; one that does not within this time is stopped, hangs, or has not come so far. */
const ANSWER_TIMEOUT_MS = 2000;
/** sockaddr_un has 108 bytes with the closing NUL (unix(7)). */
const MAX_SOCKET_PATH = 107;
/** Of a listening socket in /proc/net/unix (__SO_ACCEPTCON). */
const LISTENING = '00010000';

export interface LivingAgents {
  readonly known: readonly Living[];
  /** Processes of agents that do not say who they are. */
  readonly silent: readonly number[];
}

export async function findLivingAgents(): Promise<LivingAgents> {
  const pids = readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry) || !isAgent(read(`/proc/${entry}/cmdline`).split('\0'))) return [];
    return mayOwnSomething(entry) ? [Number(entry)] : [];
  });
  const asked = await Promise.all(pids.map(async (pid) => ({ pid, found: await askWhoItIs(pid) })));
  return {
    known: asked.flatMap(({ found }) => found ?? []),
    silent: asked.flatMap(({ pid, found }) => (found === undefined ? [pid] : [])),
  };
}

/** A command line of this program: `node …/src/main.js --host X agent …`, `node …/vipmesh agent …`. */
export function isAgent(words: readonly string[]): boolean {
  const program = words.findIndex((word) => basename(word) === 'vipmesh' || word.endsWith('/src/main.js'));
  if (program < 0) return false;
  for (let at = program + 1; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '-H' || word === '--host') at++;
    else if (!word.startsWith('-')) return word === 'agent';
  }
  return false;
}

/** The paths on which one of these sockets (by inode) listens; `table` as /proc/PID/net/unix. */
export function listeningPaths(table: string, inodes: ReadonlySet<string>): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const [, , , flags, , , inode = '', path] = line.trim().split(/\s+/);
    return flags === LISTENING && path?.startsWith('/') && inodes.has(inode) ? [path] : [];
  });
}

/** Only root makes namespaces and links; this process sees those that have names here, and the links of its own namespace. */
function mayOwnSomething(pid: string): boolean {
  if (identity(`/proc/${pid}`)?.uid !== 0) return false;
  return ['/ns/net', '/root/run/netns'].some((path) => {
    const [its, own] = [identity(`/proc/${pid}${path}`), identity(`/proc/self${path}`)];
    return its !== undefined && its.ino === own?.ino && its.dev === own.dev;
  });
}

async function askWhoItIs(pid: number): Promise<Living | undefined> {
  for (const path of listeningPaths(read(`/proc/${pid}/net/unix`), socketsOf(pid))) {
    // It may see other files than this process does.
    const seen = `/proc/${pid}/root${path}`;
    const answer = createClient(Buffer.byteLength(seen) > MAX_SOCKET_PATH ? path : seen).get(
      '/vipmesh/status',
      agentStatus,
    );
    const status = await Promise.race([answer.catch(() => undefined), deadline()]);
    if (status !== undefined) return { pid, socket: path, instance: kernelInstance(status.Node.ID as NodeId) };
  }
  return undefined;
}

function socketsOf(pid: number): ReadonlySet<string> {
  let names: readonly string[] = [];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    // It has ended.
  }
  return new Set(names.flatMap((fd) => /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1] ?? []));
}

function deadline(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ANSWER_TIMEOUT_MS).unref());
}

function identity(path: string) {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
