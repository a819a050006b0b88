import fc from 'fast-check';
import t from 'tap';
import { FLOW_KEY_WORDS, FlowTable, flowCapacity, NO_FLOW } from '../../src/balancer/flow-table.ts';

const seed = [0x1234567, -0x7654321] as const;

/** A key that differs from others in one word: the client's number there, everything else the same. */
function key(client: number, word = 3): Int32Array {
  const words = new Int32Array(FLOW_KEY_WORDS);
  words[word] = client;
  return words;
}

t.test('each word of the key counts', async (t) => {
  const table = new FlowTable({ capacity: 64, seed });
  const flows = new Set<number>();
  for (let word = 0; word < FLOW_KEY_WORDS; word++) flows.add(table.insert(key(7, word), 0));
  t.equal(flows.size, FLOW_KEY_WORDS);
  for (let word = 0; word < FLOW_KEY_WORDS; word++) t.ok(flows.has(table.find(key(7, word))));
  t.equal(table.find(key(8)), NO_FLOW);
  t.equal(table.size, FLOW_KEY_WORDS);
});

t.test('U2: a flow expires when it was idle for its time, and not before', async (t) => {
  const table = new FlowTable({ capacity: 4, seed, briefIdleMs: 30, lastingIdleMs: 120 });
  const silent = table.insert(key(1), 0);
  const conversation = table.insert(key(2), 0);
  table.answered(conversation, 0);
  table.touch(conversation, 0);
  t.equal(table.expired(29), NO_FLOW);
  t.equal(table.expired(30), silent);
  table.remove(silent);
  t.equal(table.find(key(1)), NO_FLOW);
  t.equal(table.expired(119), NO_FLOW);
  t.equal(table.expired(120), conversation);
});

t.test('a single exchange is brief; when the client comes back after an answer, the flow lasts', async (t) => {
  const table = new FlowTable({ capacity: 4, seed, briefIdleMs: 30, lastingIdleMs: 120 });
  const flow = table.insert(key(1), 0);
  table.touch(flow, 1);
  table.answered(flow, 2);
  table.answered(flow, 3);
  t.equal(table.expired(33), flow);
  table.touch(flow, 34);
  t.equal(table.expired(153), NO_FLOW);
  t.equal(table.expired(154), flow);
});

t.test('traffic of one side keeps a flow alive', async (t) => {
  const table = new FlowTable({ capacity: 4, seed, briefIdleMs: 30, lastingIdleMs: 120 });
  const fromClient = table.insert(key(1), 0);
  const fromEndpoint = table.insert(key(2), 0);
  for (let now = 0; now <= 1_000; now += 25) {
    table.touch(fromClient, now);
    table.answered(fromEndpoint, now);
    t.equal(table.expired(now), NO_FLOW);
  }
});

t.test('when it is full, the longest idle brief flow makes room; of the lasting ones only idle ones do', async (t) => {
  const table = new FlowTable({ capacity: 3, seed, briefIdleMs: 30 });
  const [first, second, third] = [1, 2, 3].map((client) => table.insert(key(client), client)) as [
    number,
    number,
    number,
  ];
  t.equal(table.insert(key(4), 4), NO_FLOW);
  t.equal(table.evictable(4), first);
  table.touch(first, 4);
  t.equal(table.evictable(4), second);
  for (const flow of [second, first]) {
    table.answered(flow, 5);
    table.touch(flow, 5);
  }
  t.equal(table.evictable(6), third);
  table.remove(third);
  t.equal(table.insert(key(4), 6), third);
  table.answered(third, 7);
  t.equal(table.evictable(7), third, 'a single exchange is over');
  table.touch(third, 8);
  t.equal(table.evictable(34), NO_FLOW);
  t.equal(table.evictable(35), second);
});

t.test('it does what a map does, whatever is added and removed', async (t) => {
  const operation = fc.record({ client: fc.nat(40), what: fc.constantFrom('add', 'remove', 'answer', 'expire') });
  const property = fc.property(fc.array(operation, { maxLength: 300 }), fc.integer(), (operations, word) => {
    const table = new FlowTable({ capacity: 16, seed: [word, ~word], briefIdleMs: 20, lastingIdleMs: 60 });
    const model: Model = new Map();
    let now = 0;
    for (const { client, what } of operations) {
      now += 1;
      apply(table, model, client, what, now);
      if (table.size !== model.size) throw new Error('size');
      for (const [known, { flow }] of model) if (table.find(key(known)) !== flow) throw new Error(`lost ${known}`);
      if (new Set(table.flows()).size !== model.size) throw new Error('lists');
    }
  });
  t.doesNotThrow(() => fc.assert(property));
});

type Model = Map<number, { flow: number; seen: number; stage: 'waiting' | 'answered' | 'lasting' }>;

function apply(table: FlowTable, model: Model, client: number, what: string, now: number): void {
  const known = model.get(client);
  if (what === 'add' && known === undefined) {
    const flow = table.insert(key(client), now);
    if ((flow === NO_FLOW) !== model.size >= table.capacity) throw new Error('capacity');
    if (flow !== NO_FLOW) model.set(client, { flow, seen: now, stage: 'waiting' });
  } else if (what === 'add' && known !== undefined) {
    table.touch(known.flow, now);
    known.seen = now;
    if (known.stage === 'answered') known.stage = 'lasting';
  } else if (what === 'answer' && known !== undefined) {
    table.answered(known.flow, now);
    known.seen = now;
    if (known.stage === 'waiting') known.stage = 'answered';
  } else if (what === 'remove' && known !== undefined) {
    table.remove(known.flow);
    model.delete(client);
  } else if (what === 'expire') {
    for (let flow = table.expired(now); flow !== NO_FLOW; flow = table.expired(now)) table.remove(flow);
    for (const [name, entry] of model)
      if (now - entry.seen >= (entry.stage === 'lasting' ? 60 : 20)) model.delete(name);
  }
}

t.test('keys that differ in few bits spread over the whole table', async (t) => {
  const table = new FlowTable({ capacity: 8192, seed });
  const clients = Array.from({ length: 8192 }, (_, client) => key(client << 16, 5));
  const flows = clients.map((client) => table.insert(client, 0));
  t.equal(new Set(flows).size, 8192);
  t.strictSame(
    clients.map((client) => table.find(client)),
    flows,
  );
});

t.test('a size that makes no sense is an error', async (t) => {
  t.throws(() => new FlowTable({ capacity: 0, seed }), /1 to 16777216 flows, not 0/);
});

t.test('whoever invents addresses leaves half of the descriptors to connections', async (t) => {
  for (const workers of [1, 2, 8, 16])
    for (const limit of [1024, 4096, 1 << 20])
      t.ok(2 * workers * flowCapacity(limit, workers) <= limit / 2, `${workers} workers, ${limit} descriptors`);
  t.equal(flowCapacity(4096, 2), 512);
  t.equal(flowCapacity(1 << 20, 2), 65_536, 'and so much memory');
  t.ok(flowCapacity(64, 32) > 0);
});
