import t from 'tap';
import { BalancerPublisher, type FrontendWanted } from '../../src/balancer/publisher.ts';
import type { BalancerCommand } from '../../src/balancer/command.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { Change } from '../../src/catalog/change.ts';
import type { Node, NodeId } from '../../src/model/node.ts';
import { NODE, network, published, service, task } from '../support/builders.ts';

const local = network('front');

/** A publisher whose effects are lines of text. */
function harness(listen: (command: BalancerCommand) => void = () => {}) {
  const lines: string[] = [];
  const timers: { readonly delayMs: number; readonly action: () => void }[] = [];
  const active = new Map<number, number>();
  const begun: number[] = [];
  const publisher = new BalancerPublisher(
    NODE,
    { backends: 10, endpoints: 4 },
    {
      post: (command) => {
        listen(command);
        lines.push(show(command));
      },
      listen: (remove: readonly string[], set: readonly FrontendWanted[]) => {
        for (const key of remove) lines.push(`close ${key}`);
        for (const { plan, backend, hasEligible } of set)
          lines.push(`${hasEligible ? 'listen' : 'refuse'} ${plan.key} backend ${backend}`);
      },
      overlayVip: (_id, address, backend, eligible) => lines.push(`vip ${address} backend ${backend} ${eligible}`),
      netnsOf: () => 7,
      openCount: (slot) => active.get(slot) ?? 0,
      beginCounting: (slot) => begun.push(slot),
      beginService: () => {},
      openOfService: () => 0,
      later: (delayMs, action) => timers.push({ delayMs, action }),
      exhausted: (what, name) => lines.push(`no ${what} left for ${name}`),
    },
  );
  let snapshot: Snapshot = EMPTY_SNAPSHOT;
  return {
    begun,
    active,
    timers,
    lines,
    apply(...changes: Change[]): readonly string[] {
      const previous = snapshot;
      snapshot = applyChanges(snapshot, previous.revision + 1, changes);
      lines.length = 0;
      publisher.apply(snapshot, previous, changes);
      return [...lines];
    },
  };
}

function show(command: BalancerCommand): string {
  if (command.kind === 'backend-set')
    return `backend ${command.backend.id}: ${command.backend.endpoints.map((one) => `${one.slot}=${one.address}`).join(' ')}`;
  if (command.kind === 'endpoint-close') return `end connections to ${command.slots.join(' ')}`;
  return command.kind;
}

t.test('a service comes, gets a task, loses it and goes', async (t) => {
  const { apply, active, begun, timers, lines } = harness();
  const web = service('web', {
    on: [{ network: local }],
    ports: [published(8080, 80)],
    endpointMode: 'dnsrr',
    drainTimeoutMs: 5000,
  });
  const one = task(web, 1, { front: '127.64.0.3' });
  t.same(apply({ kind: 'network', after: local }), []);
  t.same(apply({ kind: 'service', after: web }), ['backend 0: ', 'refuse tcp/*/8080 backend 0']);
  t.same(apply({ kind: 'task', after: one }), ['backend 0: 0=127.64.0.3', 'listen tcp/*/8080 backend 0']);
  const draining = { ...one, state: 'draining' } as const;
  t.same(apply({ kind: 'task', before: one, after: draining }), ['backend 0: ', 'refuse tcp/*/8080 backend 0']);
  active.set(0, 2);
  t.same(apply({ kind: 'task', before: draining }), ['backend 0: ', 'refuse tcp/*/8080 backend 0']);
  t.same(
    timers.map(({ delayMs }) => delayMs),
    [5000],
    'open connections have until the drain timeout, from when they were first told',
  );
  const two = task(web, 2, { front: '127.64.0.4' });
  t.same(
    apply({ kind: 'task', after: two }),
    ['backend 0: 1=127.64.0.4', 'listen tcp/*/8080 backend 0'],
    'a slot in use is not given away',
  );
  lines.length = 0;
  timers[0]?.action();
  t.same(lines, ['end connections to 0']);
  t.same(apply({ kind: 'service', before: web }), ['backend-remove', 'close tcp/*/8080']);
  t.same(begun, [0, 1], 'each new owner of a slot is counted from zero');
});

t.test('who is drained has until the drain timeout, unless it is taken into use again', async (t) => {
  const { apply, active, timers, lines } = harness();
  const web = service('web', { on: [{ network: local, vip: '127.64.0.2' }], drainTimeoutMs: 5000 });
  const [one, two] = [task(web, 1, { front: '127.64.0.3' }), task(web, 2, { front: '127.64.0.4' })];
  const [leaving, alsoLeaving] = [
    { ...one, state: 'draining' },
    { ...two, state: 'draining' },
  ] as const;
  const end = (timer: number) => {
    lines.length = 0;
    timers[timer]?.action();
    return [...lines];
  };
  apply({ kind: 'network', after: local }, { kind: 'service', after: web });
  apply({ kind: 'task', after: one }, { kind: 'task', after: two });
  active.set(0, 1).set(1, 1);
  apply({ kind: 'task', before: one, after: leaving }, { kind: 'task', before: two, after: alsoLeaving });
  apply({ kind: 'task', before: leaving, after: one });
  apply({ kind: 'service', before: web, after: { ...web, updatedAt: 2 } });
  t.same(
    timers.map(({ delayMs }) => delayMs),
    [5000],
  );
  t.same(end(0), ['end connections to 1'], 'the first is in use again');
  apply({ kind: 'task', before: one, after: leaving });
  t.equal(timers.length, 2, 'and has its whole time when it is drained once more');
  t.same(end(1), ['end connections to 0']);
});

