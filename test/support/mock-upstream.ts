// A DNS server of the test's own making, UDP and TCP on one port of 127.0.0.1.
import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, RECURSION_AVAILABLE } from 'dns-packet';
import t from 'tap';
import type { Upstream } from '../../src/dns/command.ts';
import { frame } from './dns-messages.ts';
import { unusedPort } from './ports.ts';

export interface Asked {
  readonly message: Buffer;
  /** In lower case; the message has the resolver's random spelling. */
  readonly name: string;
  readonly overTcp: boolean;
  readonly from: RemoteInfo | undefined;
}

/** The messages to send back, in order; none: silence. */
export type Behaviour = (asked: Asked) => readonly Buffer[];

export interface MockUpstream extends Upstream {
  readonly asked: readonly Asked[];
  behave(behaviour: Behaviour): void;
  /** Resolves when `count` questions have come in all. */
  heard(count: number): Promise<void>;
}

/** Ends with the test file. Until told otherwise it is silent. */
export async function startMockUpstream(behaviour: Behaviour = () => []): Promise<MockUpstream> {
  const asked: Asked[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  let behave = behaviour;
  const answer = (message: Buffer, overTcp: boolean, from: RemoteInfo | undefined) => {
    const name = (decode(message).questions?.[0]?.name ?? '').toLowerCase();
    const one = { message: Buffer.from(message), name, overTcp, from };
    asked.push(one);
    for (const { count, resolve } of waiting) if (asked.length >= count) resolve();
    return behave(one);
  };
  const tcp = createServer((connection) => {
    connection.on('error', () => undefined);
    connection.on('data', (chunk: Buffer) => {
      for (const reply of answer(chunk.subarray(2), true, undefined)) connection.write(frame(reply));
    });
  });
  const port = unusedPort();
  await once(tcp.listen(port, '127.0.0.1'), 'listening');
  const udp = createSocket('udp4').bind(port, '127.0.0.1');
  await once(udp, 'listening');
  udp.on('message', (message: Buffer, from) => {
    for (const reply of answer(message, false, from)) udp.send(reply, from.port, from.address);
  });
  t.teardown(() => {
    udp.close();
    tcp.close();
  });
  return {
    address: '127.0.0.1',
    port,
    asked,
    behave: (next) => {
      behave = next;
    },
    heard: (count) => new Promise((resolve) => (asked.length >= count ? resolve() : waiting.push({ count, resolve }))),
  };
}

export interface ReplyOptions {
  readonly rcode?: number;
  readonly flags?: number;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
}

/** A response to a question, with its id and question. */
export function reply({ message }: Asked, options: ReplyOptions = {}): Buffer {
  const { id = 0, questions = [] } = decode(message);
  const bytes = encode({
    type: 'response',
    id,
    flags: (options.flags ?? RECURSION_AVAILABLE | AUTHORITATIVE_ANSWER) | (message.readUInt16BE(2) & 0x0100),
    questions,
    answers: [...(options.answers ?? [])],
    authorities: [...(options.authorities ?? [])],
  });
  bytes.writeUInt16BE(bytes.readUInt16BE(2) | (options.rcode ?? 0), 2);
  return bytes;
}

/** One address for whatever name is asked. */
export function addressReply(asked: Asked, address: string, ttl = 300): Buffer {
  return reply(asked, { answers: [{ type: 'A', name: asked.name, ttl, data: address }] });
}

export const SOA: Answer = {
  type: 'SOA',
  name: 'example.com',
  ttl: 900,
  data: {
    mname: 'ns.example.com',
    rname: 'hostmaster.example.com',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 300,
  },
};
