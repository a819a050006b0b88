// What a question gets, as text: table, resolution and the written answer together.
import { decode, type RecordType } from 'dns-packet';
import t from 'tap';
import { AnswerTable, NO_RECORDS } from '../../src/dns/answer-table.ts';
import { Query } from '../../src/dns/query.ts';
import { writeAnswer, writeApex, writeError, writeNegative } from '../../src/dns/reply.ts';
import { encodePorts, isServiceName } from '../../src/dns/service-ports.ts';
import { writeServices } from '../../src/dns/service-reply.ts';
import { APEX, authorityAt, FORWARD, NO_NAME, REFUSE, resolve } from '../../src/dns/resolve.ts';
import { NOERROR, NXDOMAIN, REFUSED } from '../../src/dns/wire.ts';
import { addressesIn, type QuestionOptions, question, summary } from '../support/dns-messages.ts';

const BACKEND = 0;
const FRONTEND = 3;

function exampleTable(): AnswerTable {
  const table = new AnswerTable();
  table.addZone(BACKEND, 'shop_backend', 'backend', ['10.64.0.0/24', 'fd00::/64']);
  table.addZone(FRONTEND, 'frontend', undefined, ['10.64.1.0/24']);
  const set = (network: number, name: string, ...addresses: string[]) =>
    table.setName(network, { name, addresses, exists: true });
  set(BACKEND, 'web', '10.64.0.2');
  set(BACKEND, 'db', '10.64.0.3', 'fd00::3');
  set(BACKEND, 'tasks.web', '10.64.0.10', '10.64.0.11', '10.64.0.12');
  set(BACKEND, 'tasks.db');
  set(BACKEND, 'web.1.abc', '10.64.0.10');
  set(FRONTEND, 'web', '10.64.1.2');
  set(FRONTEND, 'only', '10.64.1.9');
  table.setPointer(BACKEND, { address: '10.64.0.2', name: 'web' });
  table.setPointer(BACKEND, { address: 'fd00::3', name: 'db' });
  return table;
}

interface AskOptions extends QuestionOptions {
  readonly networks?: readonly number[];
  readonly forward?: boolean;
  readonly limit?: number;
}

const query = new Query();

/** The written answer, or `forward`. */
function answer(table: AnswerTable, name: string, type: RecordType, options: AskOptions = {}): Buffer | 'forward' {
  const message = question(name, type, options);
  const out = Buffer.alloc(70_000, 0xff);
  const scope = { id: 1, networks: options.networks ?? [BACKEND], forward: options.forward ?? true };
  query.read(message, 0, message.length);
  const found = resolve(query, scope, table);
  if (found === FORWARD) return 'forward';
  const limit = options.limit ?? query.udpLimit;
  const set = found >= 0 ? table.recordSet(found, query.type) : NO_RECORDS;
  if (found === REFUSE) return out.subarray(0, writeError(query, REFUSED, out, 0));
  if (set !== NO_RECORDS) return out.subarray(0, writeAnswer(query, table, found, set, out, 0, limit));
  if (found === APEX) return out.subarray(0, writeApex(query, query.type, out, 0));
  const port = found >= 0 && isServiceName(query) ? table.portOf(found, query) : undefined;
  if (port !== undefined) return out.subarray(0, writeServices(query, table, port, out, 0, limit));
  const rcode = found === NO_NAME ? NXDOMAIN : NOERROR;
  return out.subarray(0, writeNegative(query, rcode, authorityAt(query, scope, table), out, 0));
}

function ask(table: AnswerTable, name: string, type: RecordType = 'A', options: AskOptions = {}): string {
  const message = answer(table, name, type, options);
  return message === 'forward' ? message : summary(message);
}

