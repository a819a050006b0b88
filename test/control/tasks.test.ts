// Tasks of commands and of static endpoints: what they are given, and how they change with their service.
import t, { type Test } from 'tap';
import { tasksOf } from '../../src/catalog/snapshot.ts';
import type { HealthCheck, StaticEndpoint } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import { ip } from '../support/builders.ts';
import { networkSpec, openWorld, refusal, type ShortSpec, serviceSpec, type World } from './world.ts';

const HTTP: HealthCheck = {
  probe: { kind: 'http', path: '/' },
  intervalMs: 1000,
  timeoutMs: 1000,
  retries: 2,
  startPeriodMs: 0,
};
const EXEC: HealthCheck = { ...HTTP, probe: { kind: 'exec', command: ['true'], shell: false } };

async function withService(t: Test, more: ShortSpec = {}): Promise<World> {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front'));
  await w.control.createNetwork(networkSpec('back', { ipv6: true }));
  await w.control.createService(serviceSpec('web', { networks: ['front', 'back'], expose: ['80'], ...more }));
  return w;
}

/** `1 10.0.0.1 80=8080 own 9 running/starting`. */
function lines(w: World, service = 'web'): readonly string[] {
  const id = w.catalog.snapshot.serviceByName.get(service) ?? ('' as never);
  return tasksOf(w.catalog.snapshot, id).map(line);
}

function line(task: Task): string {
  const map = task.portMap.map(({ targetPort, port }) => ` ${targetPort}=${port}`).join('');
  const own = task.ownPort === undefined ? '' : ` own ${task.ownPort}`;
  return `${task.slot} ${task.attachments[0]?.address}${map}${own} ${task.state}/${task.health}`;
}

t.test('a task of a command', async (t) => {
  const w = await withService(t);
  const task = await w.control.addTask({ service: 'web', hostname: 'h1', aliases: ['me'], port: 8080 });
  t.match(task, {
    slot: 1,
    name: `web.1.${task.id}`,
    source: 'process',
    state: 'starting',
    health: 'none',
    nodeId: 'node1',
    hostname: 'h1',
  });
  t.same(task.portMap, [{ targetPort: 80, port: 8080 }]);
  t.same(
    task.attachments.map(({ address, aliases }) => [address, aliases]),
    [
      ['10.64.0.3', ['me']],
      ['10.64.1.3', ['me']],
    ],
  );
  t.match(task.attachments[1]?.moreAddresses, [/^fd.*::3$/], 'and one of the other family');
  t.same(w.catalog.snapshot.tasks.get(task.id), task);

  const second = await w.control.addTask({ service: 'web', networks: ['back'], name: 'mine', port: 80 });
  t.match(second, { slot: 2, name: 'mine', portMap: [], attachments: [{ address: '10.64.1.4' }] });
  await w.control.removeTask(task.id);
  t.equal((await w.control.addTask({ service: 'web' })).slot, 1, 'the lowest free slot');
  await t.rejects(w.control.removeTask(task.id), {
    code: 'not-found',
    message: `there is no task ${task.id}; it has been removed`,
  });

  await w.control.setTaskState(second.id, 'running', 4711);
  t.match(w.catalog.snapshot.tasks.get(second.id), { state: 'running', pid: 4711 });
  const revision = await w.revision();
  await w.control.setTaskState(second.id, 'running');
  await w.control.setTaskHealth(second.id, 'none');
  t.equal(await w.revision(), revision, 'what is so already is not written');
  await w.control.setTaskHealth(second.id, 'unhealthy');
  await w.control.setTaskState(second.id, 'draining');
  t.match(w.catalog.snapshot.tasks.get(second.id), { state: 'draining', health: 'unhealthy', pid: 4711 });
});

