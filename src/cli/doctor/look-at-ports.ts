// Who has a port: tried, where no agent runs, and looked up in the kernel's tables.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { ipVersion } from '../../model/address.ts';
import { holdersOf, mayLookInto, read } from './look.ts';
import type { PortFact, PortState } from './ports.ts';
import { isInTheWay, waitingSockets } from './socket-table.ts';

type Wanted = Omit<PortFact, 'state'>;

/** `agent`: the process of the one that runs, in whose network namespace the tables are read. */
export async function lookAtPorts(ports: readonly Wanted[], agent: number | undefined): Promise<readonly PortFact[]> {
  const sockets = {
    tcp: ['tcp', 'tcp6'].flatMap((name) => waitingSockets(tableOf(agent, name), 'tcp')),
    udp: ['udp', 'udp6'].flatMap((name) => waitingSockets(tableOf(agent, name), 'udp')),
  };
  const found = ports.map(({ protocol, address, port }) =>
    sockets[protocol].filter((one) => isInTheWay(one, address, port)),
  );
  const holders = holdersOf(new Set(found.flat().map(({ inode }) => inode)));
  return Promise.all(
    ports.map(async (port, i): Promise<PortFact> => {
      const inodes = (found[i] ?? []).map(({ inode }) => inode);
      // A socket of every address may leave room for one of a single address, or not; trying tells.
      const error = agent === undefined ? await tryPort(port) : undefined;
      const isRoot = process.getuid?.() === 0;
      const running = agent === undefined ? undefined : { pid: agent, isOpen: mayLookInto(agent) };
      return { ...port, state: stateOf({ inodes, holders, agent: running, error, isRoot }) };
    }),
  );
}

interface Seen {
  /** Sockets that are in the way. */
  readonly inodes: readonly string[];
  /** As far as this user may see. */
  readonly holders: ReadonlyMap<string, { readonly pid: number; readonly name: string }>;
  readonly agent: Agent | undefined;
  /** Of trying to have it; undefined when that worked, or was not tried because an agent runs. */
  readonly error: string | undefined;
  readonly isRoot: boolean;
}

interface Agent {
  readonly pid: number;
  /** This user may see what it has open. */
  readonly isOpen: boolean;
}

/** PURE. */
export function stateOf({ inodes, holders, agent, error, isRoot }: Seen): PortState {
  const [by] = inodes.flatMap((inode) => holders.get(inode) ?? []);
  // Only root sees every process, so only to root a socket without one is the kernel's.
  const strange: PortState = isRoot && inodes.length > 0 ? { kind: 'held-by-kernel' } : { kind: 'taken' };
  if (agent === undefined) {
    if (error === undefined) return { kind: 'free' };
    if (error === 'EACCES' || error === 'EPERM') return { kind: 'forbidden' };
    if (error !== 'EADDRINUSE') return { kind: 'impossible', error };
    return by === undefined ? strange : { kind: 'taken', by };
  }
  if (inodes.length === 0) return { kind: 'free' };
  const isItsOwn = inodes.some((inode) => holders.get(inode)?.pid === agent.pid);
  // It says itself that it is there, and it cannot be looked into.
  if (isItsOwn || (!agent.isOpen && by === undefined)) return { kind: 'held-by-agent' };
  return by === undefined ? strange : { kind: 'taken', by };
}

function tableOf(agent: number | undefined, name: string): string {
  return read(`/proc/${agent ?? 'self'}/net/${name}`) ?? read(`/proc/self/net/${name}`) ?? '';
}

/** Has the port for a moment; resolves with the error's name when that is refused. */
function tryPort({ protocol, address, port }: Wanted): Promise<string | undefined> {
  return new Promise((resolve) => {
    const refused = (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message);
    if (protocol === 'tcp') {
      const server = createServer().once('error', refused);
      server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(undefined)));
      return;
    }
    const socket = createSocket(ipVersion(address) === 6 ? 'udp6' : 'udp4').once('error', refused);
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(undefined)));
  });
}
