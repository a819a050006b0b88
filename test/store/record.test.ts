// Records: what is written is read again, and what is wrong is named.
import fc from 'fast-check';
import t from 'tap';
import { decodeRecord, encodeRecord, type StoredRecord } from '../../src/store/record.ts';
import * as build from '../support/builders.ts';

const service = {
  ...build.service('web', {
    publish: [build.published(8080, 80, { hostAddress: '127.0.0.1' })],
    ports: [build.published(8080, 80)],
    expose: [{ protocol: 'udp', port: 53 as never, name: 'dns' }],
    endpoints: [{ address: build.ip('10.0.0.1'), port: 8080, targetPort: 80 }, { address: build.ip('fd00::1') }],
    health: {
      probe: { kind: 'http', path: '/up', expectStatus: 204 },
      intervalMs: 1000,
      timeoutMs: 500,
      retries: 2,
      startPeriodMs: 0,
    },
  }),
  id: 'svc1' as never,
  networks: [{ networkId: 'net1' as never, aliases: ['www'] }],
  vips: [{ networkId: 'net1' as never, address: build.ip('10.64.0.2') }],
};
const records: readonly StoredRecord[] = [
  {
    kind: 'network',
    value: { ...build.network('n', 'overlay', ['10.64.0.0/24', 'fd00::/64']), id: 'net1' as never, vni: 4096 },
  },
  { kind: 'service', value: service },
  {
    kind: 'service',
    value: {
      ...service,
      previousSpec: { ...service.spec, health: 'none', mode: { kind: 'global' } },
      addedEndpoints: [{ address: build.ip('10.0.0.2') }],
    },
  },
  {
    kind: 'task',
    value: {
      ...build.task(service, 1, {}),
      id: 'task1' as never,
      hostname: 'h',
      pid: 1,
      ownPort: 80,
      portMap: [{ targetPort: 80, port: 8080 }],
      attachments: [
        {
          networkId: 'net1' as never,
          address: build.ip('10.64.0.3'),
          moreAddresses: [build.ip('fd00::3')],
          aliases: ['a'],
        },
      ],
    },
  },
  {
    kind: 'task',
    value: { ...build.task(service, 2, {}), id: 'task2' as never, source: 'attached', netns: '/run/netns/blue' },
  },
  {
    kind: 'node',
    value: { id: 'node1' as never, name: 'one', availability: 'drain', labels: { a: 'b' }, createdAt: 1, updatedAt: 2 },
  },
  { kind: 'stack', value: { name: 'shop', owner: 'node1' as never, content: 'abc', updatedAt: 3 } },
];

t.test('what is written is read again', (t) => {
  const keys = ['network/net1', 'service/svc1', 'service/svc1', 'task/task1', 'task/task2', 'node/node1', 'stack/shop'];
  records.forEach((record, n) => {
    const { key, value } = encodeRecord(record);
    t.equal(key, keys[n]);
    t.same(decodeRecord(key, value), record);
    const later = JSON.stringify({ ...JSON.parse(value), fromTheFuture: { x: 1 } });
    t.same(decodeRecord(key, later), record, 'fields that are not known are passed over');
  });
  for (const key of ['head', 'self', 'other/x', '', '/', 'toString/x'])
    t.equal(decodeRecord(key, 'anything'), undefined, key);
  t.end();
});

t.test('what is wrong is named', (t) => {
  const table: readonly (readonly [string, (value: Readonly<Record<string, readonly object[]>>) => unknown, RegExp])[] =
    [
      [
        'service/svc1',
        (v) => ({ ...v, ports: [{ ...v.ports?.[0], publishedPort: '80' }] }),
        /field ports\[0\]\.publishedPort: expected a port of 1 to 65535;/,
      ],
      [
        'service/svc1',
        (v) => ({ ...v, vips: [{ networkId: 'net1', address: '10.64.0.02' }] }),
        /field vips\[0\]\.address: expected an IP address in its usual form;/,
      ],
      [
        'service/svc1',
        (v) => ({ ...v, spec: { ...v.spec, name: 7 } }),
        /field spec\.name: .*expected string, received number;/,
      ],
      ['service/svc2', (v) => v, /record service\/svc2: it holds service svc1;/],
      ['service/svc1', () => [], /field \(the whole\): .*expected object/],
      ['network/net1', (v) => ({ ...v, subnets: ['10.64.0.1/24'] }), /field subnets\[0\]: expected a subnet such as/],
      ['network/net1', (v) => ({ ...v, vni: 2 ** 24 }), /field vni: /],
      ['task/task1', (v) => ({ ...v, slot: 0 }), /field slot: /],
      ['task/task1', (v) => ({ ...v, serviceId: 'A b' }), /field serviceId: expected an id;/],
      ['node/node1', (v) => ({ ...v, availability: 'away' }), /field availability: /],
      ['stack/shop', (v) => ({ ...v, owner: null }), /field owner: expected an id;/],
    ];
  for (const [key, change, expected] of table) {
    const kind = key.split('/')[0];
    const value = records.find((record) => record.kind === kind)?.value;
    const text = JSON.stringify(change(JSON.parse(JSON.stringify(value))));
    t.throws(
      () => decodeRecord(key, text),
      { name: 'StoreError', code: 'bad-record', message: expected },
      String(expected),
    );
  }
  t.throws(() => decodeRecord('task/task1', '{"id"'), {
    code: 'bad-record',
    message:
      /^record task\/task1: it is no JSON \(.*\); it was written by another version or by hand\. It is passed over until it is mended or removed$/,
  });
  t.end();
});

t.test('any JSON under any key: read, passed over or refused, never another error', (t) => {
  const values = records.map((record) => JSON.parse(encodeRecord(record).value) as Record<string, unknown>);
  const key = fc.constantFrom(...records.map((record) => encodeRecord(record).key));
  fc.assert(
    fc.property(
      key,
      fc.constantFrom(...values),
      fc.constantFrom(...values.flatMap(Object.keys)),
      fc.jsonValue(),
      (key, value, field, junk) => {
        for (const text of [JSON.stringify(junk), JSON.stringify({ ...value, [field]: junk })]) {
          try {
            decodeRecord(key, text);
          } catch (error) {
            if ((error as { code?: string }).code !== 'bad-record') throw error;
          }
        }
      },
    ),
    { numRuns: 500 },
  );
  t.end();
});
