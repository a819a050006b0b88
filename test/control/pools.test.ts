import t from 'tap';
import { AddressUse } from '../../src/control/address-use.ts';
import { poolWarnings, subnetUses } from '../../src/control/pools.ts';
import { ip, network, service, snapshot, task } from '../support/builders.ts';

t.test('a subnet that is nearly full is told before it is', (t) => {
  const small = network('small', 'overlay', ['10.64.0.0/28']);
  const web = service('web', { on: [{ network: small, vip: '10.64.0.2' }] });
  const tasks = Array.from({ length: 11 }, (_, n) => task(web, n + 1, { small: `10.64.0.${n + 3}` }));
  const state = snapshot({ networks: [small], services: [web], tasks });
  const use = new AddressUse();
  use.put(web);
  for (const one of tasks) use.put(one);
  const full = { network: 'small', subnet: '10.64.0.0/28', used: 12, usable: 13 };
  t.same(subnetUses(state, use), [full]);
  t.same(poolWarnings(subnetUses(state, use)), [
    'network small: 12 of the 13 addresses of 10.64.0.0/28 are used; make a larger network before it is full',
  ]);
  for (const one of tasks.slice(5)) use.drop(one);
  t.same(poolWarnings(subnetUses(state, use)), []);
  use.add(small.id, ip('192.0.2.1'));
  t.equal(subnetUses(state, use)[0]?.used, 6, 'what is served elsewhere takes none of its addresses');
  t.end();
});
