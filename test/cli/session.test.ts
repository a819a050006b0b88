// A session at the command line, against a real agent: services and stacks are made, changed and removed, and what is printed is
// compared with what Docker printed for the same, field by field.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { PROGRAM, startAgent } from '../support/agent.ts';
import { unusedPort } from '../support/ports.ts';
import { differences } from './differences.ts';
import { RECORDED } from '../support/docker-recorded.ts';

/** As the parsed output of `service inspect`. */
interface Inspected {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: Readonly<Record<string, unknown>>;
  readonly PreviousSpec?: Readonly<Record<string, unknown>>;
  readonly Vipmesh: { readonly Frontends: readonly { readonly Kind: string; readonly State: string }[] };
}

const agent = await startAgent();

async function inspect(service: string): Promise<Inspected> {
  const [found] = await agent.json<Inspected[]>('service', 'inspect', service);
  if (found === undefined) throw new Error(`${service} was not printed`);
  return found;
}

/** Checks status and output of a command; what is not said should be empty. */
async function expectCli(
  t: Test,
  words: readonly string[],
  { code = 0, stdout = '', stderr = '' }: { code?: number; stdout?: string | RegExp; stderr?: string | RegExp },
): Promise<string> {
  const outcome = await agent.cli(...words);
  t.match(outcome, { code, stderr }, words.join(' '));
  if (typeof stdout === 'string') t.equal(outcome.stdout, stdout, words.join(' '));
  else t.match(outcome.stdout, stdout, words.join(' '));
  if (stderr === '') t.equal(outcome.stderr, '', words.join(' '));
  return outcome.stdout.trim();
}

const ID = /^[a-z0-9]{25}\n$/;

t.test('create', async (t) => {
  const network = await expectCli(
    t,
    ['network', 'create', '-d', 'local', '--subnet', '127.90.0.0/16', '--label', 'lab=1', 'ov1'],
    { stdout: ID },
  );
  const [shown] = await agent.json<unknown[]>('network', 'inspect', 'ov1');
  t.match(shown, { Id: network, Name: 'ov1' });
  t.same(differences(shown, RECORDED.network), [
    '.Name "ov1", Docker: "evnet"',
    '.Driver "local", Docker: "bridge"',
    '.EnableIPv4 only here',
    '.IPAM.Options null, Docker: {}',
    '.IPAM.Config[0].Gateway only here',
    '.Containers only in Docker: cf1fdf7a2d6060c94e3a8b00b746becb1aead67ac47db9f221605531d0ca744c',
    '.Services only here',
  ]);

  const [tcp, udp, host] = [unusedPort(), unusedPort(), unusedPort()];
  const created = await expectCli(
    t,
    [
      ...['service', 'create', '--name', 'vipsvc', '--label', 'team=x', '--replicas', '3'],
      ...['--network', 'name=ov1,alias=vipalias', '--publish', `${tcp}:80`, '-p', `${udp}:53/udp`],
    ],
    { stdout: ID },
  );
  const vipsvc = await inspect('vipsvc');
  t.equal(vipsvc.ID, created, 'create prints the id');
  t.same(differences(vipsvc, RECORDED.vipsvc), [
    '.Spec.TaskTemplate.ContainerSpec only in Docker: Image, Init, DNSConfig, Isolation',
    '.Spec.TaskTemplate only in Docker: Resources, Placement',
    '.Spec.Vipmesh only here',
    '.Endpoint.VirtualIPs[1] only in Docker',
    '.Vipmesh only here',
  ]);
  t.match(vipsvc, {
    Spec: { EndpointSpec: { Ports: [{ PublishedPort: tcp }, { PublishedPort: udp }] } },
    Endpoint: { VirtualIPs: [{ NetworkID: network, Addr: /^127\.90\.\d+\.\d+\/16$/ }] },
  });

  const publish = `published=${host},target=80,mode=host`;
  await expectCli(t, ['service', 'create', '--mode', 'global', '--network', 'ov1', '--publish', publish, 'hostpub'], {
    stdout: ID,
  });
  t.same(differences(await inspect('hostpub'), RECORDED.hostpub), [
    '.Spec.TaskTemplate.ContainerSpec only in Docker: Image, Init, DNSConfig, Isolation',
    '.Spec.TaskTemplate only in Docker: Resources, Placement',
    '.Spec.Vipmesh only here',
    '.Vipmesh only here',
  ]);
  await expectCli(
    t,
    ['service', 'create', '--name', 'rrsvc', '--network', 'ov1', '--endpoint-mode', 'dnsrr', '--replicas', '2'],
    { stdout: ID },
  );
  t.same(differences(await inspect('rrsvc'), RECORDED.rrsvc), [
    '.Spec.TaskTemplate.ContainerSpec only in Docker: Image, Init, DNSConfig, Isolation',
    '.Spec.TaskTemplate only in Docker: Resources, Placement',
    '.Spec.Vipmesh only here',
    '.Vipmesh only here',
  ]);
  await expectCli(t, ['service', 'ls', '--format', '{{.Name}} {{.Mode}} {{.Replicas}} {{.Ports}}'], {
    stdout: `hostpub global 0/1 \nrrsvc replicated 0/2 \nvipsvc replicated 0/3 *:${tcp}->80/tcp, *:${udp}->53/udp\n`,
  });
  await expectCli(t, ['service', 'create', 'vipsvc'], { code: 1, stderr: /^vipmesh: service vipsvc exists already/ });
  await expectCli(t, ['service', 'create', '-p', `${tcp}:80`, '--network', 'ov1', 'other'], {
    code: 1,
    stderr: /port \d+\/tcp is published by service vipsvc/,
  });
});

