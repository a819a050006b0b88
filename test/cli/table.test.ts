// Tables, templates and ports as Docker prints them.
import t from 'tap';
import type { DockerPort } from '../../src/api/schema.ts';
import { formatList, formatObjects } from '../../src/cli/format.ts';
import { formatPorts } from '../../src/cli/ports.ts';
import { formatTable } from '../../src/cli/table.ts';

const COLUMNS = [
  { field: 'ID', heading: 'ID' },
  { field: 'Name', heading: 'NAME' },
];
const FIELDS = ['ID', 'Name', 'Driver'];
const ROWS = [
  { ID: 'abc', Name: 'web', Driver: 'local' },
  { ID: 'def', Name: 'größer als gedacht', Driver: 'overlay' },
];

t.test('tables', (t) => {
  t.equal(
    formatTable(
      ['ID', 'NAME', 'MODE'],
      [
        ['5d1hjnfqnpaz', 'vipsvc', 'replicated'],
        ['x', 'a', ''],
      ],
    ),
    'ID             NAME      MODE\n5d1hjnfqnpaz   vipsvc    replicated\nx              a         \n',
    'as `docker service ls` spaces it',
  );
  t.equal(formatTable(['ID', 'NAME'], []), 'ID        NAME\n', 'a heading even without rows');
  t.end();
});

t.test('--format', (t) => {
  const list = (format?: string, quiet?: boolean) =>
    formatList(COLUMNS, ROWS, FIELDS, {
      ...(format === undefined ? {} : { format }),
      ...(quiet === undefined ? {} : { quiet }),
    });
  t.equal(list(), 'ID        NAME\nabc       web\ndef       größer als gedacht\n');
  t.equal(list('table'), list());
  t.equal(list(undefined, true), 'abc\ndef\n');
  t.equal(
    list('json'),
    '{"Driver":"local","ID":"abc","Name":"web"}\n{"Driver":"overlay","ID":"def","Name":"größer als gedacht"}\n',
  );
  t.equal(list('{{.Name}}: {{ .Driver }}'), 'web: local\ngrößer als gedacht: overlay\n');
  t.equal(list('{{.ID}}\\t{{json .Name}}'), 'abc\t"web"\ndef\t"größer als gedacht"\n');
  t.equal(list('{{json .}}').split('\n')[0], '{"ID":"abc","Name":"web","Driver":"local"}');
  t.equal(list('table {{.Driver}}\\t{{.ID}}'), 'DRIVER    ID\nlocal     abc\noverlay   def\n');
  t.throws(() => list('{{.Image}}'), {
    code: 'USAGE',
    message: 'there is no field {{.Image}}; there are ID, Name, Driver',
  });
  t.throws(() => list('{{range .}}'), { code: 'USAGE', message: /\{\{range \.\}\} is not understood/ });
  t.throws(() => list('yaml'), { code: 'USAGE', message: /should be json, table or text/ });
  t.end();
});

t.test('inspect', (t) => {
  const objects = [{ Spec: { Name: 'web', Labels: {} }, N: 1 }];
  t.equal(formatObjects(objects, undefined), `${JSON.stringify(objects, null, 4)}\n`);
  t.equal(formatObjects(objects, 'json'), `${JSON.stringify(objects)}\n`);
  t.equal(
    formatObjects(objects, '{{.Spec.Name}} {{json .Spec.Labels}} {{.N}} {{.Nope.Deep}}'),
    'web {} 1 <no value>\n',
  );
  t.equal(formatObjects(objects, '{{.Spec.toString}}{{.__proto__}}'), '<no value><no value>\n');
  t.end();
});

t.test('ports', (t) => {
  const port = (published: number, target: number, more: Partial<DockerPort> = {}): DockerPort => ({
    Protocol: 'tcp',
    PublishedPort: published,
    TargetPort: target,
    PublishMode: 'ingress',
    ...more,
  });
  for (const [ports, text] of [
    [[], ''],
    [[port(8081, 80), port(5353, 53, { Protocol: 'udp' })], '*:8081->80/tcp, *:5353->53/udp'],
    [[port(9002, 82), port(9000, 80), port(9001, 81)], '*:9000-9002->80-82/tcp'],
    [[port(9000, 80), port(9001, 80)], '*:9000-9001->80/tcp'],
    [[port(9000, 80), port(9001, 80), port(9002, 81)], '*:9000-9001->80/tcp, *:9002->81/tcp'],
    [[port(9000, 80), port(9001, 81), port(9002, 81)], '*:9000-9001->80-81/tcp, *:9002->81/tcp'],
    [[port(9000, 80), port(9002, 81)], '*:9000->80/tcp, *:9002->81/tcp'],
    [
      [port(80, 80, { HostIP: '192.0.2.1' }), port(81, 81, { HostIP: '2001:db8::1' })],
      '192.0.2.1:80->80/tcp, [2001:db8::1]:81->81/tcp',
    ],
    [[port(80, 80, { PublishMode: 'host' })], ''],
  ] as const) {
    t.equal(formatPorts(ports, 'ingress'), text);
  }
  t.equal(formatPorts([port(80, 8080, { PublishMode: 'host' })], 'host'), '*:80->8080/tcp');
  t.end();
});
