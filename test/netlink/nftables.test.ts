// The batches as a tree of names and values, read back from the bytes.
import t from 'tap';
import { FLAG } from '../../src/netlink/message.ts';
import { type Batch, removeTable, replaceElements, replaceTable } from '../../src/netlink/nftables.ts';
import { egressRuleset } from '../../src/overlay/egress.ts';
import { guardRuleset } from '../../src/overlay/guard.ts';
import { ip, subnet } from '../support/builders.ts';

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

t.test('the table of the tunnels: sets and a counter before the rules that name them', async (t) => {
  const ruleset = guardRuleset(4789, [4097], [ip('192.0.2.1'), ip('2001:db8::1')]);
  t.strictSame(outline(replaceTable('t_tunnels', ruleset)).slice(4, -1), [
    'new counter t_tunnels strangers',
    'new set t_tunnels vnis',
    'new elements t_tunnels vnis',
    'new set t_tunnels nodes_ipv4',
    'new elements t_tunnels nodes_ipv4',
    'new set t_tunnels nodes_ipv6',
    'new elements t_tunnels nodes_ipv6',
    'new chain t_tunnels input filter',
    ...['nodes_ipv4', 'nodes_ipv6'].map((set) =>
      [
        'new rule t_tunnels input meta cmp payload cmp payload lookup vnis',
        `meta cmp payload lookup ${set} objref strangers immediate`,
      ].join(' '),
    ),
  ]);
});

t.test('elements in place of those that were there; a large set in parts', async (t) => {
  const elements = Array.from({ length: 2500 }, (_, i) => i);
  t.strictSame(outline(replaceElements('t_tunnels', { name: 'vnis', of: 'vni', elements })), [
    'begin',
    'delete elements t_tunnels vnis',
    ...Array(3).fill('new elements t_tunnels vnis'),
    'end',
  ]);
  t.strictSame(outline(replaceElements('t_tunnels', { name: 'vnis', of: 'vni', elements: [] })).length, 3);
});

t.test('removing', async (t) => {
  t.strictSame(outline(removeTable('x')), ['begin', 'new table', 'delete table', 'end']);
});