t.test('update, scale and rollback leave open connections alone', async (t) => {
  const server = await echoServer();
  t.teardown(() => server.close());
  const [before, after] = [unusedPort(), unusedPort()];
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expectCli(
    t,
    [
      ...['service', 'create', '--name', 'echo', '--network', 'ov1', '-p', `${before}:80`],
      ...['--endpoint', `127.0.0.1:${port}`, '--health-tcp', '--health-interval', '100ms', '--health-timeout', '20s'],
    ],
    { stdout: ID },
  );
  await served('echo');
  const open = await connection(before);
  t.equal(await echo(open, 'one'), 'one');
  const first = await inspect('echo');

  await expectCli(
    t,
    ['service', 'update', '--publish-add', `${after}:80`, '--label-add', 'a=b', '--network-rm', 'default', 'echo'],
    { code: 1, stderr: /^vipmesh: no network is called "default"/ },
  );
  t.match(await inspect('echo'), { Version: first.Version, Spec: first.Spec }, 'a rejected update changes nothing');
  await expectCli(t, ['service', 'update', '--publish-add', `${after}:80`, '--label-add', 'a=b', 'echo'], {
    stdout: 'echo\n',
  });
  const second = await inspect('echo');
  t.match(second.Spec, {
    Labels: { a: 'b' },
    EndpointSpec: { Ports: [{ PublishedPort: before }, { PublishedPort: after }] },
  });
  t.same(second.PreviousSpec, first.Spec, 'the spec before is kept, as in Docker');
  t.ok(second.Version.Index > first.Version.Index, 'Version.Index grows');
  const late = await connection(after);
  t.equal(await echo(late, 'two'), 'two', 'the new port is served at once');
  t.equal(await echo(open, 'three'), 'three', 'the connection from before is open');

  await expectCli(t, ['service', 'scale', 'echo=4', 'rrsvc=0'], { stdout: 'echo scaled to 4\nrrsvc scaled to 0\n' });
  t.match((await inspect('echo')).Spec, { Mode: { Replicated: { Replicas: 4 } } });
  await expectCli(t, ['service', 'scale', 'hostpub=2', 'nope=1', 'rrsvc=2'], {
    code: 1,
    stdout: 'rrsvc scaled to 2\n',
    stderr: /^vipmesh: hostpub: its mode is global.*\nvipmesh: no service is called "nope".*\n$/,
  });
  await expectCli(t, ['service', 'scale', 'echo'], { code: 2, stderr: /^vipmesh: "echo" should be SERVICE=REPLICAS/ });

  await expectCli(t, ['service', 'rollback', 'echo'], { stdout: 'echo\n' });
  t.same((await inspect('echo')).Spec, second.Spec, 'back to before the scaling');
  await expectCli(t, ['service', 'update', '--publish-rm', '80', '--publish-add', `${after}:80`, 'echo'], {
    stdout: 'echo\n',
  });
  await t.rejects(connection(before), { code: 'ECONNREFUSED' }, 'the port is not published any more');
  t.equal(await echo(open, 'still'), 'still', 'connections that came by it stay open');
  await expectCli(t, ['service', 'update', '--rollback', 'echo'], { stdout: 'echo\n' });
  t.same((await inspect('echo')).Spec, second.Spec, 'and once more, as a flag of update');
  t.equal(await echo(await connection(before), 'again'), 'again', 'beside its old connections the port is open again');
  await expectCli(t, ['service', 'rollback', 'hostpub'], { code: 1, stderr: /^vipmesh: .*hostpub.* previous/ });
  t.equal(await echo(open, 'four'), 'four');
  t.equal(await echo(late, 'five'), 'five');

  await expectCli(t, ['endpoint', 'drain', 'echo', `127.0.0.1:${port}`], { stdout: ID });
  t.equal(await echo(open, 'six'), 'six', 'draining lets open connections finish');
  const shown = ['endpoint', 'ls', '--format', '{{.State}} {{.Eligible}} {{.Reason}} {{.Open}}', 'echo'];
  await expectCli(t, shown, { stdout: /^draining no draining: .* 3\n$/ });
  await t.rejects(connection(before), { code: 'ECONNREFUSED' }, 'and takes no new ones');
  await expectCli(t, ['endpoint', 'drain', '--undo', 'echo', `127.0.0.1:${port}`], { stdout: ID });
  await served('echo');
  t.equal(await echo(await connection(before), 'seven'), 'seven');
});

