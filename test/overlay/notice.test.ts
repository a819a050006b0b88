import t from 'tap';
import type { TaskId } from '../../src/model/task.ts';
import type { FdbEntry, MacAddress, Notice } from '../../src/netlink/kernel.ts';
import { isAsPlanned } from '../../src/overlay/notice.ts';
import { macOf } from '../../src/overlay/names.ts';
import { RemoteTable } from '../../src/overlay/remotes.ts';
import { ip, network } from '../support/builders.ts';

const back = network('back', 'overlay', ['10.64.0.0/24']);
const [HERE, THERE, NOBODY] = [macOf(ip('10.64.0.2')), macOf(ip('10.64.0.3')), '02:00:00:00:00:99' as MacAddress];
const VTEP = ip('192.0.2.2');
const remotes = new RemoteTable([['there' as TaskId, { addresses: [ip('10.64.0.3')], mac: THERE, vtep: VTEP }]]);
const containers = [{ taskId: 'aaaaaaaa1' as TaskId, attachments: [{ network: back, addresses: [ip('10.64.0.2')] }] }];

function neighbour(address: string, mac: MacAddress | undefined, link = 'br0'): Notice {
  return { kind: 'neighbour', link, address: ip(address), mac };
}

function forwarding(entry: FdbEntry, link: string | undefined, isThere: boolean): Notice {
  return { kind: 'forwarding', link, entry, isThere };
}

t.test('notices of changes, as planned or not', async (t) => {
  const table: readonly (readonly [string, Notice, boolean])[] = [
    ['anything', { kind: 'any' }, false],
    ['a link', { kind: 'link', name: 'br0' }, false],
    ['a neighbour elsewhere', neighbour('10.64.0.3', THERE), true],
    ['with another address', neighbour('10.64.0.3', NOBODY), false],
    ['gone', neighbour('10.64.0.3', undefined), false],
    ['a neighbour here', neighbour('10.64.0.2', HERE), true],
    ['gone', neighbour('10.64.0.2', undefined), false],
    ["somebody's", neighbour('10.64.0.9', NOBODY), false],
    ['learned or forgotten', neighbour('10.64.0.9', undefined), true],
    ['on another link', neighbour('10.64.0.3', THERE, 't-aaaaaaaa'), false],
    ['a port', forwarding({ kind: 'port', mac: HERE }, 't-aaaaaaaa', true), true],
    ['another port', forwarding({ kind: 'port', mac: HERE }, 'vx0', true), false],
    ['no longer another port', forwarding({ kind: 'port', mac: HERE }, 'vx0', false), true],
    ['a port, gone', forwarding({ kind: 'port', mac: HERE }, 't-aaaaaaaa', false), false],
    ['to the tunnel', forwarding({ kind: 'port', mac: THERE }, 'vx0', true), true],
    ['to the tunnel, gone', forwarding({ kind: 'port', mac: THERE }, 'vx0', false), false],
    ['on a new link', forwarding({ kind: 'port', mac: THERE }, undefined, true), true],
    ["somebody's, on a new link", forwarding({ kind: 'port', mac: NOBODY }, undefined, true), false],
    ["somebody's", forwarding({ kind: 'port', mac: NOBODY }, 'vx0', true), false],
    ["somebody's, gone", forwarding({ kind: 'port', mac: NOBODY }, 'vx0', false), true],
    ['through the tunnel', forwarding({ kind: 'tunnel', mac: THERE, vtep: VTEP }, 'vx0', true), true],
    ['to another node', forwarding({ kind: 'tunnel', mac: THERE, vtep: ip('192.0.2.9') }, 'vx0', true), false],
    ['no longer to another', forwarding({ kind: 'tunnel', mac: THERE, vtep: ip('192.0.2.9') }, 'vx0', false), true],
    ['through the tunnel, gone', forwarding({ kind: 'tunnel', mac: THERE, vtep: VTEP }, 'vx0', false), false],
    ['what is here through the tunnel', forwarding({ kind: 'tunnel', mac: HERE, vtep: VTEP }, 'vx0', true), false],
  ];
  for (const [name, notice, expected] of table)
    t.equal(isAsPlanned(notice, { network: back, remotes }, containers), expected, `${notice.kind}: ${name}`);
});
