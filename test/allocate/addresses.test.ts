import fc from 'fast-check';
import t, { type Test } from 'tap';
import { claimAddress, nextAddress, usableAddresses } from '../../src/allocate/addresses.ts';
import { AllocationError, type AllocationErrorCode } from '../../src/allocate/allocation-error.ts';
import { type IpAddress, type Subnet, subnetAddress, subnetContains } from '../../src/model/address.ts';

const subnet = (text: string): Subnet => text as Subnet;
const ip = (text: string): IpAddress => text as IpAddress;
const ips = (...texts: string[]): ReadonlySet<IpAddress> => new Set(texts as IpAddress[]);

t.test('next address', async (t) => {
  const cases: readonly (readonly [string, Parameters<typeof nextAddress>[0], string])[] = [
    ['begins behind the gateway', { subnet: subnet('10.64.0.0/24'), taken: ips() }, '10.64.0.2'],
    ['skips what is taken', { subnet: subnet('10.64.0.0/24'), taken: ips('10.64.0.2', '10.64.0.3') }, '10.64.0.4'],
    [
      'goes on behind the last one',
      { subnet: subnet('10.64.0.0/24'), taken: ips(), last: ip('10.64.0.7') },
      '10.64.0.8',
    ],
    [
      'begins again before the broadcast address',
      { subnet: subnet('10.64.0.0/24'), taken: ips(), last: ip('10.64.0.254') },
      '10.64.0.2',
    ],
    [
      'leaves out what cools down',
      { subnet: subnet('10.64.0.0/24'), taken: ips(), coolingDown: ips('10.64.0.2', '10.64.0.3') },
      '10.64.0.4',
    ],
    [
      'takes the coolest when nothing else is left',
      {
        subnet: subnet('10.64.0.0/29'),
        taken: ips('10.64.0.2', '10.64.0.4'),
        coolingDown: ips('10.64.0.5', '10.64.0.3', '10.64.0.6'),
      },
      '10.64.0.5',
    ],
    ['IPv6', { subnet: subnet('fd00:1::/64'), taken: ips('fd00:1::2') }, 'fd00:1::3'],
    [
      'IPv6 goes on behind the last one',
      { subnet: subnet('fd00:1::/64'), taken: ips(), last: ip('fd00:1::ffff') },
      'fd00:1::1:0',
    ],
    [
      'ignores a last one of elsewhere',
      { subnet: subnet('10.64.0.0/24'), taken: ips(), last: ip('10.65.0.9') },
      '10.64.0.2',
    ],
  ];
  for (const [name, request, expected] of cases) t.equal(nextAddress(request), expected, name);
});

t.test('a full subnet says so', async (t) => {
  const taken = ips('10.64.0.2', '10.64.0.3', '10.64.0.4', '10.64.0.5', '10.64.0.6');
  throwsWith(t, 'subnet-full', /10\.64\.0\.0\/29 is full: 5 of its 5 addresses .* larger subnet/, () =>
    nextAddress({ subnet: subnet('10.64.0.0/29'), taken }),
  );
});

t.test('a wanted address', async (t) => {
  const net = subnet('10.64.0.0/24');
  t.doesNotThrow(() => claimAddress(net, ip('10.64.0.9'), ips()));
  throwsWith(t, 'address-outside', /10\.65\.0\.9 is not in subnet 10\.64\.0\.0\/24/, () =>
    claimAddress(net, ip('10.65.0.9'), ips()),
  );
  for (const kept of ['10.64.0.0', '10.64.0.1', '10.64.0.255']) {
    throwsWith(t, 'address-reserved', /kept back/, () => claimAddress(net, ip(kept), ips()));
  }
  throwsWith(t, 'address-taken', /belongs to another/, () => claimAddress(net, ip('10.64.0.9'), ips('10.64.0.9')));
});

t.test('capacity', async (t) => {
  t.equal(usableAddresses(subnet('10.64.0.0/24')), 253n);
  t.equal(usableAddresses(subnet('10.64.0.0/29')), 5n);
  t.equal(usableAddresses(subnet('10.64.0.0/31')), 0n);
  t.equal(usableAddresses(subnet('10.64.0.0/32')), 0n);
  t.equal(usableAddresses(subnet('fd00::/64')), 2n ** 64n - 2n);
});

t.test('property: every usable address once, then full', async () => {
  const prefixes = fc.constantFrom('10.64.3.0/27', '10.64.3.0/29', '10.64.3.0/30', 'fd00::/122', 'fd00::/124');
  fc.assert(
    fc.property(prefixes, fc.nat(100), (text, start) => {
      const net = subnet(text);
      const taken = new Set<IpAddress>();
      const usable = Number(usableAddresses(net));
      let last: IpAddress | undefined = start < usable ? subnetAddress(net, BigInt(start)) : undefined;
      for (let i = 0; i < usable; i++) {
        last = nextAddress({ subnet: net, taken, ...(last === undefined ? {} : { last }) });
        if (taken.has(last) || !subnetContains(net, last)) return false;
        claimAddress(net, last, taken);
        taken.add(last);
      }
      try {
        nextAddress({ subnet: net, taken });
        return false;
      } catch (error) {
        return error instanceof AllocationError && error.code === 'subnet-full';
      }
    }),
  );
});

t.test('property: a freed address comes again only after all others', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(30), { maxLength: 200 }), (releases) => {
      const net = subnet('10.64.3.0/27');
      const taken: IpAddress[] = [];
      const freed = new Set<IpAddress>();
      let last: IpAddress | undefined;
      for (const release of releases) {
        if (taken.length > 15) freed.add(taken.splice(release % taken.length, 1)[0] ?? ip('none'));
        const address = nextAddress({
          subnet: net,
          taken: new Set(taken),
          coolingDown: freed,
          ...(last === undefined ? {} : { last }),
        });
        const allTried = taken.length + freed.size >= 29;
        if (freed.has(address) && !allTried) return false;
        if (freed.has(address) && [...freed][0] !== address) return false;
        freed.delete(address);
        taken.push(address);
        last = address;
      }
      return new Set(taken).size === taken.length;
    }),
  );
});

t.test('the work does not grow with the subnet', async (t) => {
  let asked = 0;
  class CountingSet extends Set<IpAddress> {
    override has(value: IpAddress): boolean {
      asked++;
      return super.has(value);
    }
  }
  for (const net of [subnet('127.64.0.0/16'), subnet('fd00::/64')]) {
    const taken = new CountingSet();
    let last: IpAddress | undefined;
    asked = 0;
    for (let i = 0; i < 2000; i++) {
      last = nextAddress({ subnet: net, taken, ...(last === undefined ? {} : { last }) });
      taken.add(last);
    }
    t.ok(asked <= 2010, `${net}: one look per address (${asked} looks for 2000)`);
  }
});

function throwsWith(t: Test, code: AllocationErrorCode, message: RegExp, run: () => unknown): void {
  try {
    run();
    t.fail(`nothing was thrown, ${code} was expected`);
  } catch (error) {
    t.ok(error instanceof AllocationError, 'an AllocationError');
    t.equal((error as AllocationError).code, code);
    t.match((error as AllocationError).message, message);
  }
}
