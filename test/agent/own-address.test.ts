// The addresses that other nodes are told, as the machine's own come and go.
import t from 'tap';
import { findAddress, OwnAddress, type OwnAddressOptions } from '../../src/agent/own-address.ts';
import type { IpAddress } from '../../src/model/address.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, subnet } from '../support/builders.ts';
import { FakeKernel } from '../support/fake-kernel.ts';

/** `link address` for each, and the links over which everything else is reached. */
function machine(addresses: readonly string[], ways: readonly string[] = []) {
  const { own } = new FakeKernel();
  const set = (...list: readonly string[]): void => {
    own.addresses = list.map((text) => {
      const [link = '', address = ''] = text.split(' ');
      return { link, address: ip(address), prefixLength: address.includes(':') ? 64 : 24, deprecated: false };
    });
  };
  set(...addresses);
  own.routedElsewhere = ways.map((link) => ({ link, destination: subnet('0.0.0.0/0') }));
  return { own, set };
}

async function followed(
  own: OwnAddressOptions['namespace'],
  current: string,
  given: OwnAddressOptions['given'] = {},
  moved: (address: IpAddress) => Promise<void> = async () => {},
) {
  const told: IpAddress[] = [];
  const errors: string[] = [];
  const log = { ...SILENT_LOG, error: (message: string) => void errors.push(message) };
  const address = new OwnAddress(
    {
      namespace: own,
      given,
      log,
      moved: async (next) => {
        await moved(next);
        told.push(next);
      },
    },
    ip(current),
  );
  await address.start();
  return { address, told, errors };
}

t.test('which address a machine is known by', async (t) => {
  const found = (addresses: readonly string[], ways: readonly string[] = []) =>
    findAddress(machine(addresses, ways).own);
  t.equal(await found(['lo 127.0.0.1', 'docker0 172.17.0.1', 'eth0 192.0.2.1'], ['eth0']), '192.0.2.1', 'the way out');
  t.equal(await found(['lo 127.0.0.1', 'eth1 10.0.0.1', 'eth0 192.0.2.1']), '10.0.0.1', 'else the first');
  t.equal(await found(['vmeg-ab12cd 100.127.0.1', 'eth0 2001:db8::1']), '2001:db8::1', 'never one of its own bridges');
  t.equal(await found(['lo 127.0.0.1', 'eth0 fe80::1']), undefined);
});

t.test('one that was found is followed', async (t) => {
  const { own, set } = machine(['eth0 192.0.2.1', 'docker0 172.17.0.1'], ['eth0']);
  const { address, told, errors } = await followed(own, '192.0.2.1');
  set('docker0 172.17.0.1', 'eth0 192.0.2.7');
  await address.start();
  t.same(told, ['192.0.2.7'], 'the one on the same link');
  t.same(address.problems, []);
  own.routedElsewhere = [];
  set('docker0 172.17.0.1');
  await address.start();
  t.same(told, ['192.0.2.7'], 'no other link is a way to the others');
  t.match(address.problems, [/^192\.0\.2\.7, at which other nodes know this one, is not on this machine/]);
  await address.start();
  t.equal(errors.length, 1, 'said once');
  own.routedElsewhere = [{ link: 'wlan0', destination: subnet('0.0.0.0/0') }];
  set('docker0 172.17.0.1', 'wlan0 198.51.100.1', 'eth0 192.0.2.7');
  await address.start();
  t.same(told, ['192.0.2.7'], 'one that is there stays');
  t.same(address.problems, []);
  set('docker0 172.17.0.1', 'wlan0 198.51.100.1');
  await address.start();
  t.same(told, ['192.0.2.7', '198.51.100.1'], 'the one that leads everywhere');
  await address.close();
});

t.test('what others could not be told is tried again', async (t) => {
  const { own } = machine(['eth0 192.0.2.7'], ['eth0']);
  let refuses = true;
  const { address, told } = await followed(own, '192.0.2.1', {}, async () => {
    if (refuses) throw new Error('the port is taken');
  });
  t.same(told, []);
  refuses = false;
  await address.start();
  t.same(told, ['192.0.2.7']);
  await address.close();
});

t.test('those that were given stay, and it is told when they are not there', async (t) => {
  const { own, set } = machine(['eth0 192.0.2.7'], ['eth0']);
  const given = { advertise: ip('192.0.2.1'), dataAddress: ip('198.51.100.1') };
  const { address, told } = await followed(own, '192.0.2.1', given);
  t.same(told, []);
  t.match(address.problems, [
    /^192\.0\.2\.1, given by --advertise, is not/,
    /^198\.51\.100\.1, given by --data-address, is/,
  ]);
  set('eth0 192.0.2.1', 'eth1 198.51.100.1');
  await address.start();
  t.same(address.problems, []);
  t.same(
    (await followed(own, '127.0.0.2', { advertise: ip('127.0.0.2') })).address.problems,
    [],
    'all of 127.0.0.0/8 is',
  );
});
