import t from 'tap';
import { type Lookup, resolveName } from '../../src/agent/resolution.ts';
import type { Resolution } from '../../src/api/schema.ts';
import { network, service, snapshot, task } from '../support/builders.ts';

const front = {
  ...network('shop_front', 'local', ['127.64.0.0/16'], { labels: { 'com.docker.stack.namespace': 'shop' } }),
  createdAt: 1,
};
const back = { ...network('back', 'local', ['127.65.0.0/16']), createdAt: 2 };
const deep = { ...network('deep', 'overlay', ['10.64.0.0/24'], { internal: true }), createdAt: 3 };
const web = service('web', {
  on: [
    { network: front, vip: '127.64.0.2' },
    { network: back, vip: '127.65.0.2' },
    { network: deep, vip: '10.64.0.2' },
  ],
});
const db = service('db', { on: [{ network: deep, vip: '10.64.0.3' }] });
const tasks = [task(web, 1, { shop_front: '127.64.0.3' })];
const all = snapshot({ networks: [front, back, deep], services: [web, db], tasks });

const names: Readonly<Record<string, readonly string[]>> = {
  'net-shop_front web': ['127.64.0.2'],
  'net-shop_front tasks.web': ['127.64.0.3'],
  'net-back web': ['127.65.0.2'],
  'net-back tasks.web': [],
  'net-deep web': ['10.64.0.2'],
  'net-deep db': ['10.64.0.3'],
};
const lookup: Lookup = (id, name) => names[`${id} ${name}`];

function show(one: Resolution): string {
  const answers = one.Answers.map((a) => `${a.Network} ${a.Kind} ${a.Service ?? '-'} ${a.Addresses.join(',')}`);
  return [
    one.Outcome,
    ...answers,
    ...one.Hidden.map((h) => `(${h.Network} ${h.Addresses.join(',')}: ${h.Reason})`),
  ].join(' | ');
}

t.test('what a process on the node is told', async (t) => {
  const table: readonly (readonly [string, string])[] = [
    [
      'web',
      'answer | shop_front vip web 127.64.0.2 | (back 127.65.0.2: shop_front is older and answers first) | (deep 10.64.0.2: an overlay network: only its containers see it)',
    ],
    [
      'WEB.',
      'answer | shop_front vip web 127.64.0.2 | (back 127.65.0.2: shop_front is older and answers first) | (deep 10.64.0.2: an overlay network: only its containers see it)',
    ],
    ['tasks.web', 'answer | shop_front endpoints web 127.64.0.3 | (back : shop_front is older and answers first)'],
    ['web.back', 'answer | back vip web 127.65.0.2'],
    ['web.front', 'answer | shop_front vip web 127.64.0.2'],
    ['tasks.web.back', 'nodata'],
    ['db', 'nxdomain | (deep 10.64.0.3: an overlay network: only its containers see it)'],
    ['nothing.back', 'nxdomain'],
    ['example.org', 'forwarded'],
  ];
  for (const [name, expected] of table) t.equal(show(resolveName(all, lookup, name, undefined)), expected, name);
});

t.test('what a container on one network is told', async (t) => {
  t.equal(show(resolveName(all, lookup, 'web', deep.id)), 'answer | deep vip web 10.64.0.2');
  t.equal(
    show(resolveName(all, lookup, 'example.org', deep.id)),
    'refused',
    'an internal network lets no question out',
  );
  t.equal(show(resolveName(all, lookup, 'db', back.id)), 'nxdomain');
});
