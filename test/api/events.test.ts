// GET /events: what commits change, as Docker tells it.
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import t from 'tap';
import { dockerEvent, type DockerEvent } from '../../src/api/requests.ts';
import { openApiWorld } from './world.ts';

interface Stream {
  next(): Promise<DockerEvent | undefined>;
  readonly answer: IncomingMessage;
}

/** Resolves when the answer has begun, so that nothing that happens afterwards is missed. */
function follow(socketPath: string, query = ''): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: `/v1.41/events${query}`, agent: false }, (answer) => {
      const lines = createInterface({ input: answer })[Symbol.asyncIterator]();
      const next = async () => {
        const line = await lines.next();
        return line.done ? undefined : dockerEvent.parse(JSON.parse(line.value));
      };
      resolve({ next, answer });
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** `service create web`, and attributes other than the name behind it. */
function told(event: DockerEvent | undefined): string | undefined {
  if (event === undefined) return undefined;
  const { name, ...rest } = event.Actor.Attributes;
  const more = Object.entries(rest).filter(([key]) => !key.startsWith('com.docker.swarm') && key !== 'networks');
  return [event.Type, event.Action, name, ...more.map(([key, value]) => `${key}=${value}`)].join(' ');
}

function filters(value: object): string {
  return `filters=${encodeURIComponent(JSON.stringify(value))}`;
}

t.test('everything that happens, in order', async (t) => {
  const { ask, control, clock, socket } = await openApiWorld(t);
  const stream = await follow(socket);
  t.match(stream.answer.headers, { 'content-type': 'application/json', 'api-version': '1.50' });
  await clock.advance(1500);
  await ask('POST', '/networks/create', { Name: 'back' });
  const created = await stream.next();
  t.match(created, {
    Type: 'network',
    Action: 'create',
    Actor: { ID: /^[a-z0-9]{25}$/, Attributes: { name: 'back', type: 'overlay' } },
    scope: 'swarm',
    time: Math.floor(clock.wallTime() / 1000),
    timeNano: clock.wallTime() * 1e6,
  });
  const spec = { Name: 'web', Networks: [{ Target: 'back' }] };
  const { ID } = (await ask('POST', '/services/create', spec)).json;
  const { Index } = (await ask('GET', `/services/${ID}`)).json.Version;
  await ask('POST', `/services/${ID}/update?version=${Index}`, { ...spec, Mode: { Replicated: { Replicas: 4 } } });
  const task = await control.addTask({ service: 'web' });
  await control.setTaskState(task.id, 'running');
  await ask('POST', `/vipmesh/endpoints/${task.id}/drain`);
  await control.removeTask(task.id);
  const node = (await ask('GET', '/nodes/self')).json;
  await ask('POST', `/nodes/self/update?version=${node.Version.Index}`, { Availability: 'pause' });
  await ask('DELETE', '/services/web');
  await ask('DELETE', '/networks/back');
  const seen: (string | undefined)[] = [];
  for (let i = 0; i < 9; i++) seen.push(told(await stream.next()));
  t.same(seen, [
    'service create web',
    'service update web replicas.new=4 replicas.old=1',
    `task create ${task.name}`,
    `task start ${task.name}`,
    `task drain ${task.name}`,
    `task remove ${task.name}`,
    'node update one availability.new=pause availability.old=active',
    'service remove web',
    'network remove back type=overlay',
  ]);
  stream.answer.destroy();
});

t.test('what one commit does is told as one would do it by hand', async (t) => {
  const { ask, socket } = await openApiWorld(t);
  const stream = await follow(socket);
  const Text = ['services:', ...['b', 'c', 'a'].map((name) => `  ${name}: {expose: ["80"]}`)].join('\n');
  await ask('POST', '/vipmesh/stacks/shop', { File: 'f', Text });
  await ask('DELETE', '/vipmesh/stacks/shop');
  const seen: (string | undefined)[] = [];
  for (let i = 0; i < 8; i++) seen.push(told(await stream.next()));
  t.same(seen, [
    'network create shop_default type=overlay',
    ...['a', 'b', 'c'].map((name) => `service create shop_${name}`),
    ...['a', 'b', 'c'].map((name) => `service remove shop_${name}`),
    'network remove shop_default type=overlay',
  ]);
  stream.answer.destroy();
});

t.test('the attributes of tasks are those of the containers of a service', async (t) => {
  const { ask, socket } = await openApiWorld(t);
  const stream = await follow(socket, `?${filters({ type: ['task'] })}`);
  await ask('POST', '/services/create', { Name: 'web', Vipmesh: { Expose: [{ Port: 80 }] } });
  const { ID, Name } = (await ask('POST', '/vipmesh/endpoints', { Service: 'web', Endpoint: '10.1.1.1:80' })).json;
  const service = (await ask('GET', '/services/web')).json.ID;
  t.match(await stream.next(), {
    Action: 'create',
    Actor: {
      ID,
      Attributes: {
        name: Name,
        'com.docker.swarm.service.id': service,
        'com.docker.swarm.service.name': 'web',
        'com.docker.swarm.node.id': 'node1',
      },
    },
  });
  t.match(await stream.next(), { Action: 'start' });
  await ask('DELETE', '/services/web');
  t.match(await stream.next(), { Action: 'remove', Actor: { Attributes: { 'com.docker.swarm.service.name': 'web' } } });
  stream.answer.destroy();
});

t.test('filters', async (t) => {
  const { ask, control, socket } = await openApiWorld(t);
  await ask('POST', '/networks/create', { Name: 'back' });
  await ask('POST', '/services/create', { Name: 'web', Networks: [{ Target: 'back' }] });
  const task = await control.addTask({ service: 'web' });
  await control.setTaskHealth(task.id, 'unhealthy');
  await ask('POST', '/services/create', { Name: 'other' });
  const history = async (wanted: object) => {
    const stream = await follow(socket, `?since=0&until=9&${filters(wanted)}`);
    const all: string[] = [];
    for (let event = await stream.next(); event !== undefined; event = await stream.next()) all.push(told(event) ?? '');
    return all.map((line) => line.replace(task.name, 'TASK'));
  };
  // Nothing of 1970; the same with an end in the future is the rest of this test.
  t.same(await history({}), []);
  const cases: readonly (readonly [object, readonly string[]])[] = [
    [{ type: ['service'] }, ['service create web', 'service create other']],
    [
      { type: ['service', 'network'], event: ['create'] },
      [
        'network create back type=overlay',
        'service create web',
        'service create other',
        'network create default type=overlay',
      ].sort(),
    ],
    [{ service: ['web'] }, ['service create web', 'task create TASK', 'task health_status: unhealthy TASK']],
    [{ service: { web: true }, event: ['health_status'] }, ['task health_status: unhealthy TASK']],
    [{ network: ['back'], type: ['network'] }, ['network create back type=overlay']],
    [
      { network: [task.attachments[0]?.networkId], event: ['create'] },
      ['network create back type=overlay', 'task create TASK'],
    ],
    [{ node: ['node1'], type: ['task'] }, ['task create TASK', 'task health_status: unhealthy TASK']],
    [{ task: [task.name], event: ['create'] }, ['task create TASK']],
    [
      { label: ['type=overlay', 'nothing'] },
      ['network create back type=overlay', 'network create default type=overlay'],
    ],
    [{ scope: ['local'] }, []],
    [{ container: ['web'] }, []],
    [{ type: ['container'] }, []],
  ];
  for (const [wanted, expected] of cases) {
    const stream = await follow(socket, `?since=1&${filters(wanted)}`);
    const seen: (string | undefined)[] = [];
    for (const _ of expected) seen.push(told(await stream.next())?.replace(task.name, 'TASK'));
    t.same(seen.sort(), [...expected].sort(), JSON.stringify(wanted));
    stream.answer.destroy();
  }
  t.match(await ask('GET', `/events?${filters({ colour: ['red'] })}`), {
    status: 400,
    json: { message: /^invalid filter 'colour'/ },
  });
  t.match(await ask('GET', '/events?since=yesterday'), { status: 400, json: { message: /since: is seconds/ } });
});

t.test('since and until', async (t) => {
  const { ask, clock, socket } = await openApiWorld(t);
  const at = () => clock.wallTime() / 1000;
  const start = at();
  await ask('POST', '/networks/create', { Name: 'a' });
  await clock.advance(1000);
  const middle = at();
  await ask('POST', '/networks/create', { Name: 'b' });
  await ask('POST', '/networks/create', { Name: 'c' });
  await clock.advance(10);
  const past = await follow(socket, `?since=${middle}&until=${at()}`);
  const future = await follow(socket, `?since=${start}&until=${at() + 5}`);
  t.equal(told(await past.next()), 'network create b type=overlay');
  t.equal(told(await past.next()), 'network create c type=overlay');
  const times: (number | undefined)[] = [];
  for (const name of ['a', 'b', 'c']) {
    const event = await future.next();
    t.equal(event?.Actor.Attributes.name, name);
    times.push(event?.timeNano);
  }
  t.equal(new Set(times).size, 3, 'times differ');
  await ask('POST', '/networks/create', { Name: 'd' });
  t.equal(told(await future.next()), 'network create d type=overlay');
  await clock.advance(5000);
  t.equal(await future.next(), undefined, 'it ends by itself');
  t.equal(await past.next(), undefined);
});

t.test('a client that goes leaves nothing, and the end of the agent ends the stream', async (t) => {
  const { ask, close, socket } = await openApiWorld(t);
  const gone = await follow(socket);
  gone.answer.destroy();
  const stays = await follow(socket);
  await ask('POST', '/networks/create', { Name: 'a' });
  t.equal(told(await stays.next()), 'network create a type=overlay');
  await close();
  t.equal(await stays.next(), undefined);
});
