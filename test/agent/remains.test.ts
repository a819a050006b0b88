import t from 'tap';
import { isAgent, listeningPaths } from '../../src/agent/living-agents.ts';
import { findRemains, readNamespaceName, type Seen } from '../../src/agent/remains.ts';
import type { MacAddress } from '../../src/netlink/kernel.ts';

const NOTHING: Seen = { namespaces: [], links: [], tables: [], sockets: [], guests: [], living: [] };
const mac = (text: string) => text as MacAddress;
const named = (name: string, programs: readonly number[] = [], ports: Readonly<Record<string, string>> = {}) => ({
  name,
  programs: programs.map((pid) => ({ pid, name: 'sleep' })),
  ports: Object.entries(ports).map(([name, of]) => ({ name, mac: mac(of) })),
});
const bridge = (name: string) => ({ name, kind: 'bridge', mac: mac('02:42:64:7f:00:01'), master: undefined }) as const;
const port = (name: string, master?: string) => ({ name, kind: 'veth', mac: undefined, master }) as const;

/** `removed: kind name`, `kept: what (why)`. */
function plan(seen: Partial<Seen>, force = false): readonly string[] {
  const { remove, kept } = findRemains({ ...NOTHING, ...seen }, force);
  return [...remove.map(({ kind, name }) => `${kind} ${name}`), ...kept.map(({ what, why }) => `KEPT ${what}: ${why}`)];
}

const WHOLE: Partial<Seen> = {
  namespaces: [
    named('vipmesh-abcdef-netidnet', [], { 't-taskone1': '02:42:0a:40:00:02', 't-tasktwo2': '02:42:0a:40:00:03' }),
    named('vipmesh-abcdef-othernet'),
    named('vipmesh-abcdef-t-taskone1'),
    named('vipmesh-abcdef-t-tasktwo2'),
  ],
  links: [bridge('vmeg-abcdef'), port('vmabcdef-2', 'vmeg-abcdef'), port('vmabcdef-3')],
  tables: ['vipmesh_abcdef', 'vipmesh_abcdef_tunnels'],
  sockets: [
    { path: '/run/vipmesh/vipmesh.sock', isServed: false },
    { path: '/run/vipmesh/other.sock', isServed: true },
  ],
};

t.test('everything of an agent that has ended, containers before what they hang on', async (t) => {
  t.same(plan(WHOLE), [
    'container vipmesh-abcdef-t-taskone1',
    'container vipmesh-abcdef-t-tasktwo2',
    'link vmabcdef-2',
    'link vmabcdef-3',
    'link vmeg-abcdef',
    'network vipmesh-abcdef-netidnet',
    'network vipmesh-abcdef-othernet',
    'table vipmesh_abcdef',
    'table vipmesh_abcdef_tunnels',
    'socket /run/vipmesh/vipmesh.sock',
  ]);
  t.same(plan({}), []);
});

t.test('nothing of an agent that runs', async (t) => {
  const living = [{ pid: 7, socket: '/tmp/a.sock', instance: 'abcdef' }];
  t.same(plan({ ...WHOLE, sockets: [], living }), [
    'KEPT what the agent with pid 7 has made: it runs; its socket is /tmp/a.sock',
  ]);
  t.same(plan({ ...WHOLE, sockets: [], living }, true).length, 1, 'not by force either');
  t.same(plan({ living }), [], 'nothing is said about one that has made nothing');
});

t.test('a container in which something runs keeps what it needs', async (t) => {
  const [network, other, one] = WHOLE.namespaces ?? [];
  if (network === undefined || other === undefined || one === undefined) throw new Error('no namespaces');
  const inhabited = {
    ...WHOLE,
    namespaces: [network, other, one, named('vipmesh-abcdef-t-tasktwo2', [11, 12, 13, 14])],
  };
  t.same(plan(inhabited), [
    'container vipmesh-abcdef-t-taskone1',
    'network vipmesh-abcdef-othernet',
    'socket /run/vipmesh/vipmesh.sock',
    'KEPT network vipmesh-abcdef-netidnet: a container that runs is on it',
    'KEPT container vipmesh-abcdef-t-tasktwo2: sleep (pid 11), sleep (pid 12), sleep (pid 13), 1 more runs in it',
    ...['vmeg-abcdef', 'vmabcdef-2', 'vmabcdef-3', 'vipmesh_abcdef', 'vipmesh_abcdef_tunnels'].map(
      (name) => `KEPT ${name}: containers that are kept reach the outside by it`,
    ),
  ]);
  t.same(plan(inhabited, true), plan(WHOLE), 'unless forced');
  t.same(findRemains({ ...NOTHING, ...inhabited }, true).inhabited, ['vipmesh-abcdef-t-tasktwo2']);
});

