// How many connections a container has open to what it serves, from wherever they come: another node's agent forwards to it too,
// and only the container's own kernel tables show those.
import { readFileSync } from 'node:fs';

/** States of include/net/tcp_states.h, as /proc/net/tcp shows them (proc(5)). */
const ESTABLISHED = '01';
const CLOSE_WAIT = '08';
const LISTEN = '0A';

/** In the namespace of a process; 0 when that is gone. */
export function openConnections(pid: number): number {
  return connectionsIn(['tcp', 'tcp6'].map((table) => read(`/proc/${pid}/net/${table}`)).join('\n'));
}

/** Connections to ports that somebody listens on, out of the rows of /proc/net/tcp and tcp6. PURE. */
export function connectionsIn(tables: string): number {
  const rows = tables.split('\n').flatMap((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    const port = local?.split(':')[1];
    return port === undefined || state === undefined ? [] : [{ port, state }];
  });
  const served = new Set(rows.filter(({ state }) => state === LISTEN).map(({ port }) => port));
  // In CLOSE_WAIT the client has said all that it will; the answer may still be on its way.
  return rows.filter(({ port, state }) => (state === ESTABLISHED || state === CLOSE_WAIT) && served.has(port)).length;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
