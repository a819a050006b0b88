// What the kernel tells of links: only those are looked at, and the whole where one of them is not as planned.
import t from 'tap';
import type { TaskId } from '../../src/model/task.ts';
import { OverlayDriver } from '../../src/overlay/driver.ts';
import type { ContainerSpec } from '../../src/overlay/plan.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, NODE, network } from '../support/builders.ts';
import { FakeKernel, type FakeNamespace } from '../support/fake-kernel.ts';

const front = network('front', 'overlay', ['10.64.0.0/24']);

function container(number: number): ContainerSpec {
  const attachments = [{ network: front, addresses: [ip(`10.64.0.${number}`)] }];
  return { taskId: `task${number}`.padEnd(25, 'x') as TaskId, attachments };
}

interface Looks {
  /** Since it was last asked: the links that were looked at, or that everything was. */
  taken(): readonly string[];
  /** Resolves after the next look. */
  next(): Promise<void>;
}

function looksAt(namespace: FakeNamespace): Looks {
  const seen: string[] = [];
  const waiting: (() => void)[] = [];
  const observe = namespace.observe.bind(namespace);
  const note = (what: string) => {
    seen.push(what);
    for (const wake of waiting.splice(0)) wake();
  };
  namespace.observe = async () => {
    note('all');
    return observe();
  };
  namespace.observeLinks = async (names) => {
    note(names?.join(' ') ?? 'all links');
    const { links } = await observe();
    return names === undefined ? links : links.filter(({ name }) => names.includes(name));
  };
  return { taken: () => seen.splice(0), next: () => new Promise((resolve) => waiting.push(resolve)) };
}

function tell(namespace: FakeNamespace, ...names: readonly string[]): void {
  for (const name of names) for (const told of namespace.watchers) told({ kind: 'link', name });
}

t.test('notices of links', async (t) => {
  const kernel = new FakeKernel();
  const driver = new OverlayDriver({ instance: 'ab12cd', node: { id: NODE }, kernel, log: SILENT_LOG });
  // The driver's own timer keeps no process alive.
  const alive = setInterval(() => {}, 1_000_000);
  t.teardown(() => {
    clearInterval(alive);
    return driver.removeAll();
  });
  for (const number of [2, 3]) await driver.attachContainer(container(number));
  const home = kernel.namespaces.get('vipmesh-ab12cd-net-fron');
  if (home === undefined) return t.fail('there is no network');
  const table = [
    { namespace: home, bridge: 'br0', port: 't-task3xxx', other: 'stray' },
    { namespace: kernel.own, bridge: 'vmeg-ab12cd', port: 'vmab12cd-3', other: 'vmab12cd-f' },
  ] as const;
  for (const { namespace, bridge, port, other } of table) {
    await t.test(bridge, async (t) => {
      const looks = looksAt(namespace);
      const afterwards = async (names: readonly string[]) => {
        const looked = looks.next();
        tell(namespace, ...names);
        await looked;
        // In its turn, after all that the look led to.
        await driver.detachContainer('nobody' as TaskId);
        return looks.taken();
      };
      t.same(await afterwards([bridge, port]), [`${bridge} ${port}`], 'as planned: nothing else is looked at');
      const link = namespace.links.get(port);
      if (link === undefined) return t.fail(`there is no ${port}`);
      namespace.links.set(port, { ...link, up: false });
      t.same(await afterwards([port]), [port, 'all']);
      t.equal(namespace.links.get(port)?.up, true, 'what was set down is up again');

      const { peer: _peer, ...alone } = link;
      namespace.links.set(other, { ...alone, name: other });
      t.same(await afterwards([other]), [other, 'all']);
      t.notOk(namespace.links.has(other), 'a port of nobody is removed');

      namespace.links.set('mine', { ...alone, name: 'mine', master: undefined });
      const seen = await afterwards(['mine']);
      t.same(seen.at(-1), namespace === home ? 'mine' : 'all', 'what is no port of the bridge');
      t.ok(namespace.links.has('mine'), 'is not touched');
      t.equal(await driver.repair(), 0);
      looks.taken();
    });
  }
});