t.test('refused', async (t) => {
  const w = await withService(t);
  await w.control.createNetwork(networkSpec('other'));
  await w.control.createService(serviceSpec('two', { networks: ['front'], expose: ['1', '2'] }));
  const task = await w.control.addTask({ service: 'web', name: 'mine' });
  await w.control.setTaskState(task.id, 'running');
  const before = await w.revision();
  const gone = 'gone' as TaskId;
  const table: readonly (readonly [Promise<unknown>, RegExp])[] = [
    [
      w.control.addTask({ service: 'wbe' }),
      /^not-found: no service is called "wbe" \(did you mean "web"\?\); make it first .*service create.*service ls\)$/,
    ],
    [
      w.control.addTask({ service: 'web', networks: ['other'] }),
      /^invalid: service web is not on network other, only on front, back; add it to the service first$/,
    ],
    [
      w.control.addTask({ service: 'web', networks: ['otter'] }),
      /^not-found: no network is called "otter" \(did you mean "other"\?\)$/,
    ],
    [
      w.control.addTask({ service: 'web', name: 'mine' }),
      /^conflict: a task is called mine already \([a-z0-9]{12}, running\); stop it first/,
    ],
    [w.control.addTask({ service: 'web', name: 'a b' }), /^invalid: the task name "a b" may hold only/],
    [w.control.addTask({ service: 'web', aliases: [''] }), /^invalid: the task name "" is empty$/],
    [w.control.addTask({ service: 'web', hostname: '-' }), /^invalid: the host name "-" may hold only/],
    [w.control.addTask({ service: 'web', port: 0 }), /^invalid: port 0; ports are 1 to 65535$/],
    [
      w.control.addTask({ service: 'two', port: 8 }),
      /^invalid: service two has the target ports 1, 2; one port cannot stand for all of them$/,
    ],
    [
      w.control.addTask({ service: 'two', ports: [{ targetPort: 3, port: 8 }] }),
      /^invalid: service two does not declare target port 3; it declares 1, 2$/,
    ],
    [w.control.setTaskState(gone, 'running'), /^not-found: there is no task gone; it has been removed$/],
    [w.control.setTaskHealth(gone, 'healthy'), /^not-found: there is no task gone/],
    [w.control.setTaskState(task.id, 'starting'), /^invalid: task mine is running; it cannot be starting again$/],
    [
      w.control.removeEndpoint(task.id),
      /^invalid: task mine runs under vipmesh; stop its command instead of removing an endpoint$/,
    ],
    [w.control.removeEndpoint(gone), /^not-found: there is no task gone/],
  ];
  for (const [command, expected] of table) t.match(await refusal(command), expected);
  t.equal(await w.revision(), before, 'none of them wrote anything');
});

t.test('static endpoints and target ports', async (t) => {
  const at = (port?: number, targetPort?: number, address = '10.0.0.1'): StaticEndpoint => ({
    address: ip(address),
    ...(port === undefined ? {} : { port }),
    ...(targetPort === undefined ? {} : { targetPort }),
  });
  const table: readonly (readonly [string, ShortSpec, readonly string[]])[] = [
    ['an address alone', { expose: ['80'], endpoints: [at()] }, ['1 10.0.0.1 running/starting']],
    [
      'the only target port',
      { expose: ['80'], endpoints: [at(8001), at(8002)] },
      ['1 10.0.0.1 80=8001 running/starting', '2 10.0.0.1 80=8002 running/starting'],
    ],
    [
      'tcp and udp of one number',
      { expose: ['53', '53/udp'], endpoints: [at(1053)] },
      ['1 10.0.0.1 53=1053 running/starting'],
    ],
    ['no target port', { expose: [], endpoints: [at(5432)] }, ['1 10.0.0.1 own 5432 running/starting']],
    ['no port at all', { expose: [], endpoints: [at()] }, ['1 10.0.0.1 running/none']],
    ['one of several', { expose: ['80', '443'], endpoints: [at(8080, 80)] }, ['1 10.0.0.1 80=8080 running/starting']],
    [
      'each of several',
      { expose: ['80', '443'], endpoints: [at(8080, 80), at(8443, 443)] },
      ['1 10.0.0.1 80=8080 443=8443 running/starting'],
    ],
    [
      'each of several, of two tasks at one address and one at another',
      { expose: ['80', '443'], endpoints: [at(1, 80), at(2, 443), at(3, 80), at(4, 443), at(5, 80, '10.0.0.2')] },
      [
        '1 10.0.0.1 80=1 443=2 running/starting',
        '2 10.0.0.1 80=3 443=4 running/starting',
        '3 10.0.0.2 80=5 running/starting',
      ],
    ],
    ['no check', { expose: ['80'], health: 'none', endpoints: [at()] }, ['1 10.0.0.1 running/none']],
    ['a check of its own', { expose: ['53/udp'], health: HTTP, endpoints: [at()] }, ['1 10.0.0.1 running/starting']],
    ['udp only, which tcp cannot check', { expose: ['53/udp'], endpoints: [at()] }, ['1 10.0.0.1 running/none']],
    [
      'a command, which runs nowhere, is replaced by tcp',
      { expose: ['80'], health: EXEC, endpoints: [at()] },
      ['1 10.0.0.1 running/starting'],
    ],
  ];
  for (const [what, more, expected] of table) {
    await t.test(what, async (t) => {
      const w = await withService(t, more);
      t.same(lines(w), expected);
      const [task] = tasksOf(w.catalog.snapshot, [...w.catalog.snapshot.services.keys()][0] ?? ('' as never));
      t.equal(task?.attachments.length, 2, 'it has its address on each network');
    });
  }
});

