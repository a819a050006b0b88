import fc from 'fast-check';
import t from 'tap';
import type { Subnet } from '../../src/model/address.ts';
import { aliasProblem, nameProblem, STACK_LABEL, shortName, stackName } from '../../src/model/name.ts';
import { gatewayOf, isReservedOffset } from '../../src/model/network.ts';
import { formatPort, isPortNumber, parsePort } from '../../src/model/port.ts';
import { declaredTargets, serviceNames, type Service, type ServiceSpec } from '../../src/model/service.ts';

t.test('names', async (t) => {
  const good = ['web', 'web-1', 'shop_postgres', 'a', '9', 'api.v2', 'x'.repeat(63), 'end-', 'end_'];
  const bad: Readonly<Record<string, RegExp>> = {
    '': /empty/,
    ['x'.repeat(64)]: /64 characters/,
    '-web': /begins with/,
    _web: /begins with/,
    '.web': /begins with/,
    'we b': /may hold only/,
    wéb: /may hold only/,
    'web/1': /may hold only/,
    'web\n': /may hold only/,
    'a..b': /nothing behind it/,
    'a.': /nothing behind it/,
  };
  for (const name of good) t.equal(nameProblem(name), undefined, name);
  for (const [name, problem] of Object.entries(bad)) t.match(nameProblem(name), problem, JSON.stringify(name));
});

t.test('aliases', async (t) => {
  for (const alias of ['db', 'db.example.com', '_http', '1', `${'x'.repeat(63)}.com`])
    t.equal(aliasProblem(alias), undefined, alias);
  const bad: Readonly<Record<string, RegExp>> = {
    '': /empty/,
    ['a.'.repeat(127)]: /254 characters/,
    [`${'x'.repeat(64)}.com`]: /label of more than 63/,
    'a..b': /nothing before or behind/,
    '.a': /nothing before or behind/,
    'a b': /may hold only/,
    '*': /may hold only/,
  };
  for (const [alias, problem] of Object.entries(bad)) t.match(aliasProblem(alias), problem, JSON.stringify(alias));
});

t.test('names in a stack', async (t) => {
  t.equal(stackName('shop', 'postgres'), 'shop_postgres');
  t.equal(shortName('shop_postgres', { [STACK_LABEL]: 'shop' }), 'postgres');
  t.equal(shortName('shop_a_b', { [STACK_LABEL]: 'shop' }), 'a_b');
  t.equal(shortName('postgres', { [STACK_LABEL]: 'shop' }), undefined);
  t.equal(shortName('shop_', { [STACK_LABEL]: 'shop' }), undefined);
  t.equal(shortName('shop_postgres', {}), undefined);
});

t.test('ports', async (t) => {
  for (const [text, port] of [
    ['1', 1],
    ['80', 80],
    ['65535', 65535],
  ] as const)
    t.equal(parsePort(text), port, text);
  for (const text of ['0', '65536', '080', '1e3', '-1', '+1', ' 80', '80 ', '8 0', '', '0x50', '80.0', '999999']) {
    t.equal(parsePort(text), undefined, JSON.stringify(text));
  }
  t.equal(formatPort('udp', 53), '53/udp');
  fc.assert(fc.property(fc.integer({ min: -10, max: 70000 }), (n) => (parsePort(String(n)) === n) === isPortNumber(n)));
  fc.assert(fc.property(fc.double(), (n) => !isPortNumber(n) || (Number.isInteger(n) && n > 0 && n < 65536)));
});

t.test('what a subnet keeps back', async (t) => {
  t.equal(gatewayOf('10.64.0.0/24' as Subnet), '10.64.0.1');
  t.equal(gatewayOf('fd00::/64' as Subnet), 'fd00::1');
  const reserved = (subnet: string, offset: bigint): boolean => isReservedOffset(subnet as Subnet, offset);
  t.strictSame(
    [0n, 1n, 2n, 254n, 255n, 256n].map((offset) => reserved('10.64.0.0/24', offset)),
    [true, true, false, false, true, true],
  );
  t.strictSame(
    [0n, 1n, 2n, 2n ** 64n - 1n, 2n ** 64n].map((offset) => reserved('fd00::/64', offset)),
    [true, true, false, false, true],
  );
  t.ok(reserved('10.64.0.0/24', -1n));
});

const spec: ServiceSpec = {
  name: 'shop_Web',
  labels: { [STACK_LABEL]: 'shop' },
  mode: { kind: 'replicated', replicas: 1 },
  endpointMode: 'vip',
  networks: [],
  publish: [{ protocol: 'tcp', targetPort: parsePort('80') ?? fail(), mode: 'ingress' }],
  expose: [
    { protocol: 'tcp', port: parsePort('80') ?? fail(), name: 'http' },
    { protocol: 'udp', port: parsePort('80') ?? fail() },
  ],
  endpoints: [],
  drainTimeoutMs: 0,
};

t.test('services: target ports and names', async (t) => {
  t.strictSame(declaredTargets(spec), [
    { protocol: 'tcp', port: 80, name: 'http' },
    { protocol: 'udp', port: 80 },
  ]);
  const service = { spec, networks: [{ networkId: 'n1', aliases: ['WWW', 'web'] }] } as unknown as Service;
  t.strictSame(serviceNames(service, 'n1' as never), ['shop_web', 'web', 'www']);
  t.strictSame(serviceNames(service, 'n2' as never), ['shop_web', 'web']);
});

function fail(): never {
  throw new Error('the test has a bad port');
}