t.test('a node that is drained lets what is open to its tasks finish, for as long', async (t) => {
  const { apply, active, timers, lines } = harness();
  const web = service('web', { on: [{ network: local, vip: '127.64.0.2' }], drainTimeoutMs: 5000 });
  const self = { id: NODE, name: 'self', availability: 'active', labels: {} } as unknown as Node;
  apply({ kind: 'network', after: local }, { kind: 'service', after: web }, { kind: 'node', after: self });
  apply({ kind: 'task', after: task(web, 1, { front: '127.64.0.3' }) });
  active.set(0, 1);
  apply({ kind: 'node', before: self, after: { ...self, availability: 'drain' } });
  t.equal(timers[0]?.delayMs, 5000);
  lines.length = 0;
  timers[0]?.action();
  t.same(lines, ['end connections to 0']);
});

t.test('how a service wants its connections shared out', async (t) => {
  const sent: BalancerCommand[] = [];
  const { apply } = harness((command) => sent.push(command));
  const balance = { method: 'least-connections', affinityMs: 600_000, localFirst: true } as const;
  const web = service('web', { on: [{ network: local, vip: '127.64.0.2' }], balance });
  const here = task(web, 1, { front: '127.64.0.3' });
  const there = task(web, 2, { front: '127.64.0.4' }, { nodeId: 'elsewhere' as NodeId });
  apply({ kind: 'network', after: local }, { kind: 'service', after: web });
  apply({ kind: 'task', after: here }, { kind: 'task', after: there });
  const { backend } = sent.filter((command) => command.kind === 'backend-set').at(-1) ?? {};
  t.match(backend, { method: 'least-connections', affinityMs: 600_000 });
  t.equal(backend?.endpoints.find(({ address }) => address === '127.64.0.3')?.isPreferred, true);
  const { balance: _, ...spec } = web.spec;
  apply({ kind: 'service', before: web, after: { ...web, spec } });
  const last = sent.filter((command) => command.kind === 'backend-set').at(-1)?.backend;
  t.notOk(last && ('method' in last || 'affinityMs' in last || last.endpoints.some((one) => 'isPreferred' in one)));
});

t.test(
  'H4: the connections of a task that becomes unhealthy are kept, or ended where the service says so',
  async (t) => {
    for (const onUnhealthy of [undefined, 'close'] as const) {
      const { apply } = harness();
      const web = service('web', {
        on: [{ network: local }],
        ports: [published(8080, 80)],
        ...(onUnhealthy && { onUnhealthy }),
      });
      const healthy = task(web, 1, { front: '127.64.0.3' }, { health: 'healthy' });
      apply({ kind: 'network', after: local }, { kind: 'service', after: web }, { kind: 'task', after: healthy });
      const lines = apply({ kind: 'task', before: healthy, after: { ...healthy, health: 'unhealthy' } });
      t.equal(lines.includes('end connections to 0'), onUnhealthy === 'close', onUnhealthy ?? 'kept by default');
    }
  },
);

t.test('a port that moves to another service in one commit is not closed after it was opened', async (t) => {
  const { apply } = harness();
  const old = service('old', { on: [{ network: local }], ports: [published(8080, 80)], endpointMode: 'dnsrr' });
  const next = service('next', { on: [{ network: local }], ports: [published(8080, 80)], endpointMode: 'dnsrr' });
  apply({ kind: 'network', after: local }, { kind: 'service', after: old });
  t.same(apply({ kind: 'service', before: old }, { kind: 'service', after: next }), [
    'backend-remove',
    'backend 0: ',
    'refuse tcp/*/8080 backend 0',
  ]);
});

t.test(
  'a service that moves to another overlay network leaves the first, also when its VIP is the same on both',
  async (t) => {
    const { apply } = harness();
    const [here, there] = [network('here', 'overlay'), network('there', 'overlay')];
    const before = service('web', { on: [{ network: here, vip: '10.64.0.2' }] });
    const after = { ...service('web', { on: [{ network: there, vip: '10.64.0.2' }] }), id: before.id };
    apply({ kind: 'network', after: here }, { kind: 'network', after: there }, { kind: 'service', after: before });
    t.same(
      apply({ kind: 'service', before, after }).filter((line) => line.startsWith('vip')),
      ['vip 10.64.0.2 backend null false', 'vip 10.64.0.2 backend 1 false'],
    );
  },
);

t.test('when numbers run out, the rest goes on', async (t) => {
  const { apply } = harness();
  const web = service('web', { on: [{ network: local }], ports: [published(8080, 80)], endpointMode: 'dnsrr' });
  const tasks = [1, 2, 3, 4, 5].map((slot) => task(web, slot, { front: `127.64.0.${slot + 2}` }));
  const lines = apply(
    { kind: 'network', after: local },
    { kind: 'service', after: web },
    ...tasks.map((after) => ({ kind: 'task', after }) as const),
  );
  t.same(lines[0], 'no endpoint left for 127.64.0.7');
  t.match(lines[1], /0=.* 1=.* 2=.* 3=/);
});
