// The routes of attached containers: what they take, pass on and answer.
import t from 'tap';
import { applyChanges } from '../../src/catalog/snapshot.ts';
import { fakeApi, serveFake, shopTasks } from '../support/fake-api.ts';
import { ask } from './world.ts';

t.test('attach', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  const body = {
    Service: 'web',
    PID: 4711,
    Networks: ['default'],
    Aliases: ['x'],
    Addresses: ['127.64.0.9'],
    Port: 81,
  };
  const answer = await ask(socket, 'POST', '/v1.41/vipmesh/attachments', body);
  t.match(answer, { status: 201 });
  t.match(answer.json, {
    ID: 'task-web-1',
    Service: 'web',
    PID: 99,
    Addresses: [{ Network: 'default', Address: '127.64.0.10' }],
    Warnings: ['a warning of the container'],
  });
  t.same(fake.calls, [
    `attach ${JSON.stringify({ Service: 'web', PID: 4711, Networks: ['default'], Port: 81, Aliases: ['x'], Addresses: ['127.64.0.9'] })}`,
  ]);
  fake.calls.length = 0;
  const Publish = [
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress', HostIP: '10.0.0.1' },
  ];
  const read = [
    { protocol: 'tcp', targetPort: 80, publishedPort: 8080, mode: 'ingress', hostAddress: '10.0.0.1' },
  ] as const;
  await ask(socket, 'POST', '/vipmesh/attachments', { Service: 'web', PID: 1, Publish });
  t.same(JSON.parse(fake.calls.splice(0)[0]?.slice('attach '.length) ?? ''), { Service: 'web', PID: 1, Publish: read });
  const table: readonly (readonly [object, RegExp])[] = [
    [{ PID: 1 }, /Service/],
    [{ Service: 'web', PID: 1, Publish: [{ TargetPort: 0 }] }, /Publish/],
    [
      { Service: 'web', PID: 1, Publish: [{ ...Publish[0], HostIP: 'x' }] },
      /"x" is no address of a node, and no interface/,
    ],
    [{ Service: 'web' }, /by its PID or by its Netns, one of the two/],
    [{ Service: 'web', PID: 1, Netns: '/x' }, /one of the two/],
    [{ Service: 'web', Netns: 'blue' }, /Netns.*absolute path/],
    [{ Service: 'web', PID: 0 }, /PID/],
    [{ Service: 'web', PID: 1, Networks: [] }, /Networks/],
    [{ Service: 'web', PID: 1, Port: 65536 }, /Port/],
    [{ Service: 'web', PID: 1, Netwrok: 'x' }, /Netwrok/],
  ];
  for (const [wrong, message] of table) {
    const { status, json } = await ask(socket, 'POST', '/vipmesh/attachments', wrong);
    t.match({ status, message: json.message }, { status: 400, message }, JSON.stringify(wrong));
  }
  t.same(fake.calls, [], 'and nothing was asked of the agent');
});

t.test('list and detach', async (t) => {
  const fake = fakeApi();
  const [web, , fixed] = shopTasks();
  if (web === undefined || fixed === undefined) throw new Error('there are three tasks');
  const guest = { ...web, id: 'guest1' as never, name: 'guest', source: 'attached', netns: '/run/netns/blue' } as const;
  fake.snapshot = applyChanges(fake.snapshot, 8, [{ kind: 'task', after: guest }]);
  const { socket } = await serveFake(fake, t);
  t.match((await ask(socket, 'GET', '/vipmesh/attachments')).json, [{ ID: 'guest1', Netns: '/run/netns/blue' }]);
  t.same((await ask(socket, 'GET', '/vipmesh/attachments?pid=5')).json, []);
  t.same((await ask(socket, 'GET', '/vipmesh/attachments?netns=/run/netns/blue')).json, []);
  t.match(await ask(socket, 'GET', '/vipmesh/attachments?pid=x'), { status: 400 });
  t.same(fake.calls.splice(0), ['at 5', 'at /run/netns/blue']);
  t.match(await ask(socket, 'DELETE', '/vipmesh/attachments/guest'), { status: 204, text: '' });
  t.same(fake.calls.splice(0), ['detach guest1']);
  t.match(await ask(socket, 'DELETE', `/vipmesh/attachments/${web.id}`), {
    status: 409,
    text: /end its command instead/,
  });
  t.match(await ask(socket, 'DELETE', `/vipmesh/attachments/${fixed.id}`), {
    status: 409,
    text: /remove the endpoint/,
  });
  t.match(await ask(socket, 'DELETE', '/vipmesh/attachments/nobody'), { status: 404 });
  t.match(await ask(socket, 'DELETE', '/vipmesh/endpoints/guest'), {
    status: 409,
    text: /attached container; detach it/,
  });
  t.same(fake.calls, []);
  t.match((await ask(socket, 'DELETE', '/vipmesh/endpoints/guest/drain')).status, 200, 'a drained one may come back');
});
