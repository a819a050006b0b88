// Docker's own client against an agent: every command that concerns the network, as somebody who knows Docker types it.
import './support/node.ts';
import t from 'tap';
import { ask } from '../api/world.ts';
import { startAgent } from '../support/agent.ts';
import { needsPrograms } from '../support/requirements.ts';
import { dockerClient } from './support/docker-client.ts';
import { mayBeNode } from './support/node.ts';
import { startServer } from './support/tasks.ts';

const ID = /^[a-z0-9]{25}$/;
const NO_CONTAINERS = /^vipmesh starts no containers: service \w+ exists/;

interface Shown {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: Readonly<Record<string, unknown>>;
}

t.test('docker', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'docker')) return;
  const agent = await startAgent({ args: ['--drain', '0s', '--node-name', 'alpha'] });
  const docker = dockerClient(agent);
  const inspect = async (kind: string, name: string) => {
    const [shown] = await docker.json<readonly Shown[]>(kind, 'inspect', name);
    if (shown === undefined) throw new Error(`${kind} inspect ${name} shows nothing`);
    return shown;
  };
  const refused = async (words: readonly string[], message: RegExp) =>
    t.match(await docker(...words), { code: 1, stderr: message }, words.join(' '));

  await t.test('version, info', async (t) => {
    t.match(
      await docker.text('version', '--format', '{{.Client.APIVersion}} {{.Server.Platform.Name}}'),
      /^1\.\d\d vipmesh$/,
    );
    const info = await docker('info');
    t.match(info, { code: 0, stdout: /Network: local overlay\n(.*\n)* Swarm: active\n/ });
    t.equal(info.stderr, '', 'nothing to warn of');
    t.equal(await docker.text('system', 'info', '--format', '{{.Swarm.ControlAvailable}} {{.Name}}'), 'true alpha');
  });

  await t.test('node', async (t) => {
    const row = '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}';
    t.equal(await docker.text('node', 'ls', '--format', row), 'alpha Ready Active Leader true');
    await docker.text('node', 'update', '--availability', 'drain', '--label-add', 'zone=edge', 'alpha');
    t.equal(await docker.text('node', 'ls', '--format', row), 'alpha Ready Drain Leader true');
    await docker.text('node', 'update', '--availability', 'active', 'alpha');
    t.match(await inspect('node', 'self'), {
      Spec: { Labels: { zone: 'edge' }, Availability: 'active', Role: 'manager' },
      Description: { Hostname: 'alpha' },
    });
    t.match(await docker.text('node', 'inspect', '--pretty', 'alpha'), /Hostname:\s+alpha\n/);
    await refused(['node', 'update', '--role', 'worker', 'alpha'], /has no workers/);
    await refused(['node', 'rm', 'alpha'], /alpha is not down/);
  });

  await t.test('network', async (t) => {
    const create = ['network', 'create', '-d', 'overlay', '--attachable', '--label', 'tier=back'];
    t.match(await docker.text(...create, '--subnet', '10.77.0.0/24', 'back'), ID);
    t.match(await docker.text('network', 'create', '-d', 'overlay', '--internal', 'quiet'), ID);
    t.equal(
      await docker.text('network', 'ls', '--filter', 'driver=overlay', '--format', '{{.Name}} {{.Driver}} {{.Scope}}'),
      'back overlay swarm\nquiet overlay swarm',
    );
    t.match(await inspect('network', 'back'), {
      Name: 'back',
      Attachable: true,
      Internal: false,
      IPAM: { Config: [{ Subnet: '10.77.0.0/24', Gateway: '10.77.0.1' }] },
      Labels: { tier: 'back' },
    });
    t.equal(await docker.text('network', 'rm', 'quiet'), 'quiet');
    await refused(['network', 'inspect', 'quiet'], /No such network: quiet/);
    await refused(
      [...create, '--opt', 'encrypted', 'secret'],
      /secret asks to be encrypted.*--allow-plaintext-overlays/,
    );
    await refused(['network', 'create', '-d', 'macvlan', 'other'], /no networks of the driver macvlan/);
  });

  await t.test('service', async (t) => {
    const created = await docker(
      ...[
        'service',
        'create',
        '--name',
        'web',
        '--network',
        'name=back,alias=www',
        '--replicas',
        '3',
        '-p',
        '8080:8000',
      ],
      ...[
        '--label',
        'tier=front',
        '--env',
        'A=b',
        '--mount',
        'type=volume,source=x,target=/y',
        '--limit-memory',
        '64M',
      ],
      ...[
        '--constraint',
        'node.role==manager',
        '--update-delay',
        '10s',
        '--health-cmd',
        'true',
        '--secret',
        'key',
        'web:1',
      ],
    );
    t.match(created, { code: 0, stdout: /^[a-z0-9]{25}\n$/, stderr: NO_CONTAINERS }, 'without waiting for tasks');
    t.match(created.stderr, /what runs the containers of service web has to give them secret key/);
    const row = '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}';
    t.equal(await docker.text('service', 'ls', '--format', row), 'web replicated 0/3 web:1 *:8080->8000/tcp');
    const first = await inspect('service', 'web');

    await docker.text('service', 'update', '--hostname', 'box', '--publish-add', '8443:443', 'web');
    const second = await inspect('service', 'web');
    t.ok(second.Version.Index > first.Version.Index);
    const { TaskTemplate, EndpointSpec, ...rest } = first.Spec as Record<string, Record<string, object>>;
    t.match(second.Spec, {
      ...rest,
      TaskTemplate: {
        ...TaskTemplate,
        ContainerSpec: { ...TaskTemplate?.ContainerSpec, Hostname: 'box' },
      },
      EndpointSpec: { Mode: 'vip', Ports: [{ PublishedPort: 8080 }, { PublishedPort: 8443 }] },
    });
    t.match(EndpointSpec, { Ports: [{ PublishedPort: 8080 }] });
    t.same((await inspect('service', 'web')).Version, second.Version, 'looking changes nothing');

    t.equal(await docker.text('service', 'rollback', '-q', 'web'), 'web');
    t.same((await inspect('service', 'web')).Spec, first.Spec, 'back as it was');
    t.match(await docker.text('service', 'scale', 'web=1'), /^web scaled to 1/);
    t.match((await inspect('service', 'web')).Spec, { ...first.Spec, Mode: { Replicated: { Replicas: 1 } } });
    t.match(await docker.text('service', 'inspect', '--pretty', 'web'), /^ State:\s+completed\n(.*\n)*Networks: back/m);
    t.match(await docker.text('inspect', '--format', '{{.ID}}', 'web'), first.ID, 'whatever kind it is of');
    await refused(['service', 'logs', 'web'], /keeps no output of tasks/);
    await refused(['service', 'create', '--name', 'web', 'web:1'], /service web exists already/);
    await refused(['service', 'create', '--mode', 'global-job', 'web:1'], /no services of the mode GlobalJob/);
    await refused(['service', 'update', '--publish-add', '8080:1/sctp', 'web'], /balances tcp and udp/);
  });

  await t.test('tasks, where something runs', async (t) => {
    await docker.text('service', 'update', '-q', '--no-healthcheck', 'web');
    const { name } = await startServer(agent, 'web');
    const row = '{{.Name}} {{.Image}} {{.Node}} {{.DesiredState}} {{.CurrentState}}';
    const running = /^web\.1 web:1 alpha Running Running /;
    t.match(await docker.text('service', 'ps', '--format', row, 'web'), running, name);
    t.match(await docker.text('node', 'ps', '--format', row), running);
    t.equal(await docker.text('service', 'ls', '--format', '{{.Replicas}}'), '1/1');
    await refused(['network', 'rm', 'back'], /back.*web/);
    await docker.text('service', 'create', '-q', '--detach=false', '--mode', 'global', 'each:1');
    const each = await docker.text('service', 'ls', '--filter', 'mode=global', '--format', '{{.Name}}');
    t.match(each, /^each-[a-z0-9]{4}$/, 'a service without a name gets one');
    t.equal(await docker.text('service', 'rm', 'web', each), `web\n${each}`);
    t.equal(await docker.text('service', 'ls', '-q'), '');
  });

  await t.test('events', async (t) => {
    // A duration would be cut to whole seconds.
    const now = new Date().toISOString();
    const told = ['events', '--since', '1h', '--until', now, '--filter', 'type=service', '--filter', 'type=network'];
    const lines = (await docker.text(...told, '--format', '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}')).split(
      '\n',
    );
    t.same(
      lines.map((line) => line.replace(/-[a-z0-9]{4}$/, '')).filter((line, n, all) => line !== all[n - 1]),
      [
        'network create back',
        'network create quiet',
        'network remove quiet',
        'service create web',
        'service update web',
        'network create default',
        'service create each',
        'service remove web',
        'service remove each',
      ],
    );
    const [plain = ''] = (await docker.text(...told)).split('\n');
    t.match(plain, /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-][\d:]+) network create [a-z0-9]{25} \(name=back, type=overlay\)$/);
  });

  await t.test('a port is free at once for the next service', async (t) => {
    const spec = { Name: 'next', EndpointSpec: { Ports: [{ Protocol: 'udp', TargetPort: 53, PublishedPort: 5300 }] } };
    for (let n = 0; n < 20; n++) {
      const created = await ask(agent.folder.socket, 'POST', '/services/create', spec);
      t.equal(created.status, 201, created.text);
      await ask(agent.folder.socket, 'DELETE', '/services/next');
    }
  });
});
