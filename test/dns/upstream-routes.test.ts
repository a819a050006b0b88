import t from 'tap';
import type { Upstream } from '../../src/dns/command.ts';
import { UpstreamRoutes } from '../../src/dns/upstream-routes.ts';
import { encodeLabels } from '../../src/dns/wire.ts';

const at = (last: number): Upstream => ({ address: `192.0.2.${last}`, port: 53 });
const wire = (name: string) => `${Buffer.from(encodeLabels(name) ?? []).toString('latin1')}\0`;

t.test('the longest suffix of whole labels decides; each server has one number', (t) => {
  const routes = new UpstreamRoutes(
    [at(1), at(2), at(1)],
    [
      { suffix: 'corp.example', upstreams: [at(3), at(2)] },
      { suffix: 'lab.corp.example', upstreams: [at(4)] },
      { suffix: '10.in-addr.arpa', upstreams: [at(3)] },
    ],
  );
  t.strictSame(routes.servers, [at(1), at(2), at(3), at(4)]);
  const asked = (name: string) => routes.find(wire(name)).join(' ');
  const cases: [name: string, expected: string][] = [
    ['www.example', '0 1 0'],
    ['corp.example', '2 1'],
    ['www.corp.example', '2 1'],
    ['a.b.www.corp.example', '2 1'],
    ['xcorp.example', '0 1 0'],
    ['corp.example.org', '0 1 0'],
    ['lab.corp.example', '3'],
    ['www.lab.corp.example', '3'],
    ['slab.corp.example', '2 1'],
    ['1.0.0.10.in-addr.arpa', '2'],
  ];
  for (const [name, expected] of cases) t.equal(asked(name), expected, name);
  t.equal(routes.find('\0').join(' '), '0 1 0', 'the root');
  t.end();
});

t.test('routes alone: other names have nobody to ask', (t) => {
  const routes = new UpstreamRoutes([], [{ suffix: 'corp.example', upstreams: [at(3)] }]);
  t.strictSame(routes.find(wire('www.example')), []);
  t.strictSame(routes.find(wire('a.corp.example')), [0]);
  t.throws(() => new UpstreamRoutes([], [{ suffix: 'a..b', upstreams: [] }]), RangeError);
  t.end();
});
