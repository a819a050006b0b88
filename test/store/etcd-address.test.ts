// Addresses of etcd as users write them.
import { inspect } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { endpointText, type EtcdAddress, parseEtcdUrl } from '../../src/store/etcd/address.ts';

/** An address in one line: what a reader checks. */
function shown(text: string): string {
  const address = parseEtcdUrl(text);
  if (typeof address === 'string') return `no: ${address}`;
  const { endpoints, prefix, tls, user, password } = address;
  const login = user === undefined ? '' : `${user}:${password?.reveal() ?? '?'}@`;
  return `${tls ? 'tls ' : ''}${login}${endpoints.map(endpointText).join(' ')} ${prefix}`;
}

t.test('addresses', (t) => {
  const rows: readonly (readonly [string, string])[] = [
    ['etcd://h1', 'h1:2379 /vipmesh'],
    ['etcd://h1:2379,h2:2380/', 'h1:2379 h2:2380 /vipmesh'],
    ['etcd://h1,h2,h3/teams/a', 'h1:2379 h2:2379 h3:2379 /teams/a'],
    ['etcd://h1/teams/a/', 'h1:2379 /teams/a'],
    ['etcds://10.0.0.1', 'tls 10.0.0.1:2379 /vipmesh'],
    ['etcd://[fd00::1]:2379,[::1]', '[fd00::1]:2379 [::1]:2379 /vipmesh'],
    ['etcd://ann:secret@h1/x', 'ann:secret@h1:2379 /x'],
    ['etcd://ann:a%40b%3A%2Fc@h1', 'ann:a@b:/c@h1:2379 /vipmesh'],
    ['etcd://ann:a@b@h1', 'ann:a@b@h1:2379 /vipmesh'],
    ['etcd://ann@h1', 'ann:?@h1:2379 /vipmesh'],
  ];
  for (const [text, expected] of rows) t.equal(shown(text), expected, text);
  t.end();
});

t.test('what is no address', (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['', /expected etcd:\/\//],
    ['h1:2379', /expected etcd:\/\//],
    ['http://h1:2379', /expected etcd:\/\//],
    ['etcd://', /an empty host/],
    ['etcd://h1,', /an empty host/],
    ['etcd://h1:0', /h1:0 is not HOST/],
    ['etcd://h1:65536', /h1:65536 is not HOST/],
    ['etcd://h1:x', /h1:x is not HOST/],
    ['etcd://fd00::1', /is not HOST/],
    ['etcd://h1,h1:2379', /named twice/],
    ['etcd://h1/a//b', /prefix/],
    ['etcd://h1/a b', /prefix/],
    ['etcd://h1/ä', /prefix/],
    ['etcd://h1/a?b=1', /prefix/],
    ['etcd://ann:%zz@h1', /%25/],
    ['etcd://:secret@h1', /user before the @ is empty/],
    ['etcd://ann:@h1', /password of ann is empty/],
  ];
  for (const [text, expected] of rows) {
    t.match(shown(text), expected, text);
    t.match(shown(text), /^no: /, text);
  }
  t.end();
});

t.test('a password is not shown', (t) => {
  const address = parseEtcdUrl('etcd://ann:hunter2@h1') as EtcdAddress;
  for (const text of [inspect(address), JSON.stringify(address), `${address.password}`]) t.notMatch(text, /hunter2/);
  for (const wrong of [
    'etcd://ann:hunter2@',
    'etcd://ann:hunter2@h1:x',
    'etcd://ann:hunter2@h1/a b',
    'etcd:/ann:hunter2@h',
  ])
    t.notMatch(shown(wrong), /hunter2/, wrong);
  t.end();
});

t.test('whatever is written, the answer is an address or a reason', (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `etcd://${text}`),
      ),
      (text) => {
        const address = parseEtcdUrl(text);
        if (typeof address === 'string') return address !== '';
        return (
          address.endpoints.length > 0 && /^(\/[\x21-\x7e]+)+$/.test(address.prefix) && !address.prefix.endsWith('/')
        );
      },
    ),
  );
  t.end();
});
