// Several agents' probers in one process, on loopback addresses of their own: presence, suspicion, questions, and what is passed over.
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import t, { type Test } from 'tap';
import { type AppliedState, encodeMessage, newNonce } from '../../src/cluster/probe-message.ts';
import { type DropReason, Prober, type ProberOptions } from '../../src/cluster/prober.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { NodeId } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { type Log, SILENT_LOG } from '../../src/runtime/log.ts';
import { systemRandom } from '../../src/runtime/random.ts';
import { FakeClock } from '../support/fake-clock.ts';

const KEY = Buffer.alloc(32, 1);
const OTHER_KEY = Buffer.alloc(32, 2);
const NOBODY = { address: '127.0.0.99' as IpAddress, port: 9 as PortNumber };
/** Who waits this long waits for ever. */
const LONG_MS = 20_000;

interface Rig {
  readonly prober: Prober;
  readonly id: NodeId;
  readonly instance: string;
  /** `+ID` and `-ID`, in order. */
  readonly suspicions: string[];
  /** Emits `suspicion` with the same text. */
  readonly events: EventEmitter;
  readonly applied: { -readonly [Key in keyof AppliedState]: AppliedState[Key] };
}

let opened = 0;

async function open(t: Test, name: string, more: Partial<ProberOptions> = {}): Promise<Rig> {
  const id = name.repeat(25).slice(0, 25) as NodeId;
  const instance = (++opened).toString(16).padStart(16, '0');
  const [suspicions, events]: [string[], EventEmitter] = [[], new EventEmitter()];
  const applied = { revision: 0, p50Ms: 0, p99Ms: 0, changes: 0, storeAgeMs: 0 };
  const prober = await Prober.open({
    nodeId: id,
    instance,
    key: KEY,
    bind: { address: `127.0.0.${10 + opened}` as IpAddress, port: 0 },
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    applied: () => applied,
    onSuspicion: (nodeId, suspected) => {
      const text = `${suspected ? '+' : '-'}${nodeId[0]}`;
      suspicions.push(text);
      events.emit('suspicion', text);
    },
    ...more,
  });
  t.teardown(() => prober.close());
  return { prober, id, instance, suspicions, events, applied };
}

function acquaint(...rigs: readonly Rig[]): void {
  const places = new Map(rigs.map(({ id, prober }) => [id, prober.place]));
  for (const { prober } of rigs) prober.setPeers(places);
}

