import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import t from 'tap';
import type { BalancerCommand } from '../../src/balancer/command.ts';
import type { FrontendPlan } from '../../src/balancer/frontends.ts';
import { ListenerSet, portProblem } from '../../src/balancer/listener-set.ts';
import { Slots } from '../../src/balancer/slots.ts';
import { connectUdp } from '../../src/native/datagram-socket.ts';
import { ECONNREFUSED, errno } from '../../src/native/errno.ts';
import { close, type Fd, recv, send } from '../../src/native/libc.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { unusedPort } from '../support/ports.ts';

function harness() {
  const posted: string[] = [];
  const listeners = new ListenerSet(new Slots(8), {
    workers: 2,
    postTo: (worker: number, command: BalancerCommand) => posted.push(`${worker} ${command.kind}`),
    barrier: async () => {
      posted.push('barrier');
    },
    log: SILENT_LOG,
  });
  t.teardown(() => listeners.refuseAll());
  return { listeners, posted };
}

function plan(port: number, service = 'web'): FrontendPlan {
  return {
    key: `tcp/127.0.0.1/${port}`,
    serviceId: service as never,
    protocol: 'tcp',
    address: '127.0.0.1' as never,
    port,
    targetPort: 80,
    backend: `${service}/ingress` as never,
    kind: 'published',
  };
}

/** `refused` or `taken`, as a client sees it. */
async function knock(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const outcome = await once(socket, 'connect').then(
    () => 'taken',
    (error: NodeJS.ErrnoException) => error.code,
  );
  socket.destroy();
  return String(outcome);
}

async function foreignListener(): Promise<Server> {
  const server = createServer().listen(unusedPort(), '127.0.0.1');
  await once(server, 'listening');
  return server;
}

t.test('a port is refused without an eligible endpoint, and taken with one', async (t) => {
  const { listeners, posted } = harness();
  const one = plan(unusedPort());
  await listeners.update([], [{ plan: one, backend: 0, hasEligible: false }]);
  t.same(listeners.state(one.key), { state: 'refusing' });
  t.equal(await knock(one.port), 'ECONNREFUSED');
  await listeners.update([], [{ plan: one, backend: 0, hasEligible: true }]);
  t.same(listeners.state(one.key), { state: 'listening' });
  t.equal(await knock(one.port), 'taken');
  await listeners.update([], [{ plan: one, backend: 0, hasEligible: false }]);
  t.equal(await knock(one.port), 'ECONNREFUSED');
  t.ok(portProblem('tcp', one.port, '127.0.0.1'), 'and yet it stays ours');
  await listeners.update([one.key], []);
  t.equal(portProblem('tcp', one.port, '127.0.0.1'), undefined, 'removed: free');
  t.same(posted, [
    '0 frontend-add',
    '1 frontend-add',
    '0 frontend-remove',
    '1 frontend-remove',
    '0 frontend-remove',
    '1 frontend-remove',
    'barrier',
  ]);
});

t.test('a port that another program holds is blocked, and had as soon as it is free', async (t) => {
  const { listeners } = harness();
  const server = await foreignListener();
  const one = plan((server.address() as AddressInfo).port);
  await listeners.update([], [{ plan: one, backend: 0, hasEligible: true }]);
  t.match(listeners.state(one.key), { state: 'blocked', reason: /EADDRINUSE.*another program/ });
  server.close();
  await once(server, 'close');
  listeners.retryBlocked();
  t.same(listeners.state(one.key), { state: 'listening' });
  t.equal(await knock(one.port), 'taken');
});

t.test('a successor takes over the port of a removed service', async (t) => {
  const { listeners } = harness();
  const port = unusedPort();
  const [old, next] = [plan(port, 'old'), plan(port, 'next')];
  await listeners.update([], [{ plan: old, backend: 0, hasEligible: true }]);
  await listeners.update([], [{ plan: next, backend: 1, hasEligible: true }]);
  t.same(
    listeners.all().map((one) => [one.plan.serviceId, one.state.state]),
    [['next', 'listening']],
  );
  t.equal(await knock(port), 'taken');
});

