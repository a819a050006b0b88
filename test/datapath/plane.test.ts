import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Command } from '../../src/datapath/command.ts';
import { DataPlane } from '../../src/datapath/plane.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ask, dial, endpoint, ending, openDescriptors, TcpRig } from '../support/tcp-rig.ts';

const proxyProcess = fileURLToPath(new URL('fixtures/proxy-process.js', import.meta.url));
const echo = (socket: Socket): void => void socket.pipe(socket);

/** A backend such as no compiler lets through: what a bug in another room would look like to a worker. */
const POISON = { kind: 'backend-set', backend: { id: 77, roundRobinSlot: 77, endpoints: null } } as unknown as Command;

t.test(
  'a worker that dies under load is replaced: its listeners live on, its connections end, nothing leaks',
  async (t) => {
    const rig = await TcpRig.start(2);
    const front = await rig.publish(endpoint(0, await rig.serve(echo)));
    const idle = openDescriptors().length;
    const clients = await Promise.all(Array.from({ length: 40 }, () => dial(front.port)));
    await rig.until(() => rig.plane.endpointCounters(0).total === 40);
    const endings = clients.map(ending);

    const replaced = rig.replaced();
    rig.plane.postTo(0, POISON);
    // Asked while the worker dies: who gets its listener waits in the kernel until the successor takes over.
    const during = Promise.all(Array.from({ length: 40 }, () => say(front.port, 'hello')));
    await replaced;
    t.same(new Set(await during), new Set(['hello']));
    await rig.plane.barrier();

    const lost = (
      await Promise.all(endings.map((how) => Promise.race([how, say(front.port, '').then(() => 'open')])))
    ).filter((how) => how !== 'open');
    t.ok(lost.length > 0 && lost.length < 40, `${lost.length} of 40 connections were the dead worker's`);
    t.same(new Set(await Promise.all(Array.from({ length: 40 }, () => say(front.port, 'again')))), new Set(['again']));

    const errors = rig.lines.filter((line) => line.level === 'error');
    t.equal(errors.length, 2, 'one line for the command, one for the thread');
    t.match(errors[0]?.fields, { worker: 0, command: 'backend-set' });
    t.match(errors[1]?.fields, { worker: 0, stack: /TypeError.*\n.*set-?Backend/is });
    for (const client of clients) client.destroy();
    await rig.until(() => rig.plane.frontendCounters(front.id).active === 0 && openDescriptors().length <= idle);
    t.equal(openDescriptors().length, idle);
    await rig.stop();
  },
);

async function say(port: number, word: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end(word);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

t.test('the successor knows everything that was posted, to all and to it alone', async (t) => {
  const rig = await TcpRig.start(1);
  const [a, b] = [await rig.serve((socket) => void socket.end('a')), await rig.serve((socket) => void socket.end('b'))];
  const front = await rig.publish(endpoint(0, a));
  const gone = await rig.publish(endpoint(1, a));
  rig.plane.post({ kind: 'frontend-remove', id: gone.id });
  rig.backend(front.id, [endpoint(2, b)]);
  const replaced = rig.replaced();
  rig.plane.post(POISON);
  const barrier = rig.plane.barrier();
  await replaced;
  await barrier;
  t.equal(await ask(front.port), 'b');
  t.equal(rig.plane.frontendCounters(gone.id).accepted, 0);
  await rig.stop();
});

t.test('barriers resolve when what was posted before is in effect', async (t) => {
  const rig = await TcpRig.start(2);
  const [a, b] = [await rig.serve((socket) => void socket.end('a')), await rig.serve((socket) => void socket.end('b'))];
  const front = await rig.publish(endpoint(0, a));
  for (const [port, name] of [
    [b, 'b'],
    [a, 'a'],
    [b, 'b'],
  ] as const) {
    rig.backend(front.id, [endpoint(0, port)]);
    await rig.plane.barrier();
    t.same(new Set(await Promise.all([ask(front.port), ask(front.port), ask(front.port)])), new Set([name]));
  }
  await rig.stop();
});

t.test(
  'stop resets open connections, which nobody takes for their end, and leaves no descriptor and no thread',
  async (t) => {
    const before = openDescriptors().length;
    const rig = await TcpRig.start(2);
    const front = await rig.publish(endpoint(0, await rig.serve(echo)));
    const client = await dial(front.port);
    client.write('x');
    await once(client, 'data');
    const [ended, closed] = [ending(client), new Promise((resolve) => client.once('close', resolve))];
    await rig.stop();
    t.equal(await ended, 'ECONNRESET');
    await closed;
    // Those of an earlier test may be closed as late as now.
    while (openDescriptors().length > before) await new Promise((resolve) => setImmediate(resolve));
    t.pass('all are closed');
  },
);

t.test('a plane without workers is refused', async (t) => {
  await t.rejects(DataPlane.start({ workers: 0, log: SILENT_LOG }), RangeError);
});

for (const [how, code] of [
  ['exit', 7],
  ['throw', 1],
  ['return', 0],
] as const) {
  t.test(`a process whose workers sleep ends at once by ${how}`, async (t) => {
    const child = spawn(process.execPath, [proxyProcess, how], { stdio: ['ignore', 'ignore', 'ignore'] });
    t.same(await once(child, 'exit'), [code, null]);
  });
}

t.test('K3: when descriptors run out, open connections go on, and those that wait are served in the end', async (t) => {
  const rig = await TcpRig.start(1);
  const limited = await startLimited(await rig.serve(echo), 64);
  const old = await dial(limited.port);
  const hear = async (word: string): Promise<string> => {
    old.write(word);
    return String(((await once(old, 'data')) as [Buffer])[0]);
  };
  t.equal(await hear('1'), '1');
  const words = Array.from({ length: 100 }, (_, i) => `word ${i}`);
  const answers = Promise.all(words.map((word) => say(limited.port, word)));
  t.equal(await hear('2'), '2');
  t.same(await answers, words);
  t.equal(await hear('3'), '3');
  old.destroy();
  const { exhausted, active } = await limited.finish();
  t.ok(exhausted > 0, `accepting stopped ${exhausted} times`);
  t.equal(active, 0);
  await rig.stop();
});

t.test('K3: a crowd larger than the descriptors, after calm and all at once, is served in the end', async (t) => {
  const rig = await TcpRig.start(1);
  const backendPort = await rig.serve(echo);
  const limited = await startLimited(backendPort, 80);
  for (let crowd = 0; crowd < 3; crowd++) {
    const words = Array.from({ length: 300 }, (_, i) => `${crowd} ${i}`);
    t.same(await Promise.all(words.map((word) => say(limited.port, word))), words);
  }
  const { active } = await limited.finish();
  t.equal(active, 0);
  await rig.stop();
});

/** A proxy in a process of its own that may have few descriptors. */
async function startLimited(backendPort: number, descriptors: number) {
  const command = `ulimit -n ${descriptors} && exec "$0" "$@"`;
  const child = spawn('sh', ['-c', command, process.execPath, proxyProcess, 'serve', String(backendPort)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const port = Number((await lines.next()).value);
  return {
    port,
    /** Lets it end by itself; what it had counted. */
    async finish(): Promise<{ exhausted: number; active: number }> {
      const exited = once(child, 'exit');
      child.stdin.end();
      const counted = JSON.parse(String((await lines.next()).value)) as { exhausted: number; active: number };
      const [code] = await exited;
      if (code !== 0) throw new Error(`the proxy's process ended with ${code}`);
      return counted;
    },
  };
}
