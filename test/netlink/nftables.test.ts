// The batches as a tree of names and values, read back from the bytes.
import t from 'tap';
import { FLAG } from '../../src/netlink/message.ts';
import { ownResolverRules } from '../../src/overlay/own-resolver.ts';
import { type Batch, changeElements, removeTable, replaceElements, replaceTable } from '../../src/netlink/nftables.ts';
import { familySets, setChanges } from '../../src/overlay/elements.ts';
import { egressRuleset } from '../../src/overlay/egress.ts';
import { frameElements, frameSets, guardRuleset } from '../../src/overlay/guard.ts';
import { macOf } from '../../src/overlay/names.ts';
import { ip, subnet } from '../support/builders.ts';

const FRAMES = frameElements(4097, 4, [
  { addresses: [ip('10.64.0.3'), ip('fd00:64::3')], mac: macOf(ip('10.64.0.3')), vtep: ip('192.0.2.1') },
]);
const GUARDED = {
  port: 4789,
  version: 4,
  vnis: [4097],
  nodes: [ip('192.0.2.1'), ip('2001:db8::1')],
  frames: FRAMES,
} as const;

const NAMES: Readonly<Record<number, string>> = {
  16: 'begin',
  17: 'end',
  2560: 'new table',
  2562: 'delete table',
  2563: 'new chain',
  2566: 'new rule',
  2569: 'new set',
  2572: 'new elements',
  2574: 'delete elements',
  2578: 'new counter',
};

/** One line per message: its name and the printable words in it, in order. */
function outline({ requests }: Batch): readonly string[] {
  return requests.map(({ type, body }) => {
    const words = body.toString('latin1').match(/[a-z][\w-]{2,}/g) ?? [];
    return [NAMES[type] ?? `type ${type}`, ...words].join(' ');
  });
}

t.test('the egress table, in place of whatever had its name', async (t) => {
  const batch = replaceTable('vipmesh_ab12cd', egressRuleset('ab12cd', subnet('100.127.0.0/20')));
  const rule = (chain: string, ...expressions: string[]): string =>
    ['new rule vipmesh_ab12cd', chain, ...expressions].join(' ');
  const link = ['meta', 'cmp', 'vmeg-ab12cd'];
  const source = ['meta', 'cmp', 'payload', 'bitwise', 'cmp'];
  t.strictSame(outline(batch), [
    'begin',
    'new table vipmesh_ab12cd',
    'delete table vipmesh_ab12cd',
    'new table vipmesh_ab12cd',
    'new chain vipmesh_ab12cd forward filter',
    'new chain vipmesh_ab12cd postrouting nat',
    rule('forward', ...link, ...link, 'immediate'),
    rule('forward', ...link, ...source, 'immediate'),
    rule('forward', ...link, 'bitwise', 'cmp', 'immediate'),
    rule('forward', ...link, 'immediate'),
    rule('postrouting', ...source, ...link, 'masq'),
    'end',
  ]);
  t.equal(batch.acknowledged, batch.requests.length - 2, 'the last one inside the batch is acknowledged');
  t.equal(batch.requests.at(-2)?.flags, FLAG.create | FLAG.append, 'rules keep their order');
});

t.test('a subnet is compared under its mask', async (t) => {
  const { requests } = replaceTable('x', {
    chains: [
      {
        name: 'c',
        type: 'filter',
        hook: 'forward',
        priority: 0,
        rules: [{ when: [{ kind: 'source', subnet: subnet('100.127.16.0/20'), not: true }], verdict: 'drop' }],
      },
    ],
  });
  const bytes = requests.at(-2)?.body.toString('hex') ?? '';
  t.match(bytes, /08000100fffff000/, 'the mask /20');
  t.match(bytes, /0800010064 7f1000/.source.replace(' ', ''), 'the base');
});

