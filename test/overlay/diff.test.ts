import fc from 'fast-check';
import t from 'tap';
import type { Operation } from '../../src/netlink/kernel.ts';
import { gatewayOf } from '../../src/model/network.ts';
import type { TaskId } from '../../src/model/task.ts';
import { diff } from '../../src/overlay/diff.ts';
import { egressPlace, planEgress } from '../../src/overlay/egress.ts';
import { type ContainerSpec, type Plan, planNetwork } from '../../src/overlay/plan.ts';
import { reconcile } from '../../src/overlay/reconciler.ts';
import { ip, network, subnet } from '../support/builders.ts';
import { FakeKernel, type FakeNamespace } from '../support/fake-kernel.ts';
import { operationText } from '../support/overlay-text.ts';

const back = network('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64']);

function container(number: number): ContainerSpec {
  const addresses = [ip(`10.64.0.${number}`), ip(`fd00:64::${number.toString(16)}`)];
  return { taskId: `task${number}`.padEnd(8, 'x') as TaskId, attachments: [{ network: back, addresses }] };
}

function plan(vips: readonly string[], containers: readonly number[]): Plan {
  return planNetwork(
    'ab12cd',
    { network: back, own: back.subnets.map(gatewayOf), vips: vips.map(ip) },
    containers.map(container),
  );
}

/** A namespace, and those of the containers, so that their ends of links have a place. */
async function place(containers: readonly number[]): Promise<{ kernel: FakeKernel; namespace: FakeNamespace }> {
  const kernel = new FakeKernel();
  for (const number of containers)
    await kernel.ensureNamespace(`vipmesh-ab12cd-t-${container(number).taskId.slice(0, 8)}`);
  return { kernel, namespace: await kernel.ensureNamespace('vipmesh-ab12cd-net') };
}

async function operations(namespace: FakeNamespace, plan: Plan): Promise<readonly string[]> {
  const values = plan.sysctls.map(({ path }) => [path, namespace.sysctl(path)] as const);
  const known = values.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  return diff(plan, await namespace.observe(), new Map(known)).map(operationText);
}

t.test('from nothing: links, settings, up, addresses, routes, neighbours', async (t) => {
  const { namespace } = await place([2]);
  t.strictSame(await operations(namespace, plan(['10.64.0.9', 'fd00:64::9'], [2])), [
    'add-bridge br0',
    'add-veth t-task2xxx',
    'set-sysctl ipv4/ip_forward=0',
    'set-sysctl ipv4/conf/all/arp_ignore=0',
    'set-sysctl ipv4/conf/br0/arp_ignore=0',
    'set-sysctl ipv6/conf/br0/addr_gen_mode=0',
    'set-sysctl ipv6/conf/br0/accept_ra=0',
    'set-sysctl ipv6/conf/br0/disable_ipv6=0',
    'set-sysctl ipv6/conf/t-task2xxx/accept_ra=0',
    'set-sysctl ipv6/conf/t-task2xxx/disable_ipv6=1',
    'set-link br0 up=true',
    'set-link t-task2xxx master=br0 up=true',
    'set-link t-task2xxx port=-learning -unicastFlood',
    'add-address 10.64.0.1/24 on br0',
    'add-address fd00:64::1/64 on br0',
    'add-address fd00:64::9/128 on br0',
    'add-route 10.64.0.9/32 on lo',
    'set-forwarding 02:42:0a:40:00:02 over t-task2xxx',
    'set-neighbour 10.64.0.2 on br0',
    'set-neighbour fd00:64::2 on br0',
  ]);
});

t.test('a change: additions first', async (t) => {
  const { namespace } = await place([2, 3]);
  await reconcile(namespace, plan(['10.64.0.9', 'fd00:64::9'], [2]));
  t.strictSame(await operations(namespace, plan(['10.64.0.8', 'fd00:64::9'], [3])), [
    'add-veth t-task3xxx',
    'set-sysctl ipv6/conf/t-task3xxx/accept_ra=0',
    'set-sysctl ipv6/conf/t-task3xxx/disable_ipv6=1',
    'set-link t-task3xxx master=br0 up=true',
    'set-link t-task3xxx port=-learning -unicastFlood',
    'add-route 10.64.0.8/32 on lo',
    'set-forwarding 02:42:0a:40:00:03 over t-task3xxx',
    'set-neighbour 10.64.0.3 on br0',
    'set-neighbour fd00:64::3 on br0',
    'remove-route 10.64.0.9/32 on lo',
    'remove-neighbour 10.64.0.2 on br0',
    'remove-neighbour fd00:64::2 on br0',
    'remove-link t-task2xxx',
  ]);
});