t.test('names of a network', (t) => {
  const table = exampleTable();
  const cases: [name: string, type: RecordType, expected: string][] = [
    // D1
    ['web', 'A', 'NOERROR aa | web A 10.64.0.2'],
    ['wEb', 'A', 'NOERROR aa | wEb A 10.64.0.2'],
    ['db', 'AAAA', 'NOERROR aa | db AAAA fd00::3'],
    ['web.shop_backend', 'A', 'NOERROR aa | web.shop_backend A 10.64.0.2'],
    ['WEB.Backend', 'A', 'NOERROR aa | WEB.Backend A 10.64.0.2'],
    ['web.1.abc.backend', 'A', 'NOERROR aa | web.1.abc.backend A 10.64.0.10'],
    // D2: local name, other type
    ['web', 'AAAA', 'NOERROR aa | SOA .'],
    ['web', 'MX', 'NOERROR aa | SOA .'],
    ['web.backend', 'TXT', 'NOERROR aa | SOA backend'],
    ['web', 'SOA', 'NOERROR aa | SOA .'],
    ['tasks.db', 'A', 'NOERROR aa | SOA .'],
    // D4
    ['nope.backend', 'A', 'NXDOMAIN aa | SOA backend'],
    ['a.b.shop_backend', 'A', 'NXDOMAIN aa | SOA shop_backend'],
    ['1.abc', 'A', 'NOERROR aa | SOA .'],
    ['1.abc.backend', 'A', 'NOERROR aa | SOA backend'],
    ['tasks', 'A', 'NXDOMAIN aa | SOA .'],
    ['backend', 'A', 'NOERROR aa | SOA backend'],
    ['abc', 'A', 'NOERROR aa | SOA .'],
    // Single labels never leave
    ['nope', 'A', 'NXDOMAIN aa | SOA .'],
    ['com', 'NS', 'NXDOMAIN aa | SOA .'],
    // O1: names of other networks do not exist
    ['only', 'A', 'NXDOMAIN aa | SOA .'],
    ['web.frontend', 'A', 'NXDOMAIN aa | SOA .'],
    ['WEB.Frontend', 'TXT', 'NXDOMAIN aa | SOA .'],
    // … but what its network has not may be a name of the world
    ['nope.frontend', 'A', 'forward'],
    ['frontend.example.com', 'A', 'forward'],
    // The zone itself
    ['backend', 'SOA', 'NOERROR aa | backend SOA'],
    ['Shop_Backend', 'SOA', 'NOERROR aa | Shop_Backend SOA'],
    ['backend', 'NS', 'NOERROR aa | backend NS backend'],
    ['backend', 'MX', 'NOERROR aa | SOA backend'],
    ['web.backend', 'NS', 'NOERROR aa | SOA backend'],
    ['nope.backend', 'SOA', 'NXDOMAIN aa | SOA backend'],
    // Others
    ['www.example.com', 'A', 'forward'],
    ['web.example.com', 'A', 'forward'],
    ['.', 'NS', 'forward'],
    ['example.com', 'AXFR', 'REFUSED'],
  ];
  for (const [name, type, expected] of cases) t.equal(ask(table, name, type), expected, `${name} ${type}`);
  t.end();
});

function servedTable(): AnswerTable {
  const table = exampleTable();
  const tasks = [1, 2, 3].map((slot) => ({ name: `web.${slot}.abc`, port: 8000 + slot }));
  const ports = (targets: readonly { readonly name: string; readonly port: number }[]) => [
    { protocol: 'tcp' as const, labels: ['80', 'http', '8080'], targets },
    { protocol: 'udp' as const, labels: ['53', 'dns'], targets: [] },
  ];
  const set = (name: string, addresses: readonly string[], targets: readonly { name: string; port: number }[]) =>
    table.setName(BACKEND, { name, addresses, exists: true, ports: encodePorts(ports(targets)) });
  set('web', ['10.64.0.2', 'fd00::2'], [{ name: 'web', port: 80 }]);
  set('www', ['10.64.0.2', 'fd00::2'], [{ name: 'web', port: 80 }]);
  set('tasks.web', ['10.64.0.11', '10.64.0.12', '10.64.0.13'], tasks);
  for (const slot of [1, 2, 3])
    table.setName(BACKEND, { name: `web.${slot}.abc`, addresses: [`10.64.0.1${slot}`], exists: true });
  return table;
}

