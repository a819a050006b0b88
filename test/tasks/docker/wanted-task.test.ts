import t from 'tap';
import { type ContainerDetails, containerDetails, isStopSignal } from '../../../src/tasks/docker/container-details.ts';
import { DOCKER_SELECTIONS, type DockerSelection, wantedTask } from '../../../src/tasks/docker/wanted-task.ts';

const ID = 'cf1fdf7a2d60'.padEnd(64, '0');
const SHOP = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' };

function container(labels: Readonly<Record<string, string>>, more: Partial<ContainerDetails> = {}): ContainerDetails {
  return containerDetails.parse({
    Id: ID,
    Name: '/shop-web-1',
    State: { Running: true, Paused: false, Pid: 4711 },
    Config: { Hostname: 'cf1fdf7a2d60', Labels: labels, ExposedPorts: { '80/tcp': {}, '53/udp': {} } },
    NetworkSettings: {
      Networks: { shop_default: { IPAddress: '172.18.0.2', Aliases: ['web', 'www', 'cf1fdf7a2d60'] } },
    },
    ...more,
  });
}

function wanted(labels: Readonly<Record<string, string>>, selections: readonly DockerSelection[] = DOCKER_SELECTIONS) {
  return wantedTask(container(labels), new Set(selections));
}

t.test('whose a container is', (t) => {
  const service = (labels: Readonly<Record<string, string>>, ...selections: DockerSelection[]) => {
    const found = wanted(labels, ['vipmesh', ...selections]);
    return typeof found === 'object' ? `${found.service} of ${found.stack ?? 'no stack'}` : found;
  };
  const swarm = { 'com.docker.swarm.service.name': 'shop_api', 'com.docker.stack.namespace': 'shop' };
  t.equal(service({}), undefined);
  t.equal(service({ 'vipmesh.service': 'web' }), 'web of no stack');
  t.equal(service(SHOP), undefined, 'other labels count when they are chosen');
  t.equal(service(SHOP, 'compose'), 'shop_web of shop');
  t.equal(service({ 'com.docker.compose.service': 'web' }, 'compose'), undefined);
  t.equal(service(swarm, 'compose'), undefined);
  t.equal(service(swarm, 'swarm'), 'shop_api of shop');
  t.equal(service({ ...SHOP, ...swarm, 'vipmesh.service': 'own' }, 'compose', 'swarm'), 'own of no stack');
  t.equal(service({ ...SHOP, 'vipmesh.service': '' }, 'compose'), undefined, 'an empty one takes it out');
  t.match(service({ 'vipmesh.service': 'a b' }), /^belongs to a service whose name "a b" may hold only/);
  t.end();
});

t.test('what it is to be', (t) => {
  t.same(wanted(SHOP), {
    service: 'shop_web',
    stack: 'shop',
    networksOfService: ['shop_default'],
    publish: [],
    expose: [
      { protocol: 'tcp', port: 80 },
      { protocol: 'udp', port: 53 },
    ],
    name: 'shop-web-1',
    hostname: 'cf1fdf7a2d60',
    aliases: ['cf1fdf7a2d60', 'www'],
  });
  const full = wanted({
    'vipmesh.service': 'web',
    'vipmesh.network': 'front, back',
    'vipmesh.port': '8000',
    'vipmesh.alias': 'blue,no..name',
    'vipmesh.weight': '3',
    'vipmesh.publish': '8080:8000,127.0.0.1:53:53/udp, 9000,[::1]:443:8000/tcp,%eth1:81:8000',
  });
  t.match(full, { networks: ['front', 'back'], networksOfService: ['front', 'back'], port: 8000, weight: 3 });
  t.match(full, { expose: [{ protocol: 'tcp', port: 8000 }], aliases: ['cf1fdf7a2d60', 'blue', 'www'] });
  t.match(full, {
    publish: [
      { protocol: 'tcp', publishedPort: 8080, targetPort: 8000, mode: 'ingress' },
      { protocol: 'udp', publishedPort: 53, targetPort: 53, hostAddress: '127.0.0.1' },
      { protocol: 'tcp', targetPort: 9000 },
      { protocol: 'tcp', publishedPort: 443, targetPort: 8000, hostAddress: '::1' },
      { protocol: 'tcp', publishedPort: 81, targetPort: 8000, hostAddress: '%eth1' },
    ],
  });
  const moved = { 'vipmesh.service': 'web', 'vipmesh.port': '9000', 'vipmesh.publish': '8080:80' };
  const other = wanted(moved);
  t.same(
    typeof other === 'object' && [other.port, other.expose],
    [9000, []],
    '80 of the service is 9000 of the container',
  );
  const plain = wantedTask(
    container({ 'vipmesh.service': 'web' }, { NetworkSettings: { Networks: { bridge: {}, none: {} } } }),
    new Set(['vipmesh']),
  );
  t.match(plain, { networksOfService: [], aliases: ['cf1fdf7a2d60'] }, "Docker's own networks are nobody's");
  t.end();
});

t.test('labels that cannot be', (t) => {
  const web = { 'vipmesh.service': 'web' };
  const wrong = (labels: Readonly<Record<string, string>>) => wanted({ ...web, ...labels });
  for (const port of ['0', '65536', '80/tcp', 'x', '']) {
    t.match(wrong({ 'vipmesh.port': port }), /^has the label vipmesh\.port=.*, which is no port/, port);
  }
  for (const publish of ['80:', ':80', '70000:80', '1.2.3:80:80', '80:80/sctp', 'a:80', '80-81:80-81']) {
    t.match(wrong({ 'vipmesh.publish': publish }), /^has the label vipmesh\.publish, where ".*" is not/, publish);
  }
  for (const weight of ['-1', '257', 'heavy', '1.5'])
    t.match(wrong({ 'vipmesh.weight': weight }), /^has the label vipmesh\.weight=.*, which should be a whole number/);
  for (const signal of ['', 'END', '0', '65', '-1'])
    t.match(wrong({ 'vipmesh.stop-signal': signal }), /^has the label vipmesh\.stop-signal=.*, which is no signal/);
  for (const signal of ['SIGTERM', 'term', '15'])
    t.match(
      wrong({ 'vipmesh.stop-signal': signal }),
      /, which docker stop sends it at once; start it with --stop-signal/,
    );
  t.end();
});

t.test("a container on the node's own network", (t) => {
  const host = container({ 'vipmesh.service': 'web' }, { NetworkSettings: { Networks: { host: {} } } });
  t.match(wantedTask(host, new Set(DOCKER_SELECTIONS)), /--network host.*vipmesh endpoint add/);
  t.end();
});

t.test('which signals are the end', (t) => {
  const ends = (stop: string | undefined, signal: number) =>
    isStopSignal(container({}, { Config: { StopSignal: stop } }), signal);
  t.ok(ends(undefined, 15));
  t.notOk(ends(undefined, 1), 'a configuration is read again');
  t.ok(ends(undefined, 9));
  t.ok(ends('SIGQUIT', 3));
  t.notOk(ends('SIGQUIT', 15));
  t.ok(ends('37', 37));
  t.ok(ends('SIGCONT', 18));
  t.end();
});