t.test('so does a container that something else made', async (t) => {
  const namespaces = [named('vipmesh-abcdef-netidnet', [], { 't-attached': '02:42:0a:40:00:05' })];
  const guest = (address: string) => ({ program: { pid: 21, name: 'nginx' }, macs: [mac(address)] });
  t.same(plan({ namespaces, guests: [guest('02:42:0a:40:00:05')] }), [
    'KEPT network vipmesh-abcdef-netidnet: a container that runs is on it',
    'KEPT an attached container: nginx (pid 21) runs in it',
  ]);
  const gone = ['network vipmesh-abcdef-netidnet'];
  t.same(plan({ namespaces, guests: [guest('02:42:0a:40:00:06')] }), gone, 'another MAC address is another container');
  t.same(plan({ namespaces, guests: [guest('02:42:0a:40:00:05')] }, true), gone);
});

t.test('what only looks like it', async (t) => {
  const namespaces = [
    'vipmesh-abcdef',
    'vipmesh-abcdef-',
    'vipmesh-abcdef-short',
    'vipmesh-abcdef-t-short',
    'vipmesh-abcdef-longerthan8',
    'vipmesh-ABCDEF-netidnet',
    'vipmesh-abcdefg-netidnet',
    'my-vipmesh-abcdef-netidnet',
    'vipmesh-abcdef-x-netidnet',
  ].map((name) => named(name));
  const links = [
    { ...bridge('vmeg-abcdef'), mac: mac('4e:00:00:00:00:01') },
    { ...bridge('vmeg-fedcba'), kind: 'other' },
    bridge('vmeg-abcdefg'),
    bridge('vmbr0'),
    port('vm0'),
    port('vmabcdef-2'),
    port('vmabcdef-xyz', 'vmeg-abcdef'),
    port('vmabcdef-2', 'br0'),
  ] as const;
  const tables = ['vipmesh', 'vipmesh_abc', 'vipmesh_abcdef_other', 'xvipmesh_abcdef', 'filter'];
  t.same(plan({ namespaces, links, tables }), []);
  const known = { tables: ['vipmesh_abcdef'] };
  t.same(plan({ ...known, links: [port('vmabcdef-02'), port('vmabcdef-2', 'br0')] }), ['table vipmesh_abcdef']);
  t.same(plan({ ...known, links: [{ ...port('vmabcdef-2'), kind: 'bridge' }] }), ['table vipmesh_abcdef']);
  t.same(readNamespaceName('vipmesh-ab12cd-t-12345678'), { instance: 'ab12cd', task: '12345678' });
  t.same(readNamespaceName('vipmesh-ab12cd-12345678'), { instance: 'ab12cd', task: undefined });
});

t.test('which command line is an agent', async (t) => {
  const table: readonly (readonly [string, boolean])[] = [
    ['node /usr/lib/node_modules/vipmesh/dist/src/main.js agent --dns 127.0.0.1:53', true],
    ['node --max-old-space-size=100 /x/node_modules/.bin/vipmesh agent', true],
    ['node /x/dist/src/main.js --host unix:///tmp/a.sock agent', true],
    ['node /x/dist/src/main.js --host=unix:///tmp/a.sock agent', true],
    ['node /x/dist/src/main.js run --service agent -- agent', false],
    ['node /x/dist/src/main.js', false],
    ['vim /x/src/main.ts agent', false],
    ['', false],
  ];
  for (const [line, expected] of table) t.equal(isAgent(line.split(' ')), expected, line);
});

t.test('on which sockets it listens', async (t) => {
  const listing = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/vipmesh/vipmesh.sock
0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/vipmesh/vipmesh.sock
0000000000000000: 00000002 00000000 00010000 0001 01 102 @abstract
0000000000000000: 00000002 00000000 00010000 0001 01 103 /run/other.sock
`;
  t.same(listeningPaths(listing, new Set(['100', '101', '102'])), ['/run/vipmesh/vipmesh.sock']);
});
