// What is written behind a flag and what it means; what cannot be meant is refused with a sentence that names the flag.
import t from 'tap';
import { parseFields, parseLabels, changeLabels } from '../../src/cli/flag-fields.ts';
import { parseNetwork } from '../../src/cli/network-flag.ts';
import { networkRequest } from '../../src/cli/network-write.ts';
import { parseExpose, parsePublish, parseUnpublish } from '../../src/cli/publish-flag.ts';
import type { DockerPort } from '../../src/api/schema.ts';
import { environmentOf } from '../../src/cli/stack.ts';
import { formatTimestamp, parseTimestamp } from '../../src/cli/timestamp.ts';

/** `HOST:PUBLISHED->TARGET/PROTOCOL MODE`. */
function portText({ HostIP, PublishedPort, TargetPort, Protocol, PublishMode }: DockerPort): string {
  return `${HostIP === undefined ? '' : `${HostIP}:`}${PublishedPort ?? '?'}->${TargetPort}/${Protocol} ${PublishMode}`;
}

t.test('--publish', (t) => {
  for (const [text, ...ports] of [
    ['8080:80', '8080->80/tcp ingress'],
    ['80', '?->80/tcp ingress'],
    ['53:5353/udp', '53->5353/udp ingress'],
    ['8443:443/TCP', '8443->443/tcp ingress'],
    ['127.0.0.1:8080:80', '127.0.0.1:8080->80/tcp ingress'],
    ['127.0.0.1::80', '127.0.0.1:?->80/tcp ingress'],
    ['[::1]:8080:80/udp', '::1:8080->80/udp ingress'],
    ['8000-8002:8000-8002', '8000->8000/tcp ingress', '8001->8001/tcp ingress', '8002->8002/tcp ingress'],
    ['8000-8001:80', '8000->80/tcp ingress', '8001->80/tcp ingress'],
    ['80-81', '?->80/tcp ingress', '?->81/tcp ingress'],
    [':80', '?->80/tcp ingress'],
    ['published=8080,target=80', '8080->80/tcp ingress'],
    ['target=80', '?->80/tcp ingress'],
    ['mode=host,protocol=udp,target=53,published=5353', '5353->53/udp host'],
    ['target=80,published=8080,host_ip=10.0.0.1', '10.0.0.1:8080->80/tcp ingress'],
  ] as const) {
    t.same(parsePublish('--publish', text).map(portText), ports, text);
  }
  for (const [text, why] of [
    ['', /^--publish ""/],
    ['0', /"0" is no port of 1 to 65535/],
    ['65536:80', /"65536" is no port/],
    ['8080:http', /"http" is no port/],
    ['8080:80/sctp', /sctp is not balanced/],
    ['8080:80/tdp', /"tdp" is neither tcp nor udp/],
    ['web:8080:80', /"web" is no address of a node, and no interface/],
    ['8000-8002:80-81', /3 published ports for 2 target ports/],
    ['81-80', /ends before it begins/],
    ['1-2-3', /no range/],
    ['published=8080', /has no target=PORT/],
    ['published=80a,target=80', /published should be a port of 1 to 65535, not "80a"/],
    ['target=80,mode=mesh', /mode should be ingress or host, not "mesh"/],
    ['target=80,port=8080', /there is no field "port"; there are published, target, protocol/],
    ['target=80,published=', /published has no value/],
  ] as const) {
    t.throws(() => parsePublish('--publish', text), { code: 'USAGE', message: why }, text);
  }
  t.match(parsePublish('', 'published=8080,target=80,name=http'), [{ Name: 'http', TargetPort: 80 }]);
  t.throws(() => parsePublish('', 'target=80,name=a.b'), { message: /the name "a\.b" should be 1 to 62 letters/ });
  t.same(parseExpose('', 'target=53,protocol=udp,name=dns'), [{ Protocol: 'udp', Port: 53, Name: 'dns' }]);
  t.throws(() => parseExpose('', 'published=80,target=80'), { message: /there is no field "published"/ });
  t.end();
});

t.test('--publish-rm', (t) => {
  const ports = ['8080:80', '8081:80', '53:53/udp', 'published=9000,target=80,mode=host'].flatMap((text) =>
    parsePublish('', text),
  );
  for (const [text, ...left] of [
    ['80', '53->53/udp ingress'],
    ['80/tcp', '53->53/udp ingress'],
    ['53', '8080->80/tcp ingress', '8081->80/tcp ingress', '53->53/udp ingress', '9000->80/tcp host'],
    ['53/udp', '8080->80/tcp ingress', '8081->80/tcp ingress', '9000->80/tcp host'],
    ['8081:80', '8080->80/tcp ingress', '53->53/udp ingress', '9000->80/tcp host'],
    ['target=80,mode=host', '8080->80/tcp ingress', '8081->80/tcp ingress', '53->53/udp ingress'],
  ] as const) {
    const leaves = parseUnpublish('--publish-rm', text);
    t.same(ports.filter((port) => !leaves(port)).map(portText), left, text);
  }
  t.end();
});

