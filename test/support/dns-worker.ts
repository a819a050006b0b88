// A resolver in a worker thread, as the agent runs it, on loopback sockets of its own; and clients to ask it.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { MessageChannel, Worker } from 'node:worker_threads';
import t from 'tap';
import type { DnsCommand, Upstream, UpstreamRoute } from '../../src/dns/command.ts';
import type { TcpLimits } from '../../src/dns/tcp-server.ts';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import { createEventfd, wake } from '../../src/native/event-loop.ts';
import { close } from '../../src/native/libc.ts';
import { listenTcp } from '../../src/native/stream-socket.ts';
import { TOTAL, UPSTREAM } from '../../src/runtime/worker-env.ts';
import { frame } from './dns-messages.ts';
import type { ThreadCommand, ThreadData } from './dns-worker-thread.ts';
import { unusedPort } from './ports.ts';

export const SCOPE = 1;
/** Who asks on the sockets that a DnsWorker has from the start. */
const CLIENT = 1;

export interface DnsWorker {
  /** The resolver's address: UDP and TCP on one port. */
  readonly address: string;
  readonly port: number;
  readonly udpFd: number;
  readonly tcpFd: number;
  /** Resolves when the commands have taken effect. */
  tell(...commands: DnsCommand[]): Promise<void>;
  count(counter: keyof typeof TOTAL): number;
  /** At an index of TOTAL, or behind one that stands for several. */
  total(index: number): number;
  /** Of the upstream with this number: the node's come first, then those of routes. */
  upstream(number: number, what: 'asked' | 'answered' | 'silent' | 'loops'): number;
}

export interface DnsWorkerOptions {
  readonly address?: string;
  readonly upstreams?: readonly Upstream[];
  readonly routes?: readonly UpstreamRoute[];
  readonly cacheBytes?: number;
  readonly tcp?: Partial<TcpLimits>;
  readonly sentQuestions?: Int32Array;
  readonly networks?: readonly number[];
  readonly forward?: boolean;
}

/** Starts a resolver whose sockets all have SCOPE. Ends with the test file. */
export async function startDnsWorker(options: DnsWorkerOptions = {}): Promise<DnsWorker> {
  const address = options.address ?? '127.0.0.1';
  const port = unusedPort();
  const tcpFd = listenTcp(address, port);
  const udpFd = bindUdp(address, port);
  const channel = new MessageChannel();
  const wakeFd = createEventfd();
  const totals = new Float64Array(new SharedArrayBuffer(8 * TOTAL.count));
  const workerData: ThreadData = { port: channel.port2, wakeFd, totals, tcp: options.tcp ?? {} };
  const worker = new Worker(new URL('./dns-worker-thread.js', import.meta.url), {
    workerData,
    transferList: [channel.port2],
  });
  const ended = once(worker, 'exit');
  worker.on('error', (error) => t.fail('the worker failed', { error }));
  const post = (command: ThreadCommand) => {
    channel.port1.postMessage(command);
    wake(wakeFd);
  };
  const tell = async (...commands: DnsCommand[]) => {
    for (const command of commands) post(command);
    const applied = once(channel.port1, 'message');
    post({ kind: 'barrier' });
    await Promise.race([applied, ended]);
  };
  t.teardown(async () => {
    post({ kind: 'stop' });
    await ended;
    channel.port1.close();
    for (const fd of [udpFd, tcpFd, wakeFd]) close(fd);
  });
  await tell(
    { kind: 'scope-set', scope: { id: SCOPE, networks: options.networks ?? [0], forward: options.forward ?? true } },
    {
      kind: 'upstreams',
      upstreams: (options.upstreams ?? []).map(placeOf),
      routes: (options.routes ?? []).map(({ suffix, upstreams }) => ({ suffix, upstreams: upstreams.map(placeOf) })),
      ...(options.sentQuestions === undefined ? {} : { sentQuestions: options.sentQuestions }),
      ...(options.cacheBytes === undefined ? {} : { cacheBytes: options.cacheBytes }),
    },
    { kind: 'dns-socket-add', fd: udpFd, protocol: 'udp', scope: SCOPE, client: CLIENT },
    { kind: 'dns-socket-add', fd: tcpFd, protocol: 'tcp', scope: SCOPE, client: CLIENT },
  );
  return {
    address,
    port,
    udpFd,
    tcpFd,
    tell,
    count: (counter) => totals[TOTAL[counter]] ?? 0,
    total: (index) => totals[index] ?? 0,
    upstream: (number, what) => totals[TOTAL.dnsUpstreams + number * UPSTREAM.stride + UPSTREAM[what]] ?? 0,
  };
}

/** Plain data, whatever else the upstream is. */
function placeOf({ address, port }: Upstream): Upstream {
  return { address, port };
}

/** Sends one datagram and resolves with the first one that comes back. */
export async function askUdp(worker: { address: string; port: number }, message: Uint8Array): Promise<Buffer> {
  const socket = createSocket('udp4');
  try {
    socket.send(message, worker.port, worker.address);
    const [answer] = (await once(socket, 'message')) as [Buffer];
    return answer;
  } finally {
    socket.close();
  }
}

/** Sends messages over one connection at once, half-closes, and resolves with everything that came back. */
export async function askTcp(
  worker: { address: string; port: number },
  messages: readonly Uint8Array[],
): Promise<Buffer[]> {
  const socket = connect(worker.port, worker.address);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(Buffer.concat(messages.map(frame)));
  await once(socket, 'close');
  const answers: Buffer[] = [];
  let rest = Buffer.concat(chunks);
  while (rest.length >= 2) {
    const end = 2 + rest.readUInt16BE();
    answers.push(rest.subarray(2, end));
    rest = rest.subarray(end);
  }
  return answers;
}