t.test('D7: SRV by port name, number and published port, the addresses beside it', (t) => {
  const table = servedTable();
  const vip = '0 0 80 web.shop_backend | + web.shop_backend A 10.64.0.2 | + web.shop_backend AAAA fd00::2';
  const endpoint = (slot: number) => `_http._tcp.tasks.web SRV 0 1 800${slot} web.${slot}.abc.shop_backend`;
  const cases: [name: string, type: RecordType, expected: string][] = [
    ['_http._tcp.web', 'SRV', `NOERROR aa | _http._tcp.web SRV ${vip}`],
    ['_80._TCP.Web', 'SRV', `NOERROR aa | _80._TCP.Web SRV ${vip}`],
    ['_8080._tcp.web', 'SRV', `NOERROR aa | _8080._tcp.web SRV ${vip}`],
    ['_HTTP._tcp.www', 'SRV', `NOERROR aa | _HTTP._tcp.www SRV ${vip}`],
    ['_http._tcp.web.backend', 'SRV', `NOERROR aa | _http._tcp.web.backend SRV ${vip}`],
    ['_http._tcp.web.shop_backend', 'SRV', `NOERROR aa | _http._tcp.web.shop_backend SRV ${vip}`],
    [
      '_http._tcp.tasks.web',
      'SRV',
      [
        'NOERROR aa',
        ...[1, 2, 3].map(endpoint),
        ...[1, 2, 3].map((slot) => `+ web.${slot}.abc.shop_backend A 10.64.0.1${slot}`),
      ].join(' | '),
    ],
    // No error: another protocol, another port, no endpoints, other types, and no SRV of the name itself.
    ['_http._udp.web', 'SRV', 'NOERROR aa | SOA .'],
    ['_http._sctp.web.backend', 'SRV', 'NOERROR aa | SOA backend'],
    ['_nope._tcp.web', 'SRV', 'NOERROR aa | SOA .'],
    // Names exist below these (RFC 8020), and whether or not they do they mean nothing to anybody else.
    ['_tcp.web', 'SRV', 'NOERROR aa | SOA .'],
    ['_UDP.web.backend', 'A', 'NOERROR aa | SOA backend'],
    ['_tcp.nothing', 'SRV', 'NXDOMAIN aa | SOA .'],
    ['_tcp.nothing.backend', 'SRV', 'NXDOMAIN aa | SOA backend'],
    ['_dns._udp.tasks.web', 'SRV', 'NOERROR aa | SOA .'],
    ['_http._tcp.web', 'A', 'NOERROR aa | SOA .'],
    ['web', 'SRV', 'NOERROR aa | SOA .'],
    ['tasks.db', 'SRV', 'NOERROR aa | SOA .'],
    ['_http._tcp.db', 'SRV', 'NOERROR aa | SOA .'],
    // What does not exist is never asked for outside; what was meant for outside is.
    ['_http._tcp.nope', 'SRV', 'NXDOMAIN aa | SOA .'],
    ['_http._tcp.nope.backend', 'SRV', 'NXDOMAIN aa | SOA backend'],
    ['tasks.nope', 'A', 'NXDOMAIN aa | SOA .'],
    ['_xmpp._tcp.example.com', 'SRV', 'forward'],
    ['tasks.example.com', 'A', 'forward'],
  ];
  for (const [name, type, expected] of cases) t.equal(ask(table, name, type), expected, `${name} ${type}`);
  t.end();
});