t.test('endpoints of the spec, and those added by hand', async (t) => {
  const w = await withService(t, { endpoints: [{ address: ip('10.0.0.1') }, { address: ip('10.0.0.2') }] });
  const task = await w.control.addEndpoint('web', '10.0.0.3:8080');
  t.equal(line(task), '3 10.0.0.3 80=8080 running/starting');
  await w.control.setTaskHealth(task.id, 'healthy');
  await t.rejects(w.control.addEndpoint('web', '10.0.0.3:8080'), {
    code: 'conflict',
    message: 'service web has the endpoint 10.0.0.3:8080 already',
  });

  const weighted = await w.control.addEndpoint('web', '10.0.0.3:8080', 5);
  t.match(weighted, { id: task.id, weight: 5, health: 'healthy' }, 'a weight changes the one that is there');
  const ofSpec = await w.control.addEndpoint('web', '10.0.0.2', 0);
  t.match(ofSpec, { slot: 2, weight: 0 });
  t.match([...w.catalog.snapshot.services.values()][0]?.spec.endpoints[1], { weight: 0 });
  await w.control.addEndpoint('web', '10.0.0.2', 1);
  t.notOk('weight' in (w.catalog.snapshot.tasks.get(ofSpec.id) ?? {}), 'one is what there is by default');
  await t.rejects(w.control.addEndpoint('web', '10.0.0.2', 257), {
    code: 'invalid',
    message: /weight 257, which should/,
  });

  const update = (more: ShortSpec) =>
    w.control.updateService('web', serviceSpec('web', { networks: ['front', 'back'], expose: ['80'], ...more }));
  await update({ endpoints: [{ address: ip('10.0.0.2') }, { address: ip('10.0.0.4') }] });
  t.same(
    lines(w),
    ['1 10.0.0.4 running/starting', '2 10.0.0.2 running/starting', '3 10.0.0.3 80=8080 running/healthy'],
    "the spec's come and go by difference, what was added by hand stays",
  );
  await update({ endpoints: [{ address: ip('10.0.0.2') }], networks: ['back'], health: 'none' });
  t.same(lines(w), ['2 10.0.0.2 running/none', '3 10.0.0.3 80=8080 running/none'], 'without a check, health is none');
  t.same(
    w.catalog.snapshot.tasks.get(task.id)?.attachments.length,
    1,
    'and they leave the networks that their service leaves',
  );
  await update({ endpoints: [{ address: ip('10.0.0.2') }], health: HTTP });
  t.same(
    lines(w),
    ['2 10.0.0.2 running/none', '3 10.0.0.3 80=8080 running/none'],
    'a check that is introduced takes nothing out of service',
  );
  await update({ endpoints: [{ address: ip('10.0.0.2') }], expose: ['90'] });
  t.same(
    lines(w),
    ['1 10.0.0.3 90=8080 running/starting', '2 10.0.0.2 running/none'],
    'its port stands for the new target port',
  );
  t.match(
    await refusal(update({ expose: ['90', '91'] })),
    /^invalid: service web: endpoint 10\.0\.0\.3:8080 does not say which target port/,
  );

  t.same(await w.control.removeEndpointsAt('web', ip('10.0.0.3'), 8080), [
    { address: '10.0.0.3', port: 8080, weight: 5 },
  ]);
  const service = [...w.catalog.snapshot.services.values()][0];
  t.equal(service?.addedEndpoints, undefined);
  const [left] = tasksOf(w.catalog.snapshot, service?.id ?? ('' as never));
  await w.control.removeTask(left?.id ?? ('' as never));
  t.same(
    [lines(w), [...w.catalog.snapshot.services.values()][0]?.spec.endpoints],
    [[], []],
    'a task that the spec names goes with its endpoint',
  );
  t.match(
    await refusal(w.control.removeEndpointsAt('web', ip('10.0.0.2'))),
    /^not-found: .* has no endpoint 10\.0\.0\.2; it has none$/,
  );
});

