// Asks the resolvers of many nodes for one name all the time, from one process: a socket lives in the namespace in which it was made.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { encode, RECURSION_DESIRED } from 'dns-packet';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import type { BenchNode } from './lab.ts';

const RESOLVER = '127.0.0.11';
/** What is measured is at most this much too long; for each node more, so that asking takes no more of the CPUs. */
const EVERY_MS = 1;
const AT_LEAST_MS = 5;
/** RFC 1035, section 4.1.1: where the number of answers stands. */
const ANSWER_COUNT_AT = 6;

export class Resolvers {
  readonly #sockets = new Map<BenchNode, Socket>();
  readonly #counts = new Map<BenchNode, number>();
  readonly #waiting = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;

  static async open(nodes: readonly BenchNode[], name: string): Promise<Resolvers> {
    const sockets = new Map<BenchNode, Socket>();
    for (const node of nodes) {
      const socket = createSocket('udp4');
      const listening = once(socket, 'listening');
      socket.bind({ fd: bindUdp('0.0.0.0', 0, { netns: node.netns }) });
      await listening;
      sockets.set(node, socket);
    }
    return new Resolvers(sockets, name);
  }

  private constructor(sockets: ReadonlyMap<BenchNode, Socket>, name: string) {
    const question = { name, type: 'A', class: 'IN' } as const;
    const message = encode({ type: 'query', id: 1, flags: RECURSION_DESIRED, questions: [question] });
    for (const [node, socket] of sockets) {
      this.#sockets.set(node, socket);
      // An agent that is away refuses, and is asked again.
      socket.on('error', () => undefined);
      socket.on('message', (reply) => {
        this.#counts.set(node, reply.readUInt16BE(ANSWER_COUNT_AT));
        for (const look of this.#waiting) look();
      });
    }
    this.#timer = setInterval(
      () => {
        for (const socket of this.#sockets.values()) socket.send(message, 53, RESOLVER, () => undefined);
      },
      Math.max(AT_LEAST_MS, EVERY_MS * sockets.size),
    );
  }

  /** Resolves with when each of these nodes first gave that many addresses, as performance.now has it, when the last one has. */
  async until(count: number, nodes: readonly BenchNode[] = [...this.#sockets.keys()]): Promise<readonly number[]> {
    for (const node of nodes) this.#counts.delete(node);
    const times = new Map<BenchNode, number>();
    await new Promise<void>((resolve) => {
      const look = () => {
        for (const node of nodes)
          if (this.#counts.get(node) === count && !times.has(node)) times.set(node, performance.now());
        if (times.size < nodes.length) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
    });
    return [...times.values()];
  }

  close(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets.values()) socket.close();
  }
}