t.test('SRV in wire form: type 33, targets turn, addresses go before answers when room is short', (t) => {
  const table = servedTable();
  const message = answer(table, '_http._tcp.tasks.web', 'SRV', { edns: {} });
  if (message === 'forward') return t.end();
  t.equal(message.readUInt16BE(message.indexOf('\xc0\x0c', 0, 'latin1') + 2), 33);
  t.equal(message.readUInt16BE(10), 4, 'three addresses and the OPT record');
  const second = answer(table, '_http._tcp.tasks.web', 'SRV', { edns: {} });
  t.match(summary(second as Buffer), /^NOERROR aa \| _http._tcp.tasks.web SRV 0 1 8002/);
  const many = Array.from({ length: 40 }, (_, i) => ({ name: `web.${1 + (i % 3)}.abc`, port: 9000 + i }));
  const port = (targets: typeof many) => [{ protocol: 'tcp' as const, labels: ['http'], targets }];
  const cut = (targets: typeof many, options: AskOptions) => {
    table.setName(BACKEND, { name: 'many', addresses: [], exists: true, ports: encodePorts(port(targets)) });
    const text = answer(table, '_http._tcp.many', 'SRV', options) as Buffer;
    return [text.length <= (options.limit ?? 512), text.readUInt16BE(6), (text.readUInt16BE(2) & 0x0200) !== 0];
  };
  t.strictSame(cut(many, {}), [true, 11, true]);
  t.strictSame(cut(many.slice(0, 11), {}), [true, 11, false], 'without the addresses it fits');
  t.strictSame(cut(many, { limit: 65_535 }), [true, 40, false]);
  t.end();
});