t.test('a table that goes with its socket, and sends connections elsewhere', async (t) => {
  const batch = replaceTable('t_own', { ...ownResolverRules(), owned: true });
  const rule = 'new rule t_own output meta cmp payload bitwise cmp meta cmp payload cmp immediate immediate nat';
  t.strictSame(outline(batch).slice(4, -1), ['new chain t_own output nat', rule, rule]);
  const table = batch.requests[1]?.body.toString('hex') ?? '';
  t.match(table, /0800020000000002/, 'NFT_TABLE_F_OWNER');
  const bytes = batch.requests.at(-2)?.body.toString('hex') ?? '';
  t.match(bytes, /080001007f00000b/, '127.0.0.11');
  t.match(bytes, /06000100003500/, 'port 53');
  t.match(bytes, /0800010000000001080002000000000208000300000000010800050000000002/, 'dnat');
});

t.test('the table of the tunnels: sets and a counter before the rules that name them', async (t) => {
  const ruleset = guardRuleset(GUARDED);
  const accepted = 'meta cmp payload cmp payload payload payload payload lookup';
  t.strictSame(outline(replaceTable('t_tunnels', ruleset)).slice(4, -1), [
    ...['strangers', 'forged', 'unknown_networks'].map((name) => `new counter t_tunnels ${name}`),
    ...['vnis', 'nodes_ipv4', 'nodes_ipv6', 'frames_ipv4', 'frames_ipv6'].flatMap((name) => [
      `new set t_tunnels ${name}`,
      `new elements t_tunnels ${name}`,
    ]),
    'new chain t_tunnels input filter',
    ...[
      'meta cmp immediate',
      'payload cmp immediate',
      `${accepted} frames_ipv4 immediate`,
      `${accepted} frames_ipv6 immediate`,
      `${accepted} frames_ipv4 payload payload payload payload lookup frames_ipv4 immediate`,
      'payload lookup vnis meta cmp payload lookup nodes_ipv4 objref unknown_networks immediate',
      'payload lookup vnis meta cmp payload lookup nodes_ipv6 objref unknown_networks immediate',
      'payload lookup vnis immediate',
      'meta cmp payload lookup nodes_ipv4 objref strangers immediate',
      'meta cmp payload lookup nodes_ipv6 objref strangers immediate',
      'payload lookup vnis objref forged immediate',
    ].map((rule) => `new rule t_tunnels input ${rule}`),
  ]);
});

t.test('a key of several parts fills up each of them', async (t) => {
  const hex = (requests: Batch) => requests.requests.map(({ body }) => body.toString('hex')).join('\n');
  const made = hex(replaceTable('t', { chains: [], sets: familySets(frameSets(4), FRAMES) }));
  t.match(made, /0800050000000014/, '20 bytes: address, VNI, MAC address, address');
  t.match(made, /c0000201001001000242[0-9a-f]{8}00000a400003/, 'of which three and two are nothing');
  t.match(made, /0800050000000020/, '32 bytes with IPv6');
  const [first, second] = [...FRAMES.keys()].map((key) => new Map([[key, FRAMES.get(key) as never]]));
  if (first === undefined || second === undefined) throw new Error('no elements');
  const changes = setChanges(frameSets(4), first, second);
  t.strictSame(outline(changeElements('t', changes)), [
    'begin',
    'new elements frames_ipv4',
    'new elements frames_ipv6',
    'delete elements frames_ipv6',
    'end',
  ]);
  t.throws(() => changeElements('t', [{ name: 'x', of: ['mac'], add: [['02:42']], remove: [] }]), /02:42 is no mac/);
});

t.test('elements in place of those that were there; a large set in parts', async (t) => {
  const elements = Array.from({ length: 2500 }, (_, i) => [i]);
  t.strictSame(outline(replaceElements('t_tunnels', { name: 'vnis', of: ['vni'], elements })), [
    'begin',
    'delete elements t_tunnels vnis',
    ...Array(3).fill('new elements t_tunnels vnis'),
    'end',
  ]);
  t.strictSame(outline(replaceElements('t_tunnels', { name: 'vnis', of: ['vni'], elements: [] })).length, 3);
});

t.test('removing', async (t) => {
  t.strictSame(outline(removeTable('x')), ['begin', 'new table', 'delete table', 'end']);
});
