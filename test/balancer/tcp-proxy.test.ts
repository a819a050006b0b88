import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { descriptorLimit } from '../../src/native/rlimit.ts';
import { refusingPort } from '../support/ports.ts';
import { ask, dial, endpoint, ending, openDescriptors, readAll, TcpRig } from '../support/tcp-rig.ts';

const MEGABYTE = 1024 * 1024;
const sha256 = (): ReturnType<typeof createHash> => createHash('sha256');

async function withRig(workers: number, run: (rig: TcpRig) => Promise<void>): Promise<void> {
  const rig = await TcpRig.start(workers);
  try {
    await run(rig);
  } finally {
    await rig.stop();
  }
}

/** Answers its name to whoever connects, and hangs up. */
const answers = (name: string) => (socket: Socket) => void socket.end(name);
const echo = (socket: Socket): void => void socket.pipe(socket);

async function sendPieces(socket: Socket, megabytes: number, piece: Buffer): Promise<string> {
  const hash = sha256();
  for (let i = 0; i < megabytes; i++) {
    piece.writeUInt32LE(i, 0);
    const copy = Buffer.from(piece);
    hash.update(copy);
    if (!socket.write(copy)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

async function receiveHash(socket: Socket): Promise<string> {
  const hash = sha256();
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

t.test('T1: 64 MB arrive intact, server first, four at once', async (t) => {
  await withRig(2, async (rig) => {
    const sent: Promise<string>[] = [];
    const port = await rig.serve((socket) => sent.push(sendPieces(socket, 64, randomBytes(MEGABYTE))));
    const front = await rig.publish(endpoint(0, port));
    const got = await Promise.all(Array.from({ length: 4 }, async () => receiveHash(await dial(front.port))));
    t.same(got.sort(), (await Promise.all(sent)).sort());
    t.equal(rig.plane.endpointCounters(0).bytesToClient, 4 * 64 * MEGABYTE);
  });
});

t.test('T1: 64 MB arrive intact, client first, four at once', async (t) => {
  await withRig(2, async (rig) => {
    const port = await rig.serve((socket) => void receiveHash(socket).then((hash) => socket.end(hash)));
    const front = await rig.publish(endpoint(0, port));
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const socket = await dial(front.port);
        const sent = await sendPieces(socket, 64, randomBytes(MEGABYTE));
        t.equal((await readAll(socket)).toString(), sent);
      }),
    );
    t.equal(rig.plane.endpointCounters(0).bytesToEndpoint, 4 * 64 * MEGABYTE);
    await rig.until(() => rig.plane.frontendCounters(front.id).active === 0);
    t.same(rig.plane.frontendCounters(front.id), { accepted: 4, failed: 0, denied: 0, active: 0 });
  });
});

t.test('T2: after either side has ended its half, the other half goes on', async (t) => {
  await withRig(1, async (rig) => {
    const port = await rig.serve((socket) => {
      void readAll(socket).then((question) => {
        socket.write('you said ');
        setImmediate(() => socket.end(question));
      });
    });
    const clientEnds = await dial((await rig.publish(endpoint(0, port))).port);
    clientEnds.end('hello');
    t.equal((await readAll(clientEnds)).toString(), 'you said hello');

    let heard: Promise<Buffer> | undefined;
    const talker = await rig.serve((socket) => {
      heard = readAll(socket);
      socket.end('bye');
    });
    const serverEnds = await dial((await rig.publish(endpoint(1, talker))).port);
    t.equal((await readAll(serverEnds)).toString(), 'bye');
    serverEnds.write('still ');
    await rig.plane.barrier();
    serverEnds.end('here');
    t.equal((await heard)?.toString(), 'still here');
  });
});

t.test('a reset by either side is passed on as a reset', async (t) => {
  await withRig(1, async (rig) => {
    let server: Socket | undefined;
    const port = await rig.serve((socket) => {
      server = socket;
      socket.write('x');
    });
    const front = await rig.publish(endpoint(0, port));
    const client = await dial(front.port);
    await once(client, 'data');
    const clientEnding = ending(client);
    server?.resetAndDestroy();
    t.equal(await clientEnding, 'ECONNRESET');

    const other = await dial(front.port);
    await once(other, 'data');
    const serverEnding = ending(server as Socket);
    other.resetAndDestroy();
    t.equal(await serverEnding, 'ECONNRESET');
    await rig.until(() => rig.plane.frontendCounters(front.id).active === 0);
  });
});

t.test('T5: one order for all workers: 30 connections are 15/15, with weights 1:2 10/20', async (t) => {
  await withRig(2, async (rig) => {
    const [a, b] = [await rig.serve(answers('a')), await rig.serve(answers('b'))];
    for (const [weight, expected] of [
      [1, { a: 15, b: 15 }],
      [2, { a: 10, b: 20 }],
    ] as const) {
      const front = await rig.publish(endpoint(0, a), endpoint(1, b, { weight }));
      const counts: Record<string, number> = {};
      const names = await Promise.all(Array.from({ length: 30 }, () => ask(front.port)));
      for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
      t.same(counts, expected);
    }
  });
});

t.test('T6: one of three endpoints refuses; no client notices', async (t) => {
  await withRig(2, async (rig) => {
    const [a, b] = [await rig.serve(answers('ok')), await rig.serve(answers('ok'))];
    const front = await rig.publish(endpoint(0, a), endpoint(1, refusingPort()), endpoint(2, b));
    const names = await Promise.all(Array.from({ length: 30 }, () => ask(front.port)));
    t.same(new Set(names), new Set(['ok']));
    t.equal(rig.plane.endpointCounters(1).total, 0);
    t.ok(rig.plane.endpointCounters(1).failures >= 1);
    t.equal(rig.plane.endpointCounters(0).total + rig.plane.endpointCounters(2).total, 30);
  });
});

t.test('T7: when all refuse, or there is none, the client is reset at once', async (t) => {
  await withRig(1, async (rig) => {
    const refused = await rig.publish(endpoint(0, refusingPort()), endpoint(1, refusingPort()));
    t.equal(await ask(refused.port), 'ECONNRESET');
    t.same(rig.plane.frontendCounters(refused.id), { accepted: 1, failed: 1, denied: 0, active: 0 });
    t.same(
      [0, 1].map((slot) => rig.plane.endpointCounters(slot).failures),
      [1, 1],
    );
    const none = await rig.publish();
    t.equal(await ask(none.port), 'ECONNRESET');
    rig.plane.post({ kind: 'backend-remove', id: none.id });
    await rig.plane.barrier();
    t.equal(await ask(none.port), 'ECONNRESET');
  });
});

t.test('a change of the backend concerns new connections only', async (t) => {
  await withRig(1, async (rig) => {
    const [a, b] = [await rig.serve(echo), await rig.serve(answers('b'))];
    const front = await rig.publish(endpoint(0, a));
    const old = await dial(front.port);
    old.write('1');
    t.equal(String(((await once(old, 'data')) as [Buffer])[0]), '1');
    rig.backend(front.id, [endpoint(1, b)]);
    await rig.plane.barrier();
    t.equal(await ask(front.port), 'b');
    old.write('2');
    t.equal(String(((await once(old, 'data')) as [Buffer])[0]), '2');
    t.equal(rig.plane.endpointCounters(0).active, 1);

    const end = ending(old);
    rig.plane.post({ kind: 'endpoint-close', slots: [0, 7] });
    t.equal(await end, 'ECONNRESET', 'until its drain time is over');
    await rig.until(() => rig.plane.endpointCounters(0).active === 0);
  });
});

t.test('a frontend that is removed takes no more connections and keeps those that are open', async (t) => {
  await withRig(1, async (rig) => {
    const front = await rig.publish(endpoint(0, await rig.serve(echo)));
    const old = await dial(front.port);
    old.write('1');
    await once(old, 'data');
    rig.plane.post({ kind: 'frontend-remove', id: front.id });
    await rig.plane.barrier();
    const waiting = await dial(front.port);
    old.end('2');
    t.equal((await readAll(old)).toString(), '2');
    await rig.plane.barrier();
    t.equal(rig.plane.frontendCounters(front.id).accepted, 1, 'who came since waits in the kernel');
    waiting.destroy();
  });
});

t.test('VIPs: the address and port that the client asked for choose the backend and the port', async (t) => {
  await withRig(1, async (rig) => {
    const [a, b] = [await rig.serve(answers('a')), await rig.serve(answers('b'))];
    const vips = await rig.listen({ kind: 'vips', network: 3, netns: 0 }, '::');
    const ports = (port: number) => ({ portMap: [{ targetPort: vips.port, port }] });
    rig.backend(100, [endpoint(0, a, ports(a))]);
    rig.backend(101, [endpoint(1, b, ports(b))]);
    rig.plane.post({ kind: 'vip-set', network: 3, address: '127.0.0.5', backend: 100 });
    rig.plane.post({ kind: 'vip-set', network: 3, address: '::1', backend: 101 });
    rig.plane.post({ kind: 'vip-set', network: 4, address: '127.0.0.6', backend: 101 });
    await rig.plane.barrier();
    t.equal(await ask(vips.port, '127.0.0.5'), 'a');
    t.equal(await ask(vips.port, '::1'), 'b');
    t.equal(rig.plane.total(TOTAL.strayConnections), 0);
    t.equal(await ask(vips.port, '127.0.0.6'), 'ECONNRESET', 'a VIP of another network');
    rig.plane.post({ kind: 'vip-set', network: 3, address: '127.0.0.5', backend: null });
    await rig.plane.barrier();
    t.equal(await ask(vips.port, '127.0.0.5'), 'ECONNRESET', 'a VIP that is gone');
    t.equal(rig.plane.total(TOTAL.strayConnections), 2);
  });
});

t.test('a target port without a mapping is connected to as it is', async (t) => {
  await withRig(1, async (rig) => {
    const port = await rig.serve(answers('same'), '::1');
    rig.backend(50, [endpoint(0, 0, { address: '::1', portMap: [{ targetPort: 80, port: 1 }] })]);
    const front = await rig.listen({ kind: 'port', backend: 50, targetPort: port });
    t.equal(await ask(front.port), 'same');
  });
});

/** One client's life, at random: some words, then an end, a reset, or an answer waited for. Returns what went wrong. */
async function live(port: number, random: () => number): Promise<string | undefined> {
  const socket = await dial(port);
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const closed = new Promise<string>((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    socket.once('end', () => resolve('end'));
    socket.once('close', () => resolve('closed'));
  });
  const sent: Buffer[] = [];
  for (let words = Math.floor(random() * 4); words > 0; words--) {
    const word = Buffer.alloc(1 + Math.floor(random() ** 4 * 100_000), Math.floor(random() * 256));
    sent.push(word);
    socket.write(word);
    if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random() < 0.25) {
    socket.resetAndDestroy();
    await closed;
    const [got, all] = [Buffer.concat(received), Buffer.concat(sent)];
    return all.subarray(0, got.length).equals(got) ? undefined : 'other bytes came back before the reset';
  }
  socket.end();
  const how = await closed;
  socket.destroy();
  if (how !== 'end') return how;
  return Buffer.concat(received).equals(Buffer.concat(sent)) ? undefined : 'other bytes came back';
}

t.test('T19: many connections at random: bytes right, all that opened closed, nothing left', async (t) => {
  const before = openDescriptors().length;
  await withRig(2, async (rig) => {
    const front = await rig.publish(endpoint(0, await rig.serve(echo)), endpoint(1, await rig.serve(echo)));
    const idle = openDescriptors().length;
    const { unit } = seededRandom(19);
    // Each takes four descriptors of this process: its own, two of the proxy and the server's.
    const most = Math.min(2000, Math.floor((descriptorLimit() - 200) / 4));
    let opened = 0;
    for (const crowd of [1, 10, 100, most]) {
      const wrong = await Promise.all(Array.from({ length: crowd }, () => live(front.port, unit)));
      t.same(
        wrong.filter((problem) => problem !== undefined),
        [],
        `${crowd} at once`,
      );
      opened += crowd;
    }
    await rig.until(() => rig.plane.frontendCounters(front.id).active === 0);
    t.same(rig.plane.frontendCounters(front.id), { accepted: opened, failed: 0, denied: 0, active: 0 });
    const [a, b] = [rig.plane.endpointCounters(0), rig.plane.endpointCounters(1)];
    t.same([a.active, b.active], [0, 0]);
    t.ok(Math.abs(a.total - b.total) <= opened / 10, `${a.total} and ${b.total} are about half each`);
    await rig.until(() => openDescriptors().length <= idle);
    t.equal(openDescriptors().length, idle);
  });
  // Those of an earlier test may be closed as late as now.
  while (openDescriptors().length > before) await new Promise((resolve) => setImmediate(resolve));
  t.pass('all are closed');
});