t.test('reverse names', (t) => {
  const table = exampleTable();
  const v6 = `3.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
  const v6zone = `${'0.'.repeat(13)}0.d.f.ip6.arpa`;
  const cases: [name: string, expected: string][] = [
    ['2.0.64.10.in-addr.arpa', 'NOERROR aa | 2.0.64.10.in-addr.arpa PTR web.shop_backend'],
    ['2.0.64.10.IN-ADDR.arpa', 'NOERROR aa | 2.0.64.10.IN-ADDR.arpa PTR web.shop_backend'],
    [v6, `NOERROR aa | ${v6} PTR db.shop_backend`],
    ['99.0.64.10.in-addr.arpa', 'NXDOMAIN aa | SOA 0.64.10.in-addr.arpa'],
    [v6.replace('3', 'e'), `NXDOMAIN aa | SOA ${v6zone}`],
    ['0.64.10.in-addr.arpa', 'NOERROR aa | SOA 0.64.10.in-addr.arpa'],
    [v6zone, `NOERROR aa | SOA ${v6zone}`],
    [`0.${v6zone}`, `NOERROR aa | SOA ${v6zone}`],
    ['64.10.in-addr.arpa', 'forward'],
    ['2.1.64.10.in-addr.arpa', 'forward'],
    ['x.0.64.10.in-addr.arpa', 'forward'],
    ['1.2.0.64.10.in-addr.arpa', 'forward'],
    ['256.0.64.10.in-addr.arpa', 'forward'],
    ['02.0.64.10.in-addr.arpa', 'forward'],
    ['1.0.0.127.in-addr.arpa', 'forward'],
  ];
  for (const [name, expected] of cases) t.equal(ask(table, name, 'PTR'), expected, name);
  t.equal(ask(table, '2.0.64.10.in-addr.arpa', 'A'), 'NOERROR aa | SOA 0.64.10.in-addr.arpa');
  const zone = '0.64.10.in-addr.arpa';
  t.equal(ask(table, zone, 'SOA'), `NOERROR aa | ${zone} SOA`);
  t.equal(ask(table, zone, 'NS'), `NOERROR aa | ${zone} NS ${zone}`);
  table.addZone(1, 'wide', undefined, ['10.80.16.0/20']);
  const wide = { networks: [1] };
  t.equal(ask(table, '17.80.10.in-addr.arpa', 'SOA', wide), 'NOERROR aa | 17.80.10.in-addr.arpa SOA');
  t.equal(ask(table, '9.17.80.10.in-addr.arpa', 'PTR', wide), 'NXDOMAIN aa | SOA 17.80.10.in-addr.arpa');
  t.equal(ask(table, '80.10.in-addr.arpa', 'SOA', wide), 'forward');
  t.equal(ask(table, '9.9.9.9.in-addr.arpa', 'PTR', { forward: false }), 'REFUSED');
  t.end();
});

t.test('the first network of a client that has the name answers', (t) => {
  const table = exampleTable();
  const both = { networks: [BACKEND, FRONTEND] };
  t.equal(ask(table, 'web', 'A', both), 'NOERROR aa | web A 10.64.0.2');
  t.equal(ask(table, 'web', 'A', { networks: [FRONTEND, BACKEND] }), 'NOERROR aa | web A 10.64.1.2');
  t.equal(ask(table, 'only', 'A', both), 'NOERROR aa | only A 10.64.1.9');
  t.equal(ask(table, 'web.frontend', 'A', both), 'NOERROR aa | web.frontend A 10.64.1.2', 'NAME.NETWORK is exact');
  t.equal(ask(table, 'only.backend', 'A', both), 'NXDOMAIN aa | SOA backend');
  t.equal(ask(table, 'web', 'A', { networks: [] }), 'NXDOMAIN aa | SOA .');
  table.setName(FRONTEND, { name: 'abc', addresses: ['10.64.1.7'], exists: true });
  t.equal(ask(table, 'abc', 'A', both), 'NOERROR aa | abc A 10.64.1.7', 'a name goes before an empty non-terminal');
  t.end();
});

t.test('D26: five seconds, or what the network or the service says', (t) => {
  const table = servedTable();
  const ttls = (name: string, type: RecordType) => {
    const { answers = [], additionals = [] } = decode(answer(table, name, type) as Buffer);
    return [...answers, ...additionals].map((record) => ('ttl' in record ? record.ttl : undefined));
  };
  t.strictSame(ttls('web', 'A'), [5]);
  t.strictSame(ttls('2.0.64.10.in-addr.arpa', 'PTR'), [5]);
  t.strictSame(ttls('_http._tcp.web', 'SRV'), [5, 5, 5]);
  const ports = [{ protocol: 'tcp' as const, labels: ['http'], targets: [{ name: 'web', port: 80 }] }];
  table.setName(BACKEND, {
    name: 'web',
    addresses: ['10.64.0.2', 'fd00::2'],
    exists: true,
    ports: encodePorts(ports),
    ttl: 70_000,
  });
  table.setPointer(BACKEND, { address: '10.64.0.2', name: 'web', ttl: 0 });
  t.strictSame(ttls('web', 'AAAA'), [70_000]);
  t.strictSame(ttls('2.0.64.10.in-addr.arpa', 'PTR'), [0]);
  t.strictSame(ttls('_http._tcp.web', 'SRV'), [70_000, 70_000, 70_000]);
  table.addZone(BACKEND, 'shop_backend', 'backend', ['10.64.0.0/24'], 30);
  table.setName(BACKEND, { name: 'web', addresses: ['10.64.0.2'], exists: true });
  t.strictSame(ttls('web', 'A'), [30]);
  t.end();
});

t.test('clients of internal networks are refused what is not local', (t) => {
  const table = exampleTable();
  t.equal(ask(table, 'www.example.com', 'A', { forward: false }), 'REFUSED');
  t.equal(ask(table, 'web', 'A', { forward: false }), 'NOERROR aa | web A 10.64.0.2');
  t.end();
});

t.test('EDNS is answered, and only when it was used', (t) => {
  const table = exampleTable();
  t.equal(ask(table, 'web', 'A', { edns: {} }), 'NOERROR aa | web A 10.64.0.2 | OPT 1232');
  t.equal(ask(table, 'nope', 'A', { edns: { dnssecOk: true } }), 'NXDOMAIN aa | SOA . | OPT 1232 do');
  t.end();
});

t.test('header bits: id, RD and CD come back, RA is set, Z, AD and the rest are not', (t) => {
  const message = answer(exampleTable(), 'web', 'A', { id: 0xabcd, flags: 0x0170 });
  t.ok(Buffer.isBuffer(message));
  if (message === 'forward') return t.end();
  t.equal(message.readUInt16BE(0), 0xabcd);
  t.equal(message.readUInt16BE(2), 0x8400 | 0x0100 | 0x0080 | 0x0010);
  t.end();
});

t.test('D5: answers of several addresses turn, one step per question and type', (t) => {
  const table = exampleTable();
  const first = Array.from({ length: 6 }, () => {
    ask(table, 'db', 'A');
    const message = answer(table, 'tasks.web', 'A');
    return message === 'forward' ? '' : addressesIn(message).join(' ');
  });
  t.strictSame(first.slice(0, 3), [
    '10.64.0.10 10.64.0.11 10.64.0.12',
    '10.64.0.11 10.64.0.12 10.64.0.10',
    '10.64.0.12 10.64.0.10 10.64.0.11',
  ]);
  t.strictSame(first.slice(3), first.slice(0, 3));
  t.end();
});

t.test('D15: what does not fit is cut at whole records, with TC', (t) => {
  const table = exampleTable();
  const many = Array.from({ length: 200 }, (_, i) => `10.64.0.${i}`);
  table.setName(BACKEND, { name: 'many', addresses: many, exists: true });
  for (const [options, records, truncated] of [
    [{}, 30, true],
    [{ edns: {} }, 74, true],
    [{ edns: { size: 4096 } }, 74, true],
    [{ limit: 65_535 }, 200, false],
  ] as const) {
    const message = answer(table, 'many', 'A', options);
    if (message === 'forward') return t.fail('forwarded');
    t.equal(addressesIn(message).length, records);
    t.equal((message.readUInt16BE(2) & 0x0200) !== 0, truncated);
    t.ok(message.length <= ('limit' in options ? 65_535 : 'edns' in options ? 1232 : 512), `${message.length} bytes`);
  }
  t.end();
});

t.test('RFC 8482: ANY gets one record set', (t) => {
  const message = question('db', 'A');
  message.writeUInt16BE(255, message.length - 4);
  const table = exampleTable();
  query.read(message, 0, message.length);
  const row = resolve(query, { id: 1, networks: [BACKEND], forward: true }, table);
  t.equal(table.recordSet(row, query.type), 0);
  t.end();
});

t.test('updates', (t) => {
  const table = exampleTable();
  const size = table.size;
  table.setName(BACKEND, { name: 'web', addresses: ['10.64.0.77', 'fd00::77'], exists: true });
  t.equal(ask(table, 'web', 'A'), 'NOERROR aa | web A 10.64.0.77');
  t.equal(ask(table, 'web', 'AAAA'), 'NOERROR aa | web AAAA fd00::77');
  table.setName(BACKEND, { name: 'web', addresses: [], exists: true });
  t.equal(ask(table, 'web', 'A'), 'NOERROR aa | SOA .');
  table.setName(BACKEND, { name: 'web', addresses: [], exists: false });
  t.equal(ask(table, 'web', 'A'), 'NOERROR aa | SOA .', 'tasks.web is below it');
  table.setName(BACKEND, { name: 'tasks.web', addresses: [], exists: false });
  t.equal(ask(table, 'web', 'A'), 'NXDOMAIN aa | SOA .');
  table.setName(BACKEND, { name: 'web', addresses: [], exists: false });
  table.setPointer(BACKEND, { address: '10.64.0.2', name: null });
  t.equal(ask(table, '2.0.64.10.in-addr.arpa', 'PTR'), 'NXDOMAIN aa | SOA 0.64.10.in-addr.arpa');
  t.equal(table.size, size - 3, 'nothing is left of what went');
  table.setName(BACKEND, { name: 'a..b', addresses: ['10.64.0.1'], exists: true });
  table.setName(99, { name: 'web', addresses: ['10.64.0.1'], exists: true });
  t.equal(table.size, size - 3, 'what cannot be asked for is left out');
  table.removeZone(BACKEND);
  t.equal(ask(table, 'db', 'A'), 'NXDOMAIN aa | SOA .');
  t.equal(ask(table, 'db.backend', 'A'), 'forward');
  t.equal(ask(table, 'web', 'A', { networks: [FRONTEND] }), 'NOERROR aa | web A 10.64.1.2', 'others stay');
  t.end();
});
