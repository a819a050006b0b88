// Netlink sockets, each inside the namespace it was made in. The only importer of the package `node-netlink`.
//
// The library makes a socket on the calling thread, at once, in its constructor; so inside `inNetns` it belongs to that
// namespace for ever, and whatever happens to it later may happen anywhere. It is used for framing, sequence numbers,
// dumps and the event loop; messages are coded here (rtnetlink.ts, nftables.ts), because its own errors drop the errno and it
// knows neither bridge ports nor nf_tables. See native-notes/netlink.md.
import { createNetlink, type NetlinkMessage, type NetlinkSocket as LibrarySocket } from 'node-netlink';
import type { Fd } from '../native/libc.ts';
import { makeAndFind, makeRoomToSend, messagesLost, tolerateLoss } from '../native/netlink-fd.ts';
import { inNetns } from '../native/netns.ts';
import { KernelError, refusal } from './kernel-error.ts';
import { FLAG, frame, MESSAGE_ERROR, type Message, type Request, readError } from './message.ts';

/** The kernel answers before the send returns; a reply that takes this long was lost, because the buffer was full. */
const REPLY_TIMEOUT_MS = 5000;
/** For longer batches room is made; net.core.wmem_default is 208 KiB nearly everywhere. */
const USUAL_BATCH_BYTES = 32_768;
/** A dump during which something changed says so; it is made anew this often, then taken as it is. */
const DUMP_ATTEMPTS = 5;
const DUMP_INTERRUPTED = 0x10;
const PROTOCOL = { route: 0, netfilter: 12 } as const;
export type NetlinkProtocol = keyof typeof PROTOCOL;

/** Kinds of notices: their multicast groups (RTNLGRP_* in linux/rtnetlink.h, NFNLGRP_* in linux/nfnetlink.h). */
const NOTICE = {
  /** Links, and IPv4 and IPv6 addresses. */
  links: { protocol: 'route', groups: [1, 5, 9] },
  /** Routes of both families. */
  routes: { protocol: 'route', groups: [7, 11] },
  /** Neighbours and forwarding entries of bridges and tunnels. */
  neighbours: { protocol: 'route', groups: [3] },
  nftables: { protocol: 'netfilter', groups: [7] },
} as const;
export type NoticeKind = keyof typeof NOTICE;

/**
 * Sockets that are open. The addon aborts the process when one of them becomes readable while Node tears its environment
 * down, so whatever is still open is closed before that.
 */
const openSockets = new Map<LibrarySocket, Fd | undefined>();
process.once('exit', () => {
  for (const socket of openSockets.keys()) socket.close();
});

/** What a request is about, for its error. */
export interface Purpose {
  readonly operation: string;
  readonly object: string;
}

/** One socket; requests are made one after another, in the order of the calls. */
export class NetlinkSocket {
  readonly #library: LibrarySocket;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #fd: Fd | undefined;
  #failed: ((error: Error) => void) | undefined;

  /** `netns`: OWN_NETNS for where the thread is. Throws KernelError. */
  constructor(netns: Fd, protocol: NetlinkProtocol) {
    try {
      const known = new Set([...openSockets.values()].filter((fd) => fd !== undefined));
      const { made, fd } = inNetns(netns, () =>
        makeAndFind(
          () => createNetlink(PROTOCOL[protocol]),
          (library) => library.address().port,
          known,
        ),
      );
      this.#library = made;
      this.#fd = fd;
      openSockets.set(made, fd);
    } catch (cause) {
      throw socketError({ operation: 'open', object: `a netlink socket (${protocol})` }, cause);
    }
    // The library closes after an error while polling.
    this.#library.on('error', (error) => this.#failed?.(error));
  }

  /** Sends one request; resolves when the kernel has done it, with what it answered besides the acknowledgement. */
  request(request: Request, purpose: Purpose): Promise<readonly Message[]> {
    return this.#inTurn(purpose, async () => this.#exchange(request, purpose));
  }

