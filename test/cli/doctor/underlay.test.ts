// What `vipmesh doctor` says of the way to other nodes.
import t from 'tap';
import { checkUnderlay } from '../../../src/cli/doctor/underlay.ts';
import { ip } from '../../support/builders.ts';
import { lines } from './lines.ts';

t.test('underlay', async (t) => {
  const underlay = { address: ip('192.0.2.2'), link: 'eth0', mtu: 1500 };
  const facts = { underlay, isCluster: true, tunnels: [], paths: [] };
  t.same(lines(checkUnderlay(facts)), [
    'ok: eth0 (192.0.2.2) takes packets of 1500 bytes, so overlay networks between nodes have an MTU of 1450',
  ]);
  t.match(
    lines(checkUnderlay({ ...facts, underlay: { ...underlay, address: ip('2001:db8::2') } }))[0],
    /an MTU of 1430$/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: { ...underlay, mtu: 1300 } }))[0],
    /^warn: .*too little for IPv6.*raise the MTU of eth0 to 1330/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: undefined, told: ip('192.0.2.9') }))[0],
    /192\.0\.2\.9, at which other nodes are told to reach this one, is not on this machine/,
  );
  t.match(
    lines(checkUnderlay({ ...facts, underlay: undefined }))[0],
    /^bad: this machine has no address .*--advertise/,
  );
  t.match(lines(checkUnderlay({ ...facts, underlay: undefined, isCluster: false }))[0], /^ok/);
  t.match(
    lines(
      checkUnderlay({
        ...facts,
        tunnels: [
          { namespace: 'n1', mtu: 1450 },
          { namespace: 'n2', mtu: 1500 },
        ],
      }),
    )[1],
    /^warn: n2 \(1500\): an MTU larger than the 1450/,
  );
  const path = (more: { readonly mtu?: number; readonly error?: string }) =>
    lines(checkUnderlay({ ...facts, paths: [{ node: 'n2', address: ip('192.0.2.3'), mtu: 1500, ...more }] }))[1];
  t.equal(path({}), 'ok: no error comes back from packets of 1500 bytes to the tunnel port of 1 node: n2');
  t.match(path({ error: 'ECONNREFUSED' }), /^ok/, 'it has no tunnel yet');
  t.match(
    path({ mtu: 1400 }),
    /^warn: packets to n2 \(192.0.2.3\) may have 1400 bytes, and this node's link takes 1500.*driver.mtu=1350$/,
  );
  t.match(path({ mtu: 1400, error: 'EMSGSIZE' }), /^warn: .* may have 1400/);
  t.match(path({ error: 'EHOSTUNREACH' }), /^bad: .*do not arrive: EHOSTUNREACH .*ip route get 192.0.2.3/);
  t.match(path({ error: 'EPERM' }), /^bad: .*are not let out: EPERM .*4789\/udp/);
  t.match(path({ error: 'EINVAL' }), /^warn: .*cannot be sent: EINVAL/);
});