t.test('two groups on one port: a VIP beside a published port', async (t) => {
  const { listeners } = harness();
  const port = unusedPort();
  const all = { ...plan(port), key: `tcp/*/${port}` as const };
  const { address: _, ...everywhere } = all;
  const vip = {
    ...plan(port),
    key: `tcp/127.64.0.2/${port}` as const,
    address: '127.64.0.2' as never,
    kind: 'vip' as const,
  };
  await listeners.update(
    [],
    [
      { plan: everywhere, backend: 0, hasEligible: true },
      { plan: vip, backend: 1, hasEligible: true },
    ],
  );
  t.same(
    listeners.all().map((one) => one.state.state),
    ['listening', 'listening'],
  );
});

/** What a client's first datagram meets: `refused` by the kernel, or taken and not answered. */
function knockUdp(port: number): string {
  const client = connectUdp('127.0.0.1', port);
  send(client, Buffer.from('x'), 1, 0);
  const refused = recv(client, Buffer.alloc(1), 1, 0) < 0 && errno() === ECONNREFUSED;
  close(client);
  return refused ? 'refused' : 'taken';
}

t.test('a UDP port is refused without an eligible endpoint, too, and shared by the workers with one', async (t) => {
  const lent = new Map<number, Fd>();
  const listeners = new ListenerSet(new Slots(8), {
    workers: 2,
    postTo: (worker: number, command: BalancerCommand) => {
      if (command.kind === 'frontend-add') lent.set(worker, command.frontend.fd);
      else lent.delete(worker);
    },
    barrier: async () => {},
    log: SILENT_LOG,
  });
  t.teardown(() => listeners.refuseAll());
  const port = unusedPort();
  const one: FrontendPlan = { ...plan(port), protocol: 'udp', key: `udp/127.0.0.1/${port}` };
  const buffer = Buffer.alloc(1);
  for (let time = 0; time < 2; time++) {
    await listeners.update([], [{ plan: one, backend: 0, hasEligible: false }]);
    t.same(listeners.state(one.key), { state: 'refusing' });
    t.equal(lent.size, 0);
    t.equal(knockUdp(port), 'refused');
    t.ok(portProblem('udp', port, '127.0.0.1'), 'and yet it stays ours');
    await listeners.update([], [{ plan: one, backend: 0, hasEligible: true }]);
    t.same(listeners.state(one.key), { state: 'listening' });
    for (let i = 0; i < 64; i++) t.equal(knockUdp(port), 'taken');
    const counts = [...lent.values()].map((fd) => {
      let count = 0;
      while (recv(fd, buffer, 1, 0) >= 0) count++;
      return count;
    });
    t.equal((counts[0] as number) + (counts[1] as number), 64);
    t.ok(
      counts.every((count) => count > 0),
      'each worker has its share',
    );
  }
  await listeners.update([one.key], []);
  t.equal(portProblem('udp', port, '127.0.0.1'), undefined, 'removed: free');
});

t.test('a port is held until the workers have let go of it', async (t) => {
  const one = plan(unusedPort());
  const held = (listeners: ListenerSet) => listeners.holds('tcp', one.port, '127.0.0.1');
  let letGo = (): void => undefined;
  const listeners: ListenerSet = new ListenerSet(new Slots(8), {
    workers: 2,
    postTo: () => undefined,
    barrier: () => new Promise((resolve) => (letGo = resolve)),
    log: SILENT_LOG,
  });
  await listeners.update([], [{ plan: one, backend: 1, hasEligible: false }]);
  t.ok(held(listeners));
  t.notOk(listeners.holds('udp', one.port, '127.0.0.1'), 'of that protocol');
  t.notOk(listeners.holds('tcp', one.port, undefined), 'on that address');
  const removed = listeners.update([one.key], []);
  t.ok(held(listeners), 'although it is to go');
  await new Promise(setImmediate);
  t.equal(listeners.state(one.key), undefined);
  t.ok(held(listeners), 'although it is gone for everybody else');
  t.match(portProblem('tcp', one.port, '127.0.0.1'), /EADDRINUSE/);
  letGo();
  await removed;
  t.notOk(held(listeners));
  t.equal(portProblem('tcp', one.port, '127.0.0.1'), undefined);
  await listeners.refuseAll();
});
