import t from 'tap';
import { type ForeignPlace, ForeignNames } from '../../src/agent/foreign-names.ts';
import type { Subnet } from '../../src/model/address.ts';
import type { TaskId } from '../../src/model/task.ts';

const [ONE, TWO] = ['one', 'two'] as readonly string[] as readonly [TaskId, TaskId];

function place(network: string, address: string, ...names: string[]): ForeignPlace {
  return { network, networkName: `${network}-net`, subnets: ['10.0.0.0/24' as Subnet], addresses: [address], names };
}

/** What was posted since it was last looked, as text. */
function rig() {
  const said: string[] = [];
  const numbers = new Map<string, number>();
  const names = new ForeignNames({
    post: (command) => {
      if (command.kind === 'zone-add') said.push(`add ${command.network} ${command.name} ${command.subnets}`);
      else if (command.kind === 'zone-remove') said.push(`remove ${command.network}`);
      else if (command.kind === 'zone-update') {
        const { network, names, pointers } = command.update;
        said.push(...names.map((one) => `${network} ${one.name} ${one.exists ? one.addresses : 'gone'}`));
        said.push(...pointers.map((one) => `${network} ${one.address} is ${one.name}`));
      }
    },
    takeNumber: (key) => {
      const number = 10 + numbers.size;
      numbers.set(key, number);
      return number;
    },
    releaseNumber: (key) => said.push(`free ${numbers.get(key)}`),
    setScope: (client, networks, forward) => {
      said.push(`${client} sees ${networks}${forward ? '' : ' only'}`);
      return 7;
    },
  });
  return { names, said: () => said.splice(0) };
}

t.test('names of containers, as they come, change and go', (t) => {
  const { names, said } = rig();
  names.set('c1', [place('a', '10.0.0.2', 'web-1', 'web')]);
  t.same(said(), ['add 10 a-net 10.0.0.0/24', '10 web-1 10.0.0.2', '10 web 10.0.0.2', '10 10.0.0.2 is web-1']);
  names.set('c2', [place('a', '10.0.0.3', 'web-2', 'web')]);
  t.same(said(), ['10 web-2 10.0.0.3', '10 web 10.0.0.2,10.0.0.3', '10 10.0.0.3 is web-2']);
  names.set('c2', [place('a', '10.0.0.3', 'web-2', 'web')]);
  t.same(said(), [], 'the same again');
  names.set('c2', [place('a', '10.0.0.3', 'new', 'web')]);
  t.same(said(), ['10 web-2 gone', '10 web 10.0.0.2,10.0.0.3', '10 new 10.0.0.3', '10 10.0.0.3 is new']);
  names.set('c1', []);
  t.same(said(), ['10 web-1 gone', '10 web 10.0.0.3', '10 10.0.0.2 is null']);
  names.set('c1', []);
  names.set('c2', [place('b', '10.0.0.9', 'new')]);
  t.same(said(), ['remove 10', 'free 10', 'add 11 b-net 10.0.0.0/24', '11 new 10.0.0.9', '11 10.0.0.9 is new']);
  t.end();
});

t.test('who sees them', (t) => {
  const { names, said } = rig();
  t.equal(names.open(ONE, [1, 2], true), 7);
  names.sees(ONE, ['a', 'b']);
  names.sees(TWO, ['b']);
  t.same(said(), ['one sees 1,2', 'one sees 1,2'], 'what is not there yet, and who is not, come later');
  names.set('c1', [place('b', '10.0.0.2', 'x')]);
  t.same(said().slice(0, 2), ['add 10 b-net 10.0.0.0/24', 'one sees 1,2,10']);
  names.open(TWO, [3], false);
  t.same(said(), ['two sees 3,10 only']);
  names.set('c2', [place('a', '10.0.0.2', 'x')]);
  t.ok(said().includes('one sees 1,2,11,10'), 'in the order in which it was said');
  names.close(TWO);
  names.set('c1', []);
  t.same(said(), ['one sees 1,2,11', 'remove 10', 'free 10'], 'before its number can be that of another network');
  t.end();
});