t.test('--expose', (t) => {
  t.same(parseExpose('--expose', '5432'), [{ Protocol: 'tcp', Port: 5432 }]);
  t.same(parseExpose('--expose', '53-54/udp'), [
    { Protocol: 'udp', Port: 53 },
    { Protocol: 'udp', Port: 54 },
  ]);
  t.throws(() => parseExpose('--expose', '8080:80'), { message: /--expose "8080:80".*is no port/ });
  t.end();
});

t.test('--network', (t) => {
  t.same(parseNetwork('--network', 'backend'), { Target: 'backend' });
  t.same(parseNetwork('--network', 'name=backend,alias=db,alias=pg'), { Target: 'backend', Aliases: ['db', 'pg'] });
  t.same(parseNetwork('--network', '"name=backend","alias=db"'), { Target: 'backend', Aliases: ['db'] });
  t.throws(() => parseNetwork('--network', 'alias=db'), { code: 'USAGE', message: /one name=NETWORK/ });
  t.throws(() => parseNetwork('--network', 'name=a,driver-opt=x'), { message: /no field "driver-opt"/ });
  t.throws(() => parseNetwork('--network', 'name=a,alias=-a b'), { message: /the alias "-a b" / });
  t.throws(() => parseNetwork('--network', ''), { message: /has no name/ });
  t.end();
});

t.test('network create', (t) => {
  t.same(networkRequest('back', { subnet: ['10.9.0.0/24', 'fd00::/64'], ipv6: true, label: ['a=b'], opt: ['x=y'] }), {
    Name: 'back',
    EnableIPv6: true,
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.9.0.0/24' }, { Subnet: 'fd00::/64' }] },
    Internal: false,
    Attachable: false,
    Options: { x: 'y' },
    Labels: { a: 'b' },
  });
  t.throws(() => networkRequest('back', { subnet: ['10.9.0.0'] }), { code: 'USAGE', message: /^--subnet should be/ });
  t.end();
});

t.test('labels and fields', (t) => {
  t.same(parseLabels('--label', ['a=b', 'c', 'd=', 'e=f=g', 'a=z']), { a: 'z', c: '', d: '', e: 'f=g' });
  t.throws(() => parseLabels('--label', ['=b']), { code: 'USAGE', message: /--label should be KEY=VALUE/ });
  const changes = { labelRm: ['a', 'none'], labelAdd: ['b=2', 'c=3'] };
  t.same(changeLabels({ a: '1', b: '1', d: '4' }, changes), { b: '2', c: '3', d: '4' }, 'first out, then in');
  t.same(
    [...parseFields('--x', 'a="1,2",b=say ""so""', ['a', 'b'])],
    [
      ['a', ['1,2']],
      ['b', ['say so']],
    ],
  );
  t.end();
});

t.test('--since and --until', (t) => {
  const now = Date.UTC(2026, 10, 20, 22, 45, 3, 250);
  for (const [text, expected] of [
    ['1795214023', '1795214023'],
    ['1795214023.000000001', '1795214023.000000001'],
    ['10m', '1795214103.250'],
    ['0', '0'],
    ['1h30m', '1795209303.250'],
    ['2026-11-20T22:45:03Z', '1795214703.000'],
    ['2026-11-20T22:45:03.5+01:00', '1795211103.500'],
  ] as const) {
    t.equal(parseTimestamp('--since', text, now), expected, text);
  }
  const local = (text: string) => `${new Date(text).getTime() / 1000}.000`;
  t.equal(parseTimestamp('--since', '2026-11-20', now), local('2026-11-20T00:00:00'), "a date in this machine's zone");
  t.equal(parseTimestamp('--since', '2026-11-20T22:45', now), local('2026-11-20T22:45:00'));
  for (const text of ['yesterday', '2026-13-01', '2026-11-20T25:00:00', '10 minutes']) {
    t.throws(() => parseTimestamp('--since', text, now), { code: 'USAGE', message: /^--since should be/ }, text);
  }
  t.equal(formatTimestamp(now * 1000 + 7, 0), '2026-11-20T22:45:03.250007000Z');
  t.equal(formatTimestamp(now * 1000, -60), '2026-11-20T23:45:03.250000000+01:00');
  t.equal(formatTimestamp(now * 1000, 210), '2026-11-20T19:15:03.250000000-03:30');
  t.end();
});

t.test("a Compose file's variables", (t) => {
  const content = `image: \${REPO}/web:\${TAG:-latest}\nports: ["$PORT:80"]\ncommand: echo \${UNSET}`;
  t.same(environmentOf(content, { REPO: 'r', TAG: '2', PORT: '', OTHER: 'secret' }), { REPO: 'r', TAG: '2', PORT: '' });
  t.end();
});