t.test('health at the beginning, and commands when their service changes', async (t) => {
  const w = await withService(t, { health: EXEC });
  const task = await w.control.addTask({ service: 'web' });
  t.equal(task.health, 'starting');
  const spec = { networks: ['back'], expose: ['80'], health: 'none' as const };
  await w.control.updateService('web', serviceSpec('web', spec));
  t.match(w.catalog.snapshot.tasks.get(task.id), { health: 'none', attachments: [{ address: '10.64.1.3' }] });
  await w.control.updateService('web', serviceSpec('web', { ...spec, networks: ['back', 'front'] }));
  t.equal(w.catalog.snapshot.tasks.get(task.id)?.attachments.length, 1, 'a running command joins no network');
});

t.test('the tasks of a former run', async (t) => {
  const w = await withService(t, { endpoints: [{ address: ip('10.0.0.1') }] });
  const second = await w.second('node2', 'two');
  const [stays, goes, elsewhere] = [
    await w.control.addTask({ service: 'web' }),
    await w.control.addTask({ service: 'web' }),
    await second.addTask({ service: 'web' }),
  ];
  t.same(
    (await w.control.removeOwnTasks(new Set([stays.id]))).map(({ id }) => id),
    [goes.id],
  );
  t.same([...w.catalog.snapshot.tasks.keys()].filter((id) => id === stays.id || id === elsewhere.id).length, 2);
});

t.test('an endpoint that is the service itself is refused', async (t) => {
  const w = await withService(t, { publish: ['8080:80'] });
  const vip = w.catalog.snapshot.services.get(w.catalog.snapshot.serviceByName.get('web') as never)?.vips[0]?.address;
  for (const [text, why] of [
    ['127.0.0.1:8080', /own published port 8080/],
    [String(vip), /own VIP/],
  ] as const) {
    t.match(await refusal(w.control.addEndpoint('web', text)), why);
  }
  await w.control.addEndpoint('web', '127.0.0.1:8081');
  t.equal(lines(w).length, 1, 'another port of the same address is another server');
});

t.test('on a local network, a task moves out of the way of what its node publishes', async (t) => {
  const w = await openWorld(t, { privileged: false });
  await w.control.createNetwork(networkSpec('near', { driver: 'local' }));
  await w.control.createService(
    serviceSpec('web', { networks: ['near'], publish: ['8080:8080'], expose: ['9000', '80'] }),
  );
  const task = await w.control.addTask({ service: 'web' });
  t.same(
    task.portMap,
    [
      { targetPort: 8080, port: 18_080 },
      { targetPort: 80, port: 10_080 },
    ],
    'nobody can listen beside the wildcard, nor an ordinary user below 1024; 9000 is left as it is',
  );
});

t.test('an address that is asked for', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front'));
  await w.control.createService(serviceSpec('web', { networks: ['front'] }));
  const task = await w.control.tasks.add({ Service: 'web', Addresses: ['10.64.0.77'] });
  t.match(task, { source: 'process', attachments: [{ address: '10.64.0.77' }] });
  t.match(
    await refusal(w.control.tasks.add({ Service: 'web', Addresses: ['10.64.0.77'] })),
    /^conflict: .* cannot have 10\.64\.0\.77 /,
  );
  t.match(
    await refusal(w.control.tasks.add({ Service: 'web', Addresses: ['10.1.2.3'] })),
    /^invalid: address 10\.1\.2\.3 is in no subnet of the task's networks/,
  );
});
