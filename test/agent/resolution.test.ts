import t from 'tap';
import { type Names, resolveName } from '../../src/agent/resolution.ts';
import { addressOfReverseName } from '../../src/agent/reverse-name.ts';
import type { NameQuestion } from '../../src/api/context.ts';
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
const tasks = [task(web, 1, { shop_front: '127.64.0.3' }), task(web, 2, { deep: '10.64.0.9' }, { name: 'inside' })];
const all = snapshot({ networks: [front, back, deep], services: [web, db], tasks });

const names: Readonly<Record<string, readonly string[]>> = {
  'net-shop_front web': ['127.64.0.2'],
  'net-shop_front tasks.web': ['127.64.0.3'],
  'net-back web': ['127.65.0.2'],
  'net-back tasks.web': [],
  'net-deep web': ['10.64.0.2'],
  'net-deep db': ['10.64.0.3'],
};
const ports = [{ protocol: 'tcp' as const, labels: ['80', 'http'], targets: [{ name: 'web', port: 80 }] }];
const told: Names = {
  name: (id, name) => {
    const values = names[`${id} ${name}`];
    return values && { values, ports: name === 'web' ? ports : [], ...(id === back.id ? { ttl: 60 } : {}) };
  },
  address: (id, address) => (names[`${id} web`]?.includes(address) ? { values: ['web'] } : undefined),
};

function ask(name: string, as: NameQuestion['as'] = { kind: 'node' }): Resolution {
  return resolveName(all, told, { name, as });
}

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
    ['back', 'nodata'],
    ['tasks.nothing', 'nxdomain'],
    ['_http._tcp.nothing', 'nxdomain'],
    ['db.deep', 'nxdomain | (deep 10.64.0.3: an overlay network: only its containers see it)'],
    ['nothing.deep', 'forwarded'],
    ['_HTTP._tcp.web.front', 'answer | shop_front port web web.shop_front:80'],
    ['_nope._tcp.web.front', 'nodata'],
    ['_tcp.web.front', 'nodata'],
    ['_tcp.nothing', 'nxdomain'],
    ['127.64.0.2', 'answer | shop_front name - web.shop_front'],
    ['2.0.64.127.in-addr.arpa', 'answer | shop_front name - web.shop_front'],
    ['127.64.0.77', 'nxdomain'],
    ['192.0.2.1', 'forwarded'],
    ['example.org', 'forwarded'],
  ];
  for (const [name, expected] of table) t.equal(show(ask(name)), expected, name);
});

t.test('what a container on one network is told', async (t) => {
  t.equal(show(ask('web', { kind: 'network', id: deep.id })), 'answer | deep vip web 10.64.0.2');
  t.equal(
    show(ask('example.org', { kind: 'network', id: deep.id })),
    'refused',
    'an internal network lets no question out',
  );
  t.equal(show(ask('db', { kind: 'network', id: back.id })), 'nxdomain');
});

t.test('why, and who asks', (t) => {
  const why = (name: string, as?: NameQuestion['as']) => {
    const { Explained } = ask(name, as);
    if (Explained === undefined) return [];
    const { Client, Networks, Forwards, Steps, TTL } = Explained;
    return [
      `${Client} sees ${Networks.join()}${Forwards ? ' and the world' : ''}`,
      ...Steps.map(({ Where, Found }) => `${Where}: ${Found}`),
      ...(TTL === undefined ? [] : [`${TTL} s`]),
    ];
  };
  const node = 'a process on this node sees shop_front,back and the world';
  t.strictSame(why('web'), [node, 'shop_front: VIP of service web: 127.64.0.2', '5 s']);
  t.strictSame(why('web.back'), [
    node,
    'shop_front: nothing is called web.back',
    'back: VIP of service web: 127.65.0.2',
    '60 s',
  ]);
  t.strictSame(why('tasks.web.back').slice(2), [
    'back: endpoints of service web: it exists and has nothing to answer',
    '60 s',
  ]);
  t.match(why('db').at(-1), /^elsewhere: a name of one label is never asked for outside$/);
  t.match(why('db.deep').at(-1), /^elsewhere: a name of network deep, which this client is not on$/);
  t.match(why('nothing.back').at(-1), /^elsewhere: it belongs to network back, which has no such name$/);
  t.match(why('example.org').at(-1), /^elsewhere: not a name of ours; servers outside are asked$/);
  const inside = { kind: 'task', id: tasks[1]?.id ?? ('' as never) } as const;
  t.strictSame(why('db', inside), ['the container of inside sees deep', 'deep: VIP of service db: 10.64.0.3', '5 s']);
  t.match(why('example.org', inside).at(-1), /^elsewhere: not a name of ours, and from internal networks no question/);
  const local = { kind: 'task', id: tasks[0]?.id ?? ('' as never) } as const;
  t.match(why('web', local)[0], /^web\.1\.task-web-1, a process on its node sees shop_front,back and the world$/);
  t.end();
});

t.test('reverse names', (t) => {
  for (const [name, expected] of [
    ['2.0.64.10.in-addr.arpa', '10.64.0.2'],
    ['2.0.64.10.IN-ADDR.ARPA', '10.64.0.2'],
    [`3.${'0.'.repeat(29)}d.f.ip6.arpa`, 'fd00::3'],
    ['0.64.10.in-addr.arpa', undefined],
    ['02.0.64.10.in-addr.arpa', undefined],
    ['256.0.64.10.in-addr.arpa', undefined],
    ['3.d.f.ip6.arpa', undefined],
    [`g.${'0.'.repeat(29)}d.f.ip6.arpa`, undefined],
    ['in-addr.arpa', undefined],
  ] as const)
    t.equal(addressOfReverseName(name), expected, name);
  t.end();
});