t.test('what others did: a link down, a foreign address, another kind of link under our name', async (t) => {
  const { namespace } = await place([]);
  const wanted = plan(['10.64.0.9'], []);
  await reconcile(namespace, wanted);
  await namespace.apply({ kind: 'set-link', name: 'br0', up: false, mac: '02:00:00:00:00:99' as never });
  await namespace.apply({
    kind: 'add-address',
    link: 'br0',
    address: { address: ip('10.64.0.77'), prefixLength: 24, deprecated: false },
  });
  t.strictSame(await operations(namespace, wanted), [
    'set-link br0 mac=02:42:0a:40:00:01 up=true',
    'remove-address 10.64.0.77/24 on br0',
  ]);
  namespace.removeLink('br0');
  namespace.links.set('br0', {
    name: 'br0',
    kind: 'other',
    up: true,
    ready: true,
    mac: undefined,
    mtu: 1500,
    master: undefined,
    port: undefined,
    tunnel: undefined,
  });
  t.strictSame((await operations(namespace, wanted)).slice(0, 2), ['remove-link br0', 'add-bridge br0']);
});

t.test('in the node, what is not ours is left alone', async (t) => {
  const kernel = new FakeKernel();
  const { own } = kernel;
  own.links.set('eth0', {
    name: 'eth0',
    kind: 'other',
    up: false,
    ready: true,
    mac: undefined,
    mtu: 1500,
    master: 'docker0',
    port: undefined,
    tunnel: undefined,
  });
  own.addresses = [{ address: ip('192.0.2.1'), prefixLength: 24, deprecated: false, link: 'eth0' }];
  own.routes = [{ kind: 'unicast', destination: ip('198.51.100.0'), prefixLength: 24, link: 'eth0' }];
  own.neighbours = [{ address: ip('192.0.2.2'), mac: '02:00:00:00:00:99' as never, link: 'eth0' }];
  const range = subnet('100.127.0.0/20');
  await kernel.ensureNamespace('vipmesh-ab12cd-t-aaaaaaaa');
  const wanted = planEgress('ab12cd', range, new Map([['aaaaaaaa' as TaskId, egressPlace(range, 2)]]));
  const { applied } = await reconcile(own, wanted);
  t.notMatch(applied.map(operationText).join('\n'), /remove|eth0/);
  t.match(applied.map(operationText), ['add-bridge vmeg-ab12cd', 'add-veth vmab12cd-2'].concat([]));
});

t.test('a refused operation does not keep the others from being tried', async (t) => {
  const { kernel, namespace } = await place([2, 3]);
  kernel.refuses = (operation) => operation.kind === 'add-veth' && operation.name === 't-task2xxx';
  const { failures } = await reconcile(namespace, plan(['10.64.0.9'], [2, 3]));
  t.match(failures[0], { name: 'KernelError', code: 'refused', object: 't-task2xxx' });
  t.equal((await namespace.observeLinks(['t-task3xxx'])).length, 1);
  t.equal((await namespace.observe()).routes.length, 1);
  kernel.refuses = () => false;
  t.strictSame((await reconcile(namespace, plan(['10.64.0.9'], [2, 3]))).failures, [], 'the next time mends it');
});

t.test('property: from any plan to any other in one pass, and then nothing is left to do', async () => {
  const number = fc.integer({ min: 2, max: 20 });
  const aPlan = fc.record({
    vips: fc.uniqueArray(fc.constantFrom('10.64.0.200', '10.64.0.201', 'fd00:64::c8', 'fd00:64::c9')),
    containers: fc.uniqueArray(number, { maxLength: 5 }),
  });
  await fc.assert(
    fc.asyncProperty(aPlan, aPlan, async (first, second) => {
      const { namespace } = await place([...first.containers, ...second.containers]);
      await reconcile(namespace, plan(first.vips, first.containers));
      const outcome = await reconcile(namespace, plan(second.vips, second.containers));
      const left = await operations(namespace, plan(second.vips, second.containers));
      return outcome.failures.length === 0 && left.length === 0 && isAddThenRemove(outcome.applied);
    }),
    { numRuns: 100 },
  );
});

function isAddThenRemove(applied: readonly Operation[]): boolean {
  const firstRemoval = applied.findIndex(({ kind }) => kind.startsWith('remove-'));
  return firstRemoval < 0 || applied.slice(firstRemoval).every(({ kind }) => kind.startsWith('remove-'));
}
