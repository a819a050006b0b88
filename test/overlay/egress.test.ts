import fc from 'fast-check';
import t from 'tap';
import type { Subnet } from '../../src/model/address.ts';
import {
  chooseEgressSubnet,
  clashOf,
  egressPlace,
  egressSubnetProblem,
  nextEgressNumber,
  observedEgressPlace,
} from '../../src/overlay/egress.ts';
import { ip, subnet } from '../support/builders.ts';

const routed = (...destinations: readonly (readonly [string, string])[]) =>
  destinations.map(([destination, link]) => ({ destination: subnet(destination), link }));

t.test('the subnet: the first of the pool that leads nowhere yet', async (t) => {
  t.equal(chooseEgressSubnet([]), '100.127.0.0/20');
  t.equal(chooseEgressSubnet(routed(['0.0.0.0/0', 'eth0'], ['10.0.0.0/8', 'eth0'])), '100.127.0.0/20');
  t.equal(chooseEgressSubnet(routed(['100.127.0.5/32', 'tailscale0'])), '100.127.16.0/20');
  t.equal(chooseEgressSubnet(routed(['100.127.0.0/20', 'vmeg-1'], ['100.127.16.0/20', 'vmeg-2'])), '100.127.32.0/20');
  t.equal(chooseEgressSubnet(routed(['100.64.0.0/10', 'wg0'])), undefined);
});

t.test('a clash names the link that has it', async (t) => {
  const there = routed(['10.9.0.0/16', 'eth1'], ['10.8.0.0/24', 'vmeg-ab12cd']);
  t.equal(clashOf(subnet('10.9.4.0/24'), there, 'vmeg-ab12cd'), 'eth1');
  t.equal(clashOf(subnet('10.8.0.0/24'), there, 'vmeg-ab12cd'), undefined, 'its own bridge is none');
});

t.test('which subnets can be used', async (t) => {
  t.equal(egressSubnetProblem(subnet('10.9.0.0/16')), undefined);
  t.match(egressSubnetProblem(subnet('fd00::/64')), /IPv6/);
  t.match(egressSubnetProblem(subnet('10.9.0.0/30')), /8 to 29/);
  t.match(egressSubnetProblem(subnet('0.0.0.0/0')), /8 to 29/);
});

t.test('numbers go round, and skip what is taken', async (t) => {
  const small = subnet('10.9.0.0/29');
  const next = (taken: readonly number[], last?: number) => nextEgressNumber(small, new Set(taken), last);
  t.equal(next([]), 2);
  t.equal(next([2], 2), 3);
  t.equal(next([], 6), 2, 'after the last one the first; 7 is the broadcast address');
  t.equal(next([2, 3, 4, 5, 6], 4), undefined, 'full');
  t.equal(egressPlace(small, 6).address, '10.9.0.6');
});

t.test('property: every number is given once before any is missing', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 24, max: 29 }), fc.integer({ min: 2, max: 5 }), (length, last) => {
      const range = `10.9.0.0/${length}` as Subnet;
      const taken = new Set<number>();
      for (let number = nextEgressNumber(range, taken, last); number !== undefined; ) {
        if (taken.has(number)) return false;
        taken.add(number);
        number = nextEgressNumber(range, taken, number);
      }
      return taken.size === 2 ** (32 - length) - 3;
    }),
  );
});

t.test('a place is read back from the container', async (t) => {
  const seen = (link: string, address: string) => ({
    links: [],
    routes: [],
    neighbours: [],
    forwarding: [],
    addresses: [{ link, address: ip(address), prefixLength: 20, deprecated: false }],
  });
  const range = subnet('100.127.0.0/20');
  t.strictSame(observedEgressPlace(range, seen('egress', '100.127.1.44')), egressPlace(range, 300));
  t.equal(observedEgressPlace(range, seen('eth0', '100.127.1.44')), undefined);
  t.equal(observedEgressPlace(range, seen('egress', '10.0.0.2')), undefined, 'of another subnet');
  t.equal(observedEgressPlace(range, seen('egress', '100.127.15.255')), undefined, 'broadcast');
});