t.test('rm', async (t) => {
  await expectCli(t, ['service', 'rm', 'echo', 'nope', 'hostpub'], {
    code: 1,
    stdout: 'echo\nhostpub\n',
    stderr: /^vipmesh: no service is called "nope".*\n$/,
  });
  await expectCli(t, ['network', 'rm', 'ov1'], { code: 1, stderr: /^vipmesh: network ov1 is used by rrsvc, vipsvc/ });
  await expectCli(t, ['service', 'rm', 'rrsvc', 'vipsvc'], { stdout: 'rrsvc\nvipsvc\n' });
  await expectCli(t, ['network', 'rm', 'ov1'], { stdout: 'ov1\n' });
  await expectCli(t, ['service', 'ls', '-q'], {});
  await expectCli(t, ['network', 'ls', '-q'], {});
});

t.test('a stack, deployed twice, then pruned', async (t) => {
  const [web, api] = [unusedPort(), unusedPort()];
  const file = join(agent.folder.path, 'compose.yaml');
  const head = 'networks:\n  default: { driver: local, ipam: { config: [{ subnet: 127.91.0.0/16 }] } }\nservices:\n';
  const webText = '  web:\n    ports: ["$WEB_PORT:80"]\n    labels: { tier: front }\n    deploy: { replicas: 2 }\n';
  const apiText = `  api:\n    ports: ["${api}:80"]\n`;
  const deploy = (text: string, ...flags: string[]) => {
    writeFileSync(file, head + text);
    process.env.WEB_PORT = String(web);
    return ['stack', 'deploy', '-c', file, ...flags, 'shop'];
  };
  await expectCli(t, deploy(webText + apiText), {
    stdout: 'Creating network shop_default\nCreating service shop_web\nCreating service shop_api\n',
  });
  const first = await inspect('shop_web');
  t.match(first.Spec, {
    Labels: { tier: 'front', 'com.docker.stack.namespace': 'shop' },
    EndpointSpec: { Ports: [{ PublishedPort: web }] },
  });
  await expectCli(t, deploy(webText + apiText), {
    stdout: 'Unchanged network shop_default\nUnchanged service shop_web\nUnchanged service shop_api\n',
  });
  t.same(await inspect('shop_web'), first, 'the same file again changes nothing, not even a version');
  await expectCli(t, deploy(webText.replace('replicas: 2', 'replicas: 3')), {
    stdout: 'Updating service shop_web\nUnchanged network shop_default\n',
  });
  await expectCli(t, ['stack', 'services', '--format', '{{.Name}} {{.Replicas}}', 'shop'], {
    stdout: 'shop_api 0/1\nshop_web 0/3\n',
  });
  await expectCli(t, deploy(webText, '--prune'), {
    stdout: 'Removing service shop_api\nUpdating service shop_web\nUnchanged network shop_default\n',
  });
  await expectCli(t, ['stack', 'ls', '--format', 'json'], {
    stdout: '{"File":"","Name":"shop","Networks":"1","Services":"1"}\n',
  });
  await expectCli(t, ['stack', 'ps', '-q', 'shop'], {});
  await expectCli(t, deploy('  web: { ports: ["80:x"], expose: [99999] }\n'), {
    code: 1,
    stderr: /^vipmesh: .*compose\.yaml:4:18: .*\n.*compose\.yaml:4:36: /,
  });
  await expectCli(t, ['stack', 'deploy', '-c', '/nowhere.yaml', 'shop'], {
    code: 1,
    stderr: 'vipmesh: /nowhere.yaml: there is no such file\n',
  });
  await expectCli(t, ['stack', 'rm', 'shop', 'nope'], {
    code: 1,
    stdout: 'Removing service shop_web\nRemoving network shop_default\n',
    stderr: /^vipmesh: there is no stack nope\n$/,
  });
});

