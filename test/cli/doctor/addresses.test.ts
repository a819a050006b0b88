// What `vipmesh doctor` says of networks' addresses that are in use elsewhere.
import t from 'tap';
import { type AddressFacts, checkAddresses, type MeshNetwork } from '../../../src/cli/doctor/addresses.ts';
import { ip, subnet } from '../../support/builders.ts';
import { lines } from './lines.ts';

t.test('addresses', async (t) => {
  const route = (destination: string, link = 'eth0') => ({ destination: subnet(destination), link });
  const network = (name: string, range: string, more: Partial<MeshNetwork> = {}): MeshNetwork => ({
    name,
    driver: 'overlay',
    internal: false,
    subnets: [subnet(range)],
    ...more,
  });
  const facts: AddressFacts = {
    networks: [network('front', '10.64.0.0/24'), network('home', '127.64.0.0/16', { driver: 'local' })],
    isRoots: true,
    addresses: [{ link: 'eth0', address: ip('192.0.2.2'), prefixLength: 24 }],
    routes: [route('0.0.0.0/0'), route('192.0.2.0/24'), route('::/0')],
    egressSubnet: undefined,
    egressPoolIsTaken: false,
  };
  const say = (more: Partial<AddressFacts>) => lines(checkAddresses({ ...facts, ...more }));
  t.same(say({}), ['ok: addresses of all 2 networks: the node has no route of its own for them']);
  t.same(say({ routes: [route('10.0.0.0/8', 'tun0')] }), [
    'warn: network front has 10.64.0.0/24, and the node reaches 10.0.0.0/8 over tun0: containers of front cannot reach that | if they should, make the network anew with another --subnet',
  ]);
  t.match(
    say({ routes: [route('10.0.0.0/8')], networks: [network('back', '10.64.0.0/24', { internal: true })] })[0],
    /^ok/,
  );
  t.match(
    say({ routes: [route('127.64.3.0/24')] })[0],
    /^bad: 127.64.3.0\/24, of the addresses of local networks .* is routed over eth0/,
  );
  t.match(say({ routes: [route('127.0.0.0/8', 'lo')] })[0], /^ok/);
  t.match(
    say({ addresses: [{ link: 'eth1', address: ip('127.70.0.1'), prefixLength: 8 }] })[0],
    /^bad: eth1 has 127.70.0.1/,
  );
  t.match(
    say({ egressSubnet: subnet('192.0.2.0/25') })[0],
    /^bad: the egress subnet 192.0.2.0\/25 is routed over eth0/,
  );
  t.match(say({ egressPoolIsTaken: true })[0], /^bad: each part of 100.127.0.0\/16.*--egress-subnet/);
  t.match(say({ egressPoolIsTaken: true, isRoots: false })[0], /^ok/);
  t.match(say({ networks: [] })[0], /^ok: addresses for networks/);
});
