import t from 'tap';
import {
  ADDRESSES,
  type ConnectionNotes,
  ConnectionQueue,
  emptyAddresses,
  QUEUE_BYTES,
} from '../../src/balancer/connection-record.ts';
import { writeSockaddr } from '../../src/native/sockaddr.ts';

const addresses = emptyAddresses();
writeSockaddr(addresses, ADDRESSES.client, '2001:db8::7', 40_000);
writeSockaddr(addresses, ADDRESSES.frontend, '192.0.2.1', 8080, true);

const NOTES: ConnectionNotes = {
  addresses,
  service: 7,
  slot: -1,
  method: 'source-hash',
  isAffine: true,
  isLocal: false,
  tried: [
    { slot: 3, failure: 'refused' },
    { slot: 4, failure: 'silent' },
  ],
  failures: 2,
  connectMs: -1,
  totalMs: 12.5,
  bytesToEndpoint: 2 ** 40,
  bytesToClient: 0,
  end: 'no endpoint took it',
};

t.test('what is written is read, in that order', (t) => {
  const memory = new SharedArrayBuffer(QUEUE_BYTES);
  const [writer, reader] = [new ConnectionQueue(memory), new ConnectionQueue(memory)];
  t.equal(reader.read(), undefined);
  t.ok(writer.write(NOTES));
  t.ok(
    writer.write({ ...NOTES, slot: 9, end: 'FIN by client', isAffine: false, isLocal: true, tried: [], failures: 0 }),
  );
  const { addresses: _, ...plain } = NOTES;
  t.same(reader.read(), {
    ...plain,
    client: { address: '2001:db8::7', port: 40_000 },
    frontend: { address: '192.0.2.1', port: 8080 },
    endpoint: undefined,
  });
  t.match(reader.read(), { slot: 9, end: 'FIN by client', isAffine: false, isLocal: true, tried: [], failures: 0 });
  t.equal(reader.read(), undefined);
  t.end();
});

t.test('of many attempts the first are named and all are counted', (t) => {
  const queue = new ConnectionQueue(new SharedArrayBuffer(QUEUE_BYTES));
  const tried = [1, 2, 3, 4].map((slot) => ({ slot, failure: 'refused' as const }));
  queue.write({ ...NOTES, tried, failures: 9 });
  t.match(queue.read(), { failures: 9, tried: [{ slot: 1 }, { slot: 2 }, { slot: 3 }, { slot: 4 }] });
  t.end();
});

t.test('where there is no room, records are counted and lost, and the rest goes on', (t) => {
  const memory = new SharedArrayBuffer(16 + 3 * 152);
  const [writer, reader] = [new ConnectionQueue(memory), new ConnectionQueue(memory)];
  const write = (service: number) => writer.write({ ...NOTES, service });
  const read = () => reader.read()?.service;
  for (let round = 0; round < 5; round++) {
    t.same([write(1), write(2), write(3), write(4), write(5)], [true, true, true, false, false]);
    t.same([read(), read()], [1, 2]);
    t.ok(write(6), 'room again');
    t.same([read(), read(), read()], [3, 6, undefined]);
    t.equal(reader.dropped, 2 * (round + 1));
  }
  t.end();
});
