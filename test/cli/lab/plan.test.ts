// Names, addresses and command lines of labs.
import t from 'tap';
import {
  addressOf,
  agentWords,
  chooseSubnet,
  etcdEndpoint,
  etcdWords,
  isOfLab,
  labNameProblem,
  machineLink,
  nodeName,
  nodeNamespace,
  switchNamespace,
} from '../../../src/cli/lab/plan.ts';
import type { Subnet } from '../../../src/model/address.ts';

const IFNAMSIZ = 16;
const subnets = (...texts: string[]) => texts as Subnet[];

t.test('a lab gets the first part of 198.18.0.0/15 that leads nowhere', async (t) => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['', '198.18.0.0/24'],
    ['10.0.0.0/8 192.168.1.0/24', '198.18.0.0/24'],
    ['198.18.0.0/24', '198.18.1.0/24'],
    ['198.18.0.77/32 198.18.1.0/25', '198.18.2.0/24'],
    ['198.18.0.0/16', '198.19.0.0/24'],
    ['198.18.0.0/16 198.19.0.0/17', '198.19.128.0/24'],
    ['198.18.0.0/15', undefined],
    ['fd00::/8', '198.18.0.0/24'],
  ];
  for (const [taken, chosen] of cases)
    t.equal(chooseSubnet(subnets(...taken.split(' ').filter(Boolean))), chosen, taken);
});

t.test('names fit the kernel, and are known again', async (t) => {
  t.equal(labNameProblem('lab'), undefined);
  for (const name of ['', 'Lab', 'a-b', 'a_b', '../x', 'abcdefghijk']) t.type(labNameProblem(name), 'string', name);
  t.ok(machineLink('abcdefghij').length < IFNAMSIZ);
  t.ok(nodeName(100).length < IFNAMSIZ);
  for (const name of [switchNamespace('lab'), nodeNamespace('lab', 'node2')]) {
    t.ok(isOfLab('lab', name), name);
    t.notOk(isOfLab('la', name));
  }
  for (const name of ['vmlab-lab', 'vmlab-lab-', 'vmlab-lab-other', 'vmlab-lab2-node2', 'vipmesh-0a1b2c-node2'])
    t.notOk(isOfLab('lab', name), name);
});

t.test('command lines', async (t) => {
  const [subnet] = subnets('198.18.3.0/24');
  if (subnet === undefined) throw new Error('no subnet');
  const machine = addressOf(subnet, 1);
  t.equal(machine, '198.18.3.1');
  const etcd = etcdWords(machine, '/tmp/x/etcd');
  t.ok(etcd.includes('--max-txn-ops=10000'));
  for (const word of etcd.filter((one) => one.includes('-urls=')))
    t.match(word, '=http://198.18.3.1:', 'nobody outside the lab gets at it');
  const node = { name: 'node2', address: addressOf(subnet, 2), socket: '/run/x.sock', stateDir: '/tmp/x/state' };
  t.equal(
    agentWords(node, etcdEndpoint(machine), 64).join(' '),
    'agent --node-name=node2 --store=etcd://198.18.3.1:2379/lab --advertise=198.18.3.2 --socket=/run/x.sock --state-dir=/tmp/x/state --workers=2 --log-format=json',
  );
  t.ok(agentWords(node, '', 1).includes('--workers=1'));
});