  /** All objects that a dump request asks for. */
  dump(request: Request, purpose: Purpose): Promise<readonly Message[]> {
    return this.#inTurn(purpose, async () => {
      for (let attempt = 1; ; attempt++) {
        const messages = await this.#exchange(request, purpose);
        const interrupted = messages.some((message) => (message.flags & DUMP_INTERRUPTED) !== 0);
        if (!interrupted || attempt === DUMP_ATTEMPTS) return messages;
      }
    });
  }

  /**
   * Sends several requests as one batch, which the kernel does as a whole or not at all; resolves when the last one is
   * acknowledged. The requests include whatever begins and ends a batch in their protocol.
   */
  batch(requests: readonly Request[], acknowledged: number, purpose: Purpose): Promise<void> {
    return this.#inTurn(purpose, async () => {
      const first = this.#library.generateSeq();
      const seqs = requests.map((_, i) => (i === 0 ? first : this.#library.generateSeq()));
      const frames = requests.map((request, i) =>
        frame(i === acknowledged ? { ...request, flags: request.flags | FLAG.ack } : request, seqs[i] ?? 0),
      );
      const bytes = Buffer.concat(frames);
      if (bytes.length > USUAL_BATCH_BYTES && this.#fd !== undefined) makeRoomToSend(this.#fd, bytes.length);
      const errno = await this.#batchResult(bytes, seqs, seqs[acknowledged] ?? 0, purpose);
      if (errno !== 0) throw refusal(purpose.operation, purpose.object, errno);
    });
  }

  /** A socket that does nothing but call back for notices of these kinds, and, with none, when notices were lost. */
  static watching(netns: Fd, kind: NoticeKind, changed: (notices: readonly Message[]) => void): NetlinkSocket {
    const { protocol, groups } = NOTICE[kind];
    const socket = new NetlinkSocket(netns, protocol);
    const fd = socket.#fd;
    if (fd === undefined) {
      socket.close();
      throw new KernelError('socket', 'open', 'a netlink socket for notices', 'its descriptor is not to be found');
    }
    // Without this, a socket that loses notices has an error to poll, on which the library's addon ends the process.
    tolerateLoss(fd);
    let lost = 0;
    for (const group of groups) socket.#library.addMembership(group);
    socket.#library.on('message', (messages) => {
      const before = lost;
      lost = messagesLost(fd);
      if (lost === before) changed(messages.map(({ type, seq, data }) => ({ type, seq, body: asBuffer(data) })));
      else changed([]);
    });
    return socket;
  }

  /**
   * Closes the socket soon, after the current callback: the library's addon must not be closed from within its own
   * callback, and a promise that it resolved continues exactly there.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    setImmediate(() => {
      openSockets.delete(this.#library);
      this.#library.close();
    });
  }

  #inTurn<T>(purpose: Purpose, work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => {
      if (this.#closed) throw new KernelError('socket', purpose.operation, purpose.object, 'the namespace was let go');
      return work();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #exchange({ type, flags, body }: Request, purpose: Purpose): Promise<readonly (Message & { flags: number })[]> {
    let messages: NetlinkMessage[];
    try {
      const options = { flags, timeout: REPLY_TIMEOUT_MS, checkError: false };
      [messages] = await this.#library.request(type, body, options);
    } catch (cause) {
      throw socketError(purpose, cause);
    }
    const failed = messages.find((message) => message.type === MESSAGE_ERROR);
    const errno = failed === undefined ? 0 : readError(Buffer.from(failed.data));
    if (errno !== 0) throw refusal(purpose.operation, purpose.object, errno);
    return messages
      .filter((message) => message.type !== MESSAGE_ERROR)
      .map((message) => ({ type: message.type, seq: message.seq, flags: message.flags, body: asBuffer(message.data) }));
  }

  /** The first error of any message of the batch, or 0 once the acknowledged one is done. */
  #batchResult(bytes: Buffer, seqs: readonly number[], last: number, { operation, object }: Purpose): Promise<number> {
    return new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown): void => {
        end();
        reject(new KernelError('socket', operation, object, why, { cause }));
      };
      const onMessage = (messages: readonly NetlinkMessage[]): void => {
        for (const { type, seq, data } of messages) {
          if (type !== MESSAGE_ERROR || !seqs.includes(seq)) continue;
          const errno = readError(asBuffer(data));
          if (errno === 0 && seq !== last) continue;
          end();
          resolve(errno);
          return;
        }
      };
      const timer = setTimeout(() => fail('the kernel did not answer'), REPLY_TIMEOUT_MS);
      this.#failed = (error) => fail(reason(error), error);
      this.#library.on('message', onMessage);
      this.#library.ref();
      const end = (): void => {
        clearTimeout(timer);
        this.#failed = undefined;
        this.#library.off('message', onMessage);
        this.#library.unref();
      };
      this.#library.socket.send(bytes, {}, (error) => {
        if (error !== undefined) fail(reason(error), error);
      });
    });
  }
}

function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function socketError({ operation, object }: Purpose, cause: unknown): KernelError {
  return new KernelError('socket', operation, object, reason(cause), { cause });
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