t.test('node', async (t) => {
  const [shown] = await agent.json<{ ID: string; Description: { Hostname: string } }[]>('node', 'inspect', 'self');
  t.same(
    differences(shown, RECORDED.node).filter(
      (line) => !/Hostname|Resources|EngineVersion|Addr|Architecture/.test(line),
    ),
    [],
  );
  await expectCli(t, ['node', 'update', '--availability', 'drain', 'self'], { stdout: 'self\n' });
  const row = await agent.json<Record<string, unknown>>('node', 'ls');
  t.match(row, { ID: shown?.ID, Self: true, Status: 'Ready', Availability: 'Drain', ManagerStatus: 'Leader' });
  await expectCli(t, ['node', 'update', '--availability', 'active', 'self'], { stdout: 'self\n' });
  await expectCli(t, ['node', 'ps', '-q'], {});
});

t.test('events: the record of it all', async (t) => {
  const told = ['events', '--since', '10m', '--until', '0', '--filter', 'type=service', '--filter', 'type=network'];
  const lines = await expectCli(t, [...told, '--format', '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'], {
    stdout: /./,
  });
  // A stack is one commit, and what one commit does together has no order.
  const ofStack = (line: string) => line.includes(' shop_');
  const record = lines.split('\n');
  t.same(record.filter(ofStack).sort(), [
    'network create shop_default',
    'network destroy shop_default',
    'service create shop_api',
    'service create shop_web',
    'service remove shop_api',
    'service remove shop_web',
    'service update shop_web',
    'service update shop_web',
  ]);
  const rest = record.filter((line) => !ofStack(line));
  t.same(rest, [
    'network create ov1',
    'service create vipsvc',
    'service create hostpub',
    'service create rrsvc',
    'service create echo',
    ...Array.from({ length: 2 }, () => 'service update echo'),
    'service update rrsvc',
    'service update rrsvc',
    ...Array.from({ length: 3 }, () => 'service update echo'),
    'service remove echo',
    'service remove hostpub',
    'service remove rrsvc',
    'service remove vipsvc',
    'network destroy ov1',
  ]);
  const ours = (await agent.cli(...told, '--format', 'json')).stdout.trim().split('\n');
  for (const recorded of RECORDED.events) {
    const { Type, Action, Actor } = recorded;
    const attributes = Object.keys(Actor.Attributes).sort().join();
    const same = ours
      .map((line) => JSON.parse(line))
      .find(
        (one) =>
          one.Type === Type && one.Action === Action && Object.keys(one.Actor.Attributes).sort().join() === attributes,
      );
    t.ok(same, `${Type} ${Action} (${attributes}) is told here too`);
    t.same(
      differences(same, recorded).filter((line) => !/Attributes|time|Actor\.ID/.test(line)),
      [],
      `${Type} ${Action}`,
    );
  }
  const [plain = ''] = (await agent.cli(...told)).stdout.split('\n');
  t.match(
    plain,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) network create [a-z0-9]{25} \(name=ov1, type=local\)$/,
  );
});

t.test('events as they happen, until the agent ends', async (t) => {
  const words = [
    'events',
    '--since',
    '10m',
    '--filter',
    'type=network',
    '--format',
    '{{.Action}} {{.Actor.Attributes.name}}',
  ];
  const env = { ...process.env, VIPMESH_HOST: agent.folder.socket };
  const follower = spawn(process.execPath, [PROGRAM, ...words], { stdio: ['ignore', 'pipe', 'pipe'], env });
  t.teardown(() => follower.kill('SIGKILL'));
  let said = '';
  follower.stderr.on('data', (data) => {
    said += String(data);
  });
  const ended = once(follower, 'close');
  const lines = createInterface({ input: follower.stdout })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value;
  t.equal(await next(), 'create ov1', 'what was before comes first');
  await expectCli(t, ['network', 'create', '-d', 'local', 'late'], { stdout: ID });
  let line = await next();
  while (line !== undefined && line !== 'create late') line = await next();
  t.equal(line, 'create late');
  await agent.stop();
  t.same(await ended, [1, null]);
  t.equal(said, 'vipmesh: the agent has ended, and with it its events\n');
});

/** Resolves once every published port of the service takes connections. */
async function served(service: string): Promise<void> {
  for (;;) {
    const { Vipmesh } = await inspect(service);
    const published = Vipmesh.Frontends.filter(({ Kind }) => Kind === 'published');
    if (published.every(({ State }) => State === 'listening')) return;
  }
}

async function echoServer(): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function connection(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  // Whoever waits for data hears of an error; at the end of the test nobody does.
  socket.on('error', () => socket.destroy());
  return socket;
}

async function echo(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  const [data] = await once(socket, 'data', { signal: AbortSignal.timeout(20_000) });
  return String(data);
}
