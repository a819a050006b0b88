import t from 'tap';
import { networkMtu, underlayMtu } from '../../src/overlay/mtu.ts';
import { ip, network } from '../support/builders.ts';
import { FakeKernel } from '../support/fake-kernel.ts';

t.test('the size of packets on a network', async (t) => {
  const V4 = ['10.64.0.0/24'];
  const V6 = ['fd00:64::/64'];
  const table: readonly (readonly [readonly string[], string, number | undefined, string, number])[] = [
    [V4, '192.0.2.1', 1500, '', 1450],
    [V4, '2001:db8::1', 1500, '', 1430],
    [V4, '192.0.2.1', 9000, '', 8950],
    [V4, '192.0.2.1', undefined, '', 1450],
    [V4, '192.0.2.1', 1500, '1300', 1300],
    [V4, '192.0.2.1', 1500, '1450', 1450],
    [V4, '192.0.2.1', 1500, '9000', 1450],
    [V4, '192.0.2.1', 1500, 'large', 1450],
    [V4, '192.0.2.1', 1500, '-1', 1450],
    [V4, '192.0.2.1', 1500, '20', 68],
    [V6, '192.0.2.1', 1500, '1000', 1280],
    [V6, '2001:db8::1', 1300, '', 1280],
  ];
  for (const [subnets, dataAddress, underlay, option, expected] of table) {
    const options: Record<string, string> = option === '' ? {} : { 'com.docker.network.driver.mtu': option };
    const one = network('back', 'overlay', subnets, { options });
    const tunnel = { dataAddress: ip(dataAddress), underlay };
    t.equal(networkMtu(one, tunnel), expected, `${subnets} over ${dataAddress}, ${underlay}, option "${option}"`);
  }
});

t.test('a node that is alone leaves it to the kernel, unless the network asks for less', async (t) => {
  t.equal(networkMtu(network('back', 'overlay'), undefined), undefined);
  const options = { 'com.docker.network.driver.mtu': '1400' };
  t.equal(networkMtu(network('back', 'overlay', ['10.64.0.0/24'], { options }), undefined), 1400);
  const more = { 'com.docker.network.driver.mtu': '9000' };
  t.equal(networkMtu(network('back', 'overlay', ['10.64.0.0/24'], { options: more }), undefined), undefined);
});

t.test('the underlay is the link that carries the address', async (t) => {
  const { own } = new FakeKernel();
  await own.apply({ kind: 'add-bridge', name: 'eth0' });
  await own.apply({ kind: 'set-link', name: 'eth0', mtu: 1400 });
  const address = { address: ip('192.0.2.1'), prefixLength: 24, deprecated: false };
  await own.apply({ kind: 'add-address', link: 'eth0', address });
  t.equal(underlayMtu(await own.observe(), ip('192.0.2.1')), 1400);
  t.equal(underlayMtu(await own.observe(), ip('192.0.2.2')), undefined);
});
