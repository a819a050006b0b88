// What idle connections cost: resident memory of the proxy, and memory of the kernel.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Contender, SMALL } from './contenders.ts';
import { kernelSlabBytes } from './processes.ts';

export interface IdleResult {
  /** Bytes of the proxy before; NaN without a proxy. */
  readonly restBytes: number;
  /** Per connection. */
  readonly rssBytes: number;
  /** Per connection, of every socket on the way: the client's, the backend's and the proxy's two. */
  readonly kernelBytes: number;
}

/** Opened at a time; the listen queues hold 4096. */
const BURST = 500;
/** Both of a proxied connection's ends must have been set up: a moment after the last answer, everything is. */
const SETTLE_MS = 300;

/** Opens connections, has one request answered on each, and looks while all of them are idle. */
export async function measureIdle(contender: Contender, connections: number): Promise<IdleResult> {
  const rest = contender.process?.rssBytes() ?? Number.NaN;
  const kernelRest = kernelSlabBytes();
  const sockets: Socket[] = [];
  try {
    while (sockets.length < connections) {
      const burst = Math.min(BURST, connections - sockets.length);
      sockets.push(...(await Promise.all(Array.from({ length: burst }, () => openAnswered(contender.port)))));
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const rss = contender.process?.rssBytes() ?? Number.NaN;
    return {
      restBytes: rest,
      rssBytes: (rss - rest) / connections,
      kernelBytes: (kernelSlabBytes() - kernelRest) / connections,
    };
  } finally {
    // With RST, so that no connection stays in TIME_WAIT and takes part in what is measured next.
    for (const socket of sockets) socket.resetAndDestroy();
  }
}

async function openAnswered(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.write(`GET ${SMALL} HTTP/1.1\r\nHost: bench\r\n\r\n`);
  await once(socket, 'data');
  // The proxy's end of it is what is looked at; what comes of this one is not.
  socket.on('error', () => {});
  return socket;
}
