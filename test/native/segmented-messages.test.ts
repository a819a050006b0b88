// Datagrams that the kernel cuts from one message, or hands over as one: they arrive as they were queued, whatever their sizes.
import fc from 'fast-check';
import t from 'tap';
import { DatagramBatch } from '../../src/native/datagram-batch.ts';
import { bindUdp, coalesce, connectUdp } from '../../src/native/datagram-socket.ts';
import { IP_PKTINFO, IPPROTO_IP } from '../../src/native/constants.ts';
import { addressOf, close, type Fd } from '../../src/native/libc.ts';
import { MESSAGE_WORDS, SegmentedMessages } from '../../src/native/segmented-messages.ts';
import { localAddress } from '../../src/native/stream-socket.ts';

const MESSAGES = 16;
const NAME_STRIDE = 32;

/** Datagrams to address `name` with control data `control`; what they are put together to, as counts. */
function put(...datagrams: readonly { readonly size: number; readonly name?: number; readonly control?: number }[]) {
  const queue = new Int32Array(datagrams.length * MESSAGE_WORDS);
  const vectors = new Int32Array(datagrams.length * 4);
  for (const [i, { size, name = 0, control = 0 }] of datagrams.entries()) {
    vectors[i * 4 + 2] = size;
    queue[i * MESSAGE_WORDS] = name;
    queue[i * MESSAGE_WORDS + 10] = control;
  }
  const messages = new SegmentedMessages(queue, vectors);
  const count = messages.build(0, datagrams.length);
  return Array.from({ length: count }, (_, i) => messages.first(i + 1) - messages.first(i));
}

t.test('what becomes one message', async (t) => {
  const sized = (...sizes: readonly number[]) => put(...sizes.map((size) => ({ size })));
  t.same(sized(), []);
  t.same(sized(7), [1]);
  t.same(sized(100, 100, 100), [3]);
  t.same(sized(100, 100, 40, 40), [3, 1], 'a shorter one is the last');
  t.same(sized(40, 100, 100), [1, 2], 'a longer one begins anew');
  t.same(sized(0, 0, 5), [1, 1, 1], 'nothing cannot be cut');
  t.same(sized(5, 0, 5), [1, 1, 1]);
  t.same(sized(1402, 1402), [2]);
  t.same(sized(1403, 1403), [1, 1], 'with headers it is longer than a path may take');
  t.same(sized(...Array.from({ length: 100 }, () => 1)), [64, 36], 'as many as every kernel takes');
  t.same(sized(...Array.from({ length: 60 }, () => 1402)), [46, 14], 'no more than one message holds');
  t.same(put({ size: 9, name: 1 }, { size: 9, name: 1 }, { size: 9, name: 2 }), [2, 1], 'one address');
  t.same(put({ size: 9, control: 65 }, { size: 9, control: 65 }), [1, 1], 'control data that is too long');
});

/** What arrives at a socket, as sizes and first bytes. */
function arrived(batch: DatagramBatch, fd: Fd): readonly string[] {
  const seen: string[] = [];
  for (let count = batch.receive(fd); count > 0; count = batch.receive(fd))
    for (let i = 0; i < count; i++) {
      const bytes = batch.arena.subarray(batch.offset(i), batch.offset(i) + batch.length(i));
      seen.push(`${bytes.length}:${bytes[0] ?? ''}${bytes.every((byte) => byte === bytes[0]) ? '' : ' mixed'}`);
    }
  return seen;
}

