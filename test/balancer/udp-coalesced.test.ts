// Datagrams that come as one message, from clients and endpoints that let the kernel cut (UDP_SEGMENT) and join (UDP_GRO), as QUIC's do.
import fc from 'fast-check';
import t from 'tap';
import type { FrontendTarget } from '../../src/balancer/command.ts';
import { DatagramBatch, WHOLE_MESSAGE_BYTES } from '../../src/native/datagram-batch.ts';
import { bindUdp, coalesce, connectUdp, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { addressOf, close, type Fd } from '../../src/native/libc.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { ENDPOINT, TOTAL } from '../../src/runtime/worker-env.ts';
import { unusedPort } from '../support/ports.ts';
import { Rig } from './udp-harness.ts';

const PUBLISHED: FrontendTarget = { kind: 'port', backend: 0, targetPort: 53 };
const VIPS: FrontendTarget = { kind: 'vips', network: 3, netns: 0 };
const VIP = '127.64.0.8';
const RECEIVE_BYTES = 4 << 20;

/** A socket that coalesces, if it is to, and what it sends and takes. */
class End {
  readonly fd: Fd;
  /** Datagrams that came in one message with the one before. */
  joined = 0;
  readonly #batch = new DatagramBatch({
    messages: 256,
    messageBytes: WHOLE_MESSAGE_BYTES,
    controlBytes: 32,
    segments: true,
    coalesced: true,
  });

  constructor(fd: Fd, coalesces: boolean) {
    this.fd = fd;
    enlargeReceiveBuffer(fd, RECEIVE_BYTES);
    if (coalesces) coalesce(fd);
  }

  send(datagrams: readonly Buffer[]): void {
    for (const one of datagrams) {
      if (this.#batch.full) this.#batch.flush(this.fd);
      this.#batch.queue(addressOf(one), one.length, 0, 0);
    }
    this.#batch.flush(this.fd);
  }

  take(): Buffer[] {
    return this.#taken(this.#batch.receive(this.fd));
  }

  /** Sends everything back that has come, together. */
  echo(): number {
    const count = Math.max(0, this.#batch.receive(this.fd));
    this.#taken(count);
    for (let i = 0; i < count; i++) {
      if (this.#batch.full) this.#batch.flush(this.fd);
      this.#batch.queueReply(i, this.#batch.arenaAddress + this.#batch.offset(i), this.#batch.length(i));
    }
    this.#batch.flush(this.fd);
    return count;
  }

  #taken(count: number): Buffer[] {
    const taken: Buffer[] = [];
    for (let i = 0; i < count; i++) {
      const at = this.#batch.offset(i);
      if (this.#batch.continues(i)) this.joined++;
      taken.push(Buffer.from(this.#batch.arena.subarray(at, at + this.#batch.length(i))));
    }
    return taken;
  }
}

for (const [what, target, address] of [
  ['a published port', PUBLISHED, '127.0.0.1'],
  ['a VIP', VIPS, VIP],
] as const) {
  for (const coalesces of [true, false]) {
    const ends = coalesces ? 'join' : 'do not join';
    t.test(
      `${what}, between ends that ${ends}: everybody gets each of their own back, whole and in order`,
      async (t) => {
        const rig = new Rig(t);
        const server = new End(bindUdp('127.0.0.1', 0), coalesces);
        t.teardown(() => close(server.fd));
        const port =
          target === PUBLISHED
            ? await rig.proxy.listen(0, '::', target)
            : await rig.proxy.listen(0, '::', target, { originalDestination: true, reuseAddress: true });
        const served = { targetPort: target === PUBLISHED ? 53 : port, port: localAddress(server.fd).port };
        await rig.proxy.setEndpoints(0, { slot: 1, address: '127.0.0.1', portMap: [served], netns: 0, weight: 1 });
        await rig.proxy.post({ kind: 'vip-set', network: 3, address: VIP, backend: 0 });
        const clients = Array.from({ length: 3 }, () => new End(connectUdp(address, port), coalesces));
        t.teardown(() => {
          for (const { fd } of clients) close(fd);
        });
        // Everything fits the smallest buffer on the way, also when nobody reads meanwhile.
        const small = fc.array(fc.constantFrom<number[]>(0, 1, 2, 100, 100, 100), { minLength: 1, maxLength: 80 });
        const mixed = fc.array(fc.constantFrom<number[]>(0, 100, 1200, 1200, 1402, 1402, 1403, 2000), {
          minLength: 1,
          maxLength: 14,
        });
        const turn = fc.record({ who: fc.nat(2), sizes: fc.oneof(small, mixed) });
        let all = 0;
        const property = fc.asyncProperty(fc.array(turn, { minLength: 1, maxLength: 3 }), async (turns) => {
          const sent: Buffer[][] = clients.map(() => []);
          for (const [i, { who, sizes }] of turns.entries()) {
            const datagrams = sizes.map((bytes, k) => Buffer.alloc(bytes, who * 80 + i * 25 + (k % 25)));
            clients[who]?.send(datagrams);
            sent[who]?.push(...datagrams);
          }
          const count = sent.flat().length;
          all += count;
          for (let echoed = 0; echoed < count; await rig.proxy.post()) echoed += server.echo();
          for (const [who, client] of clients.entries()) {
            const wanted = sent[who] as Buffer[];
            const got = client.take();
            for (; got.length < wanted.length; await rig.proxy.post()) got.push(...client.take());
            if (!got.every((one, i) => one.equals(wanted[i] as Buffer))) return false;
          }
          return true;
        });
        await fc.assert(property, { numRuns: 100 });
        t.equal(rig.proxy.total(TOTAL.udpDatagramsDropped), 0);
        t.equal(rig.proxy.total(TOTAL.udpDatagramsToEndpoint), all, 'each is counted');
        t.equal(rig.proxy.total(TOTAL.udpDatagramsToClient), all);
        t.equal(server.joined > 0, coalesces, 'to the endpoint in one message');
        t.equal(
          clients.some(({ joined }) => joined > 0),
          coalesces,
          'and to the client',
        );
      },
    );
  }
}

t.test('one message of a new client is not lost to an endpoint that refuses', async (t) => {
  const rig = new Rig(t);
  const server = new End(bindUdp('127.0.0.1', 0), true);
  t.teardown(() => close(server.fd));
  const endpoint = (slot: number, port: number) => ({
    slot,
    address: '127.0.0.1',
    portMap: [{ targetPort: 53, port }],
    netns: 0,
    weight: 1,
  });
  await rig.proxy.setEndpoints(0, endpoint(1, await unusedPort()), endpoint(2, localAddress(server.fd).port));
  const port = await rig.proxy.listen(0, '::', PUBLISHED);
  const datagrams = Array.from({ length: 60 }, (_, i) => Buffer.from(`datagram ${10 + i}`));
  for (let round = 0; round < 2; round++) {
    const client = new End(connectUdp('127.0.0.1', port), true);
    t.teardown(() => close(client.fd));
    client.send(datagrams);
    const got: Buffer[] = [];
    for (; got.length < datagrams.length; await rig.proxy.post()) got.push(...server.take());
    t.strictSame(got.map(String), datagrams.map(String));
  }
  t.ok(rig.proxy.endpoint(1, ENDPOINT.failures) >= 1, 'it was asked');
  t.equal(rig.proxy.total(TOTAL.udpDatagramsDropped), 0);
});

t.test('what an endpoint answered before it died arrives, also when it came as one message', async (t) => {
  const rig = new Rig(t);
  const fd = bindUdp('127.0.0.1', 0);
  const server = new End(fd, true);
  const port = await rig.proxy.listen(0, '::', PUBLISHED);
  const served = { targetPort: 53, port: localAddress(fd).port };
  await rig.proxy.setEndpoints(0, { slot: 1, address: '127.0.0.1', portMap: [served], netns: 0, weight: 1 });
  const client = new End(connectUdp('127.0.0.1', port), true);
  t.teardown(() => close(client.fd));
  const datagrams = Array.from({ length: 30 }, (_, i) => Buffer.from(`datagram ${10 + i}`));
  const got: Buffer[] = [];
  const echoAll = () => {
    for (let left = datagrams.length; left > 0; ) left -= server.echo();
  };
  for (let round = 1; round <= 2; round++) {
    client.send(datagrams);
    await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsToEndpoint) === round * datagrams.length);
    if (round === 1) echoAll();
    for (; got.length < datagrams.length; await rig.proxy.post()) got.push(...client.take());
  }
  // The worker hears of the client first, and what it then sends is refused while the answers are still waiting.
  await rig.proxy.postBefore(async () => {
    client.send(datagrams);
    echoAll();
    close(fd);
  });
  for (; got.length < 2 * datagrams.length; await rig.proxy.post()) got.push(...client.take());
  t.strictSame(got.map(String), [...datagrams, ...datagrams].map(String));
  await rig.proxy.until(() => rig.proxy.endpoint(1, ENDPOINT.failures) > 0);
  t.equal(rig.proxy.total(TOTAL.udpFlowsActive), 0);
});

t.test('many answers of one endpoint in many messages, and then one for each of many clients', async (t) => {
  const rig = new Rig(t);
  const server = new End(bindUdp('127.0.0.1', 0), true);
  t.teardown(() => close(server.fd));
  const served = { targetPort: 53, port: localAddress(server.fd).port };
  await rig.proxy.setEndpoints(0, { slot: 1, address: '127.0.0.1', portMap: [served], netns: 0, weight: 1 });
  const port = await rig.proxy.listen(0, '::', PUBLISHED);
  const clients = Array.from({ length: 60 }, () => new End(connectUdp('127.0.0.1', port), true));
  t.teardown(() => {
    for (const { fd } of clients) close(fd);
  });
  // Ever longer ones stay single messages, those of one length become one: more datagrams than the proxy sends by one call.
  const sizes = [...Array.from({ length: 58 }, (_, i) => i + 1), ...Array.from({ length: 12 }, () => 100)];
  const sent = clients.map((_, who) => (who === 0 ? sizes : [1300]).map((size, i) => Buffer.alloc(size, who + i)));
  const got = clients.map((): Buffer[] => []);
  const count = sent.flat().length;
  for (let round = 1; round <= 3; round++) {
    for (const [who, client] of clients.entries()) client.send(sent[who] as Buffer[]);
    await rig.proxy.until(() => rig.proxy.total(TOTAL.udpDatagramsToEndpoint) === round * count);
    await rig.proxy.postBefore(async () => {
      for (let left = count; left > 0; ) left -= server.echo();
    });
    for (const [who, client] of clients.entries()) {
      const all = (sent[who] as Buffer[]).length;
      for (got[who] = client.take(); (got[who] as Buffer[]).length < all; await rig.proxy.post())
        got[who]?.push(...client.take());
    }
    t.strictSame(got, sent, `round ${round}`);
  }
});