/** Until something has become so; the sockets tell of it in their own time. */
async function until(what: () => boolean): Promise<void> {
  const deadline = Date.now() + LONG_MS;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

t.test('three nodes hear of each other', async (t) => {
  const answers: IpAddress[] = [];
  const a = await open(t, 'a', { onAnswer: (from) => answers.push(from) });
  const [b, c] = [await open(t, 'b'), await open(t, 'c')];
  Object.assign(b.applied, { revision: 77, p50Ms: 12, p99Ms: 34, changes: 5, storeAgeMs: 6 });
  acquaint(a, b, c);
  await until(() => [a, b, c].every(({ prober }) => [...prober.peers().values()].every(({ answer }) => answer)));
  t.same([...a.prober.peers().keys()], [b.id, c.id], 'it does not ask itself');
  const view = a.prober.peers().get(b.id);
  t.match(view, { ...b.prober.place, suspected: false });
  t.same(view?.answer?.applied, b.applied);
  t.equal(view?.answer?.instance, b.instance);
  t.ok(view?.rttMs !== undefined && view.rttMs > 0 && view.lastAnswerAt !== undefined);
  t.same([a.suspicions, b.suspicions, c.suspicions], [[], [], []]);
  t.same([...new Set(answers)].sort(), [b, c].map(({ prober }) => prober.place.address).sort());
});

t.test('one dies, is suspected, and ends it by its first answer', async (t) => {
  const [a, b, c] = [await open(t, 'a'), await open(t, 'b'), await open(t, 'c')];
  acquaint(a, b, c);
  await until(() => a.prober.peers().get(c.id)?.answer !== undefined);
  const place = c.prober.place;
  const died = performance.now();
  await c.prober.close();
  await Promise.all([a, b].map(({ events }) => once(events, 'suspicion')));
  t.same([a.suspicions, b.suspicions], [['+c'], ['+c']]);
  t.ok(performance.now() - died > 1400, 'not before it was silent for 2 s');
  t.equal(a.prober.peers().get(c.id)?.suspected, true);
  t.equal(a.prober.peers().get(b.id)?.suspected, false);

  const back = await open(t, 'c', { bind: place });
  acquaint(a, back);
  await until(() => a.suspicions.length === 2);
  t.same(a.suspicions, ['+c', '-c']);
  t.equal(a.prober.counts.suspicions, 1);
});

t.test('a suspected node that is removed is no longer suspected, said once and afterwards', async (t) => {
  const a = await open(t, 'a');
  const [b, c] = ['b'.repeat(25) as NodeId, 'c'.repeat(25) as NodeId];
  a.prober.setPeers(new Map([b, c].map((id) => [id, NOBODY])));
  await until(() => a.suspicions.length === 2);
  a.prober.setPeers(new Map([[b, NOBODY]]));
  a.prober.setPeers(new Map([[b, NOBODY]]));
  t.equal(a.suspicions.length, 2, 'not within the call');
  await until(() => a.suspicions.length === 3);
  a.prober.setPeers(new Map());
  a.prober.setPeers(new Map([[b, NOBODY]]));
  await until(() => a.suspicions.length > 3);
  t.same(a.suspicions.slice(2), ['-c', '-b']);
});

t.test('a suspected node that starts elsewhere stays suspected until it answers there', async (t) => {
  const [a, b] = [await open(t, 'a'), await open(t, 'b')];
  a.prober.setPeers(new Map([[b.id, NOBODY]]));
  await until(() => a.suspicions.length === 1);
  a.prober.setPeers(new Map([[b.id, b.prober.place]]));
  t.equal(a.prober.peers().get(b.id)?.suspected, true);
  await until(() => a.suspicions.length === 2);
  t.equal(a.prober.peers().get(b.id)?.suspected, false);
});

t.test('questions', async (t) => {
  const [a, b] = [await open(t, 'a'), await open(t, 'b')];
  a.prober.setPeers(new Map([[b.id, b.prober.place]]));
  b.applied.revision = 5;
  t.same((await a.prober.ask(b.id, LONG_MS))?.applied, b.applied);
  t.equal((await a.prober.ask(a.id, LONG_MS))?.nodeId, a.id, 'itself');
  t.equal(await a.prober.ask('x' as NodeId, LONG_MS), undefined, 'a stranger is not waited for');
  t.equal(await a.prober.ask(b.id, LONG_MS, AbortSignal.abort()), undefined);

  const { address, port } = b.prober.place;
  t.equal((await a.prober.askAddress(address, port, LONG_MS))?.nodeId, b.id, 'whoever is there');
  t.equal(await a.prober.askAddress(NOBODY.address, NOBODY.port, 300), undefined, 'nobody is there');
  t.equal(
    await a.prober.askAddress(a.prober.place.address, a.prober.place.port, 300),
    undefined,
    'it does not count itself',
  );
  const elsewhere = await open(t, 'b', { key: OTHER_KEY });
  const there = elsewhere.prober.place;
  t.equal(await a.prober.askAddress(there.address, there.port, 300), undefined, 'nor one of another cluster');
  elsewhere.prober.setKey(KEY);
  t.equal((await a.prober.askAddress(there.address, there.port, LONG_MS))?.instance, elsewhere.instance);

  const asking = a.prober.askAddress(NOBODY.address, NOBODY.port, LONG_MS);
  await a.prober.close();
  t.equal(await asking, undefined, 'until it is closed');
  t.equal(await a.prober.ask(b.id, LONG_MS), undefined);
});

t.test('waiting until a revision is in effect', async (t) => {
  const [a, b, c] = [await open(t, 'a'), await open(t, 'b'), await open(t, 'c')];
  acquaint(a, b, c);
  b.applied.revision = 9;
  c.applied.revision = 10;
  const waiting = a.prober.waitApplied([b.id, c.id], 10, LONG_MS);
  await until(() => b.prober.counts.requestsAnswered >= 2);
  b.applied.revision = 11;
  t.same(await waiting, []);
  t.same(await a.prober.waitApplied([c.id, b.id], 11, 5000), [c.id], 'one that is behind');
  t.same(await a.prober.waitApplied([], 11, LONG_MS), []);

  const itself = a.prober.waitApplied([a.id, a.id], 3, LONG_MS);
  a.applied.revision = 3;
  t.same(await itself, []);

  const stranger = 'x'.repeat(25) as NodeId;
  t.same(await a.prober.waitApplied([stranger, b.id], 11, LONG_MS), [stranger]);
  const gone = a.prober.waitApplied([b.id, c.id], 12, LONG_MS);
  a.prober.setPeers(new Map([[b.id, b.prober.place]]));
  const abort = new AbortController();
  const aborted = a.prober.waitApplied([b.id], 12, LONG_MS, abort.signal);
  b.applied.revision = 12;
  t.same(await gone, [c.id], 'a node that has gone is not waited for');
  t.same(await aborted, []);
  const another = a.prober.waitApplied([b.id], 13, LONG_MS, abort.signal);
  abort.abort();
  t.same(await another, [b.id]);
});

t.test('an answer that is lost is asked for again', async (t) => {
  const [a, b] = [await open(t, 'a'), await open(t, 'b')];
  // Between the two: three requests are lost, and the answer to the fourth.
  const relay = createSocket('udp4');
  t.teardown(() => relay.close());
  relay.bind(0, '127.0.0.1');
  await once(relay, 'listening');
  let seen = 0;
  relay.on('message', (bytes, { port }) => {
    const to = port === b.prober.place.port ? a.prober.place : b.prober.place;
    seen++;
    if (seen === 4 || seen > 5) relay.send(bytes, to.port, to.address);
  });
  const place = { address: '127.0.0.1' as IpAddress, port: relay.address().port as PortNumber };
  a.prober.setPeers(new Map([[b.id, place]]));
  b.applied.revision = 2;
  t.same(await a.prober.waitApplied([b.id], 2, LONG_MS), []);
  t.ok(a.prober.counts.requestsSent >= 5);
});

t.test('what is passed over, and counted', async (t) => {
  const lines: string[] = [];
  const keep = (message: string, fields?: Readonly<Record<string, unknown>>) =>
    lines.push(`${message}: ${String(fields?.reason)}`);
  const log: Log = { ...SILENT_LOG, debug: keep, warn: keep };
  const [a, b] = [await open(t, 'a', { log }), await open(t, 'b')];
  const stranger = createSocket('udp4');
  t.teardown(() => stranger.close());
  stranger.bind(0, '127.0.0.1');
  await once(stranger, 'listening');
  const { address, port } = a.prober.place;
  const throwAt = (bytes: Buffer) => stranger.send(bytes, port, address);
  const nonce = () => newNonce(systemRandom);
  const request = { kind: 'request', from: b.id, to: a.id } as const;
  const answer = { kind: 'answer', from: b.id, to: a.id, instance: '0'.repeat(16), applied: b.applied } as const;
  const twice = encodeMessage({ ...request, nonce: nonce() }, KEY);
  const rows: readonly (readonly [DropReason, readonly Buffer[]])[] = [
    ['malformed', [Buffer.from([1, 2, 3]), Buffer.alloc(0), Buffer.alloc(9000, 1)]],
    ['other-version', [Buffer.alloc(116, 9)]],
    ['wrong-key', [encodeMessage({ ...request, nonce: nonce() }, OTHER_KEY), Buffer.alloc(116, 1)]],
    ['misdirected', [encodeMessage({ ...request, to: b.id, nonce: nonce() }, KEY)]],
    ['replayed', [twice, twice, twice]],
    ['stale', [encodeMessage({ ...answer, nonce: nonce() }, KEY)]],
  ];
  for (const [reason, datagrams] of rows) {
    const expected = reason === 'replayed' ? datagrams.length - 1 : datagrams.length;
    for (const bytes of datagrams) throwAt(bytes);
    await until(() => a.prober.counts.dropped[reason] === expected);
  }
  t.equal(a.prober.counts.requestsAnswered, 1, 'the one request that was good');
  t.same(a.prober.counts.dropped, {
    malformed: 3,
    'other-version': 1,
    'wrong-key': 2,
    misdirected: 1,
    replayed: 2,
    stale: 1,
    'wrong-source': 0,
  });
  t.same(
    lines,
    rows.map(([reason]) => `probe passed over: ${reason}`),
    'one line for each reason',
  );
});

t.test('an answer counts only from where was asked', async (t) => {
  const [a, b] = [await open(t, 'a'), await open(t, 'b')];
  const [front, back] = [createSocket('udp4'), createSocket('udp4')];
  for (const socket of [front, back]) {
    t.teardown(() => socket.close());
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
  }
  front.on('message', (bytes) => back.send(bytes, b.prober.place.port, b.prober.place.address));
  back.on('message', (bytes) => back.send(bytes, a.prober.place.port, a.prober.place.address));
  const place = { address: '127.0.0.1' as IpAddress, port: front.address().port as PortNumber };
  a.prober.setPeers(new Map([[b.id, place]]));
  t.same(await a.prober.waitApplied([b.id], 0, 3000), [b.id]);
  t.ok(a.prober.counts.dropped['wrong-source'] > 0);
  t.equal(a.prober.peers().get(b.id)?.answer, undefined);
});

t.test('another node at the address of one', async (t) => {
  const [a, b] = [await open(t, 'a'), await open(t, 'b')];
  const c = 'c'.repeat(25) as NodeId;
  a.prober.setPeers(new Map([[c, b.prober.place]]));
  await until(() => a.suspicions.length === 1);
  t.same(a.suspicions, ['+c']);
  t.ok(b.prober.counts.dropped.misdirected >= 27);
});

t.test('IPv6, and IPv4 through the same socket', async (t) => {
  const six = await open(t, 'a', { bind: { address: '::1' as IpAddress, port: 0 } });
  const all = await open(t, 'b', { bind: { address: '::' as IpAddress, port: 0 } });
  const four = await open(t, 'c');
  const { port } = all.prober.place;
  six.prober.setPeers(new Map([[all.id, { address: '::1' as IpAddress, port }]]));
  four.prober.setPeers(new Map([[all.id, { address: '127.0.0.1' as IpAddress, port }]]));
  all.prober.setPeers(new Map([six, four].map(({ id, prober }) => [id, prober.place])));
  t.same(await six.prober.waitApplied([all.id], 0, LONG_MS), []);
  t.same(await all.prober.waitApplied([six.id, four.id], 0, LONG_MS), []);
  six.prober.setPeers(new Map([[four.id, { address: '127.0.0.1' as IpAddress, port }]]));
  t.same(await six.prober.waitApplied([four.id], 0, 100), [four.id], 'there is no way from one to the other');
  t.ok(six.prober.counts.sendErrors > 0);
});

t.test('a standstill of this process makes nobody suspect', async (t) => {
  const fake = new FakeClock();
  let stoodStill = 0;
  const clock: Clock = {
    now: () => fake.now() + stoodStill,
    wallTime: () => fake.wallTime() + stoodStill,
    schedule: (delayMs, run) => fake.schedule(delayMs, run),
  };
  const [a, b] = [await open(t, 'a', { clock }), await open(t, 'b')];
  a.prober.setPeers(new Map([[b.id, b.prober.place]]));
  const answers = () => a.prober.counts.answersReceived;
  for (let round = 0; round < 5; round++) {
    const before = answers();
    await fake.advance(500);
    await until(() => answers() > before);
  }
  const before = answers();
  stoodStill = 30_000;
  await fake.advance(500);
  t.equal(a.prober.counts.stalls, 1, 'its timer was 30 s late');
  t.same(a.suspicions, []);
  await until(() => answers() > before);
  t.equal(a.prober.peers().get(b.id)?.suspected, false);
});

t.test('an id that fits into no message is not asked', async (t) => {
  const a = await open(t, 'a');
  a.prober.setPeers(new Map([['z'.repeat(30) as NodeId, NOBODY]]));
  t.equal(a.prober.peers().size, 0);
});

t.test('where it cannot listen', async (t) => {
  const a = await open(t, 'a');
  const { address, port } = a.prober.place;
  await t.rejects(open(t, 'b', { bind: { address, port } }), {
    code: 'port-in-use',
    message: new RegExp(`${address}:${port}, .*in use`),
  });
  const elsewhere = { address: '192.0.2.1' as IpAddress, port: 0 };
  await t.rejects(open(t, 'b', { bind: elsewhere }), { code: 'no-address', message: /192.0.2.1:0, .*ip address/ });
  await t.rejects(open(t, 'b', { key: Buffer.alloc(31) }), RangeError);
});
