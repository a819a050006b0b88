// Clients in containers and on the node. A socket made inside a namespace stays there, so this process can be all of them.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { request } from 'node:http';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { decode, type DecodedPacket, encode, type RecordType, RECURSION_DESIRED } from 'dns-packet';
import { bindUdp } from '../../../src/native/datagram-socket.ts';
import { OWN_NETNS } from '../../../src/native/netns.ts';
import { dialTcp } from '../../support/netns.ts';

/** Who waits this long waits for ever. */
const GIVE_UP_MS = 20_000;
const RESOLVER = '127.0.0.11';

/** A connected socket, or the name of the error that connecting met; `nobody` when nobody answered. */
export function connectFrom(netns: number, address: string, port: number): Socket | string {
  const fd = dialTcp(netns, address, port);
  return typeof fd === 'string' ? fd : new Socket({ fd, readable: true, writable: true });
}

/** The answer to one HTTP request on a connection of its own, or the name of the error. */
export function httpGet(
  netns: number,
  address: string,
  port: number,
  path = '/',
  timeout = GIVE_UP_MS,
): Promise<string> {
  const socket = netns === OWN_NETNS ? undefined : connectFrom(netns, address, port);
  if (typeof socket === 'string') return Promise.resolve(socket);
  return new Promise((resolve) => {
    const where = socket === undefined ? { host: address, port, agent: false } : { createConnection: () => socket };
    const outgoing = request({ ...where, path, headers: { connection: 'close' }, timeout }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => resolve(codeOf(error)));
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
    });
    outgoing.on('error', (error) => resolve(codeOf(error)));
    outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('silence'), { code: 'silence' })));
    outgoing.end();
  });
}

/** `503 draining`: what the agent of a test says at a path for whoever watches it. */
export function watched(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      response.once('data', (body: Buffer) => resolve(`${response.statusCode} ${body.toString().trim()}`));
    })
      .on('error', reject)
      .end();
  });
}

export interface LineConnection {
  readonly socket: Socket;
  /** The next line; undefined at the end of the stream or after an error. */
  line(): Promise<string | undefined>;
  /** Sends a line and resolves with the answer. */
  ask(line: string): Promise<string | undefined>;
  /** What ended it: `end` or the name of an error. */
  readonly ended: Promise<string>;
}

/** For servers that speak in lines. */
export function lines(socket: Socket | string): LineConnection {
  if (typeof socket === 'string') throw new Error(`not connected: ${socket}`);
  const ended = new Promise<string>((resolve) => {
    socket.once('error', (error) => resolve(codeOf(error)));
    socket.once('end', () => resolve('end'));
  });
  const received: string[] = [];
  const waiting: ((line: string | undefined) => void)[] = [];
  const reader = createInterface({ input: socket });
  reader.on('line', (line) => {
    const next = waiting.shift();
    if (next === undefined) received.push(line);
    else next(line);
  });
  // It repeats the socket's, which `ended` tells of.
  reader.on('error', () => {});
  const line = () =>
    Promise.race([
      received.length > 0
        ? Promise.resolve(received.shift())
        : new Promise<string | undefined>((resolve) => waiting.push(resolve)),
      ended.then(() => undefined),
    ]);
  return {
    socket,
    line,
    ask: (text) => {
      socket.write(`${text}\n`);
      return line();
    },
    ended,
  };
}

export interface Datagrams {
  /** Sends, and resolves with the replies when there are `count` of them, or after `patienceMs` with those that came. */
  ask(message: string | Buffer, count?: number, patienceMs?: number): Promise<readonly Buffer[]>;
  close(): void;
}

/** A client socket that stays, and takes replies from whom it asks only. */
export async function datagrams(netns: number, address: string, port: number): Promise<Datagrams> {
  const isIpv6 = address.includes(':');
  const socket = createSocket(isIpv6 ? 'udp6' : 'udp4');
  const listening = once(socket, 'listening');
  socket.bind({ fd: bindUdp(isIpv6 ? '::' : '0.0.0.0', 0, { netns }) });
  await listening;
  socket.connect(port, address);
  await once(socket, 'connect');
  // A refusal is silence here; tryUdp tells one from the other.
  socket.on('error', () => undefined);
  return {
    ask: async (message, count = 1, patienceMs = GIVE_UP_MS) => {
      const replies: Buffer[] = [];
      const enough = new AbortController();
      const collect = (reply: Buffer) => {
        replies.push(reply);
        if (replies.length >= count) enough.abort();
      };
      socket.on('message', collect);
      socket.send(message);
      await passed(patienceMs, enough.signal);
      socket.off('message', collect);
      return replies;
    },
    close: () => socket.close(),
  };
}

export interface Question {
  readonly type?: RecordType;
  readonly tcp?: boolean;
}

/** What a container's resolver answers it. */
export async function lookup(netns: number, name: string, question: Question = {}): Promise<DecodedPacket> {
  const message = encode({
    type: 'query',
    id: Math.floor(Math.random() * 65536),
    flags: RECURSION_DESIRED,
    questions: [{ name, type: question.type ?? 'A', class: 'IN' }],
  });
  const reply = await (question.tcp === true ? overTcp(netns, message) : overUdp(netns, message));
  if (reply === undefined) throw new Error(`nobody answered the question for ${name}`);
  return decode(reply);
}

/** One message to a container's resolver; undefined when it does not answer. */
export async function overUdp(netns: number, message: Buffer): Promise<Buffer | undefined> {
  const client = await datagrams(netns, RESOLVER, 53);
  const [reply] = await client.ask(message);
  client.close();
  return reply;
}

export async function overTcp(netns: number, message: Buffer): Promise<Buffer | undefined> {
  const socket = connectFrom(netns, RESOLVER, 53);
  if (typeof socket === 'string') return undefined;
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  socket.end(Buffer.concat([length, message]));
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).subarray(2);
}

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

/** `NOERROR aa ra | 10.64.0.2 | SOA`: answers sorted, then the kinds of what stands in the authority section. */
export function summary(packet: DecodedPacket): string {
  // dns-packet leaves the rcode in the flags, too.
  const rcode = RCODES[((packet as { flags?: number }).flags ?? 0) & 0xf] ?? '?';
  const flags = [packet.flag_aa ? ' aa' : '', packet.flag_ra ? ' ra' : ''].join('');
  const data = (packet.answers ?? []).map((answer) => ('data' in answer ? String(answer.data) : '')).sort();
  const authority = (packet.authorities ?? []).map(({ type }) => type);
  return [`${rcode}${flags}`, ...data, ...authority].join(' | ');
}

function passed(ms: number, early: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms).unref();
    early.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** What the API answers to a GET, as an object. */
export function api<Answer>(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as Answer));
    })
      .on('error', reject)
      .end();
  });
}