t.test('each arrives as it was queued, in order, also at a socket that coalesces', async (t) => {
  const inbox = new DatagramBatch({ messages: MESSAGES, messageBytes: 1 << 16, controlBytes: 64, coalesced: true });
  const out = new DatagramBatch({ messages: MESSAGES, segments: true });
  for (const address of ['127.0.0.1', '::1']) {
    const servers = [bindUdp(address, 0), bindUdp(address, 0, { packetInfo: true })] as const;
    t.ok(coalesce(servers[0]));
    const connected = servers.map((fd) => connectUdp(address, localAddress(fd).port));
    const loose = bindUdp(address, 0, { packetInfo: true });
    // The servers' addresses, as the kernel writes them.
    const names = Buffer.alloc(2 * NAME_STRIDE);
    for (const [i, fd] of servers.entries()) {
      const back = connectUdp(address, localAddress(loose).port);
      const word = new DatagramBatch({ messages: 1 });
      const one = Buffer.from('x');
      word.queue(addressOf(one), 1, 0, 0);
      word.flush(back);
      inbox.receive(loose);
      inbox.sources.copy(names, i * NAME_STRIDE, 0, inbox.sourceLength(0));
      names.writeUInt16BE(localAddress(fd).port, i * NAME_STRIDE + 2);
      close(back);
    }
    const nameLength = inbox.sourceLength(0);
    const size = fc.constantFrom(0, 1, 2, 100, 100, 100, 1402, 1402, 1403, 8000);
    const datagram = fc.record({ size, to: fc.constantFrom(0, 0, 0, 1) });
    fc.assert(
      fc.property(fc.array(datagram, { minLength: 1, maxLength: MESSAGES }), fc.boolean(), (datagrams, isConnected) => {
        const bytes = datagrams.map((one, i) => Buffer.alloc(one.size, i));
        const expected = [0, 1].map((to) =>
          datagrams.flatMap((one, i) => (one.to === to ? [`${one.size}:${one.size > 0 ? i : ''}`] : [])),
        );
        let lost = 0;
        if (isConnected) {
          for (const to of [0, 1]) {
            for (const [i, one] of datagrams.entries())
              if (one.to === to) out.queue(addressOf(bytes[i] as Buffer), one.size, 0, 0);
            lost += out.flush(connected[to] as Fd);
          }
        } else {
          for (const [i, one] of datagrams.entries())
            out.queue(addressOf(bytes[i] as Buffer), one.size, addressOf(names) + one.to * NAME_STRIDE, nameLength);
          lost += out.flush(loose);
        }
        const seen = servers.map((fd) => arrived(inbox, fd));
        return lost === 0 && JSON.stringify(seen) === JSON.stringify(expected);
      }),
      { numRuns: 200 },
    );
    for (const fd of [...servers, ...connected, loose]) close(fd);
  }
  t.equal(out.queued, 0);
});

t.test('a message that is taken apart: each datagram has the sender and the control data of the message', async (t) => {
  const server = bindUdp('::', 0, { packetInfo: true });
  coalesce(server);
  const clients = [0, 1].map(() => connectUdp('127.0.0.1', localAddress(server).port));
  const inbox = new DatagramBatch({ messages: 4, messageBytes: 1 << 16, controlBytes: 192, coalesced: true });
  t.equal(inbox.capacity, 512);
  const out = new DatagramBatch({ messages: 64, segments: true });
  const bytes = Buffer.from('0123456789'.repeat(10));
  const sizes = [Array.from({ length: 64 }, () => 3), [7], [100, 100, 9]];
  for (const [k, one] of sizes.entries()) {
    for (const [i, size] of one.entries()) out.queue(addressOf(bytes) + (size === 3 ? i : 0), size, 0, 0);
    t.equal(out.flush(clients[k % 2] as Fd), 0);
  }
  t.equal(inbox.receive(server), 68);
  const senders = clients.map((fd) => localAddress(fd).port);
  let i = 0;
  for (const [k, one] of sizes.entries()) {
    for (const [place, size] of one.entries()) {
      t.equal(inbox.continues(i), place > 0);
      t.equal(inbox.source(i).port, senders[k % 2]);
      t.ok(inbox.findControl(i, IPPROTO_IP, IP_PKTINFO) > 0);
      const at = inbox.offset(i++);
      const start = size === 3 ? place : 0;
      t.equal(String(inbox.arena.subarray(at, at + size)), String(bytes.subarray(start, start + size)));
    }
  }
  t.same([inbox.length(63), inbox.length(64), inbox.length(67)], [3, 7, 9]);
  t.equal(inbox.receive(server), 0);
  for (const fd of [server, ...clients]) close(fd);
});

t.test('what one refusal costs', async (t) => {
  const server = bindUdp('127.0.0.1', 0);
  const fd = connectUdp('127.0.0.1', localAddress(server).port);
  const gone = connectUdp('127.0.0.1', 9);
  const batch = new DatagramBatch({ messages: 4, segments: true });
  const bytes = Buffer.from('abc');
  const queue = () => {
    for (let i = 0; i < 3; i++) batch.queue(addressOf(bytes) + i, 1, 0, 0);
  };
  queue();
  t.equal(batch.send(gone), 0, 'the kernel has not heard of it yet');
  queue();
  t.equal(batch.send(gone), 111, 'the refusal of those before');
  t.equal(batch.send(fd), 0, 'what was not sent can go elsewhere');
  const inbox = new DatagramBatch({ messages: 4 });
  t.equal(inbox.receive(server), 3);
  t.same(
    [0, 1, 2].map((i) => inbox.arena.toString('latin1', inbox.offset(i), inbox.offset(i) + 1)),
    ['a', 'b', 'c'],
  );
  queue();
  batch.send(gone);
  queue();
  batch.send(gone);
  batch.skip();
  t.equal(batch.clear(), 2);
  t.equal(batch.queued, 0);
  for (const one of [server, fd, gone]) close(one);
});
