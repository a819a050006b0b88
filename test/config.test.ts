// Settings: defaults, where they come from, and the one line that a wrong one gets.
import t from 'tap';
import { type AgentFlags, ConfigError, type Machine, parseConfig, SETTINGS } from '../src/config.ts';
import { resolvConfServers } from '../src/config-dns.ts';
import { ip } from './support/builders.ts';

const ROOT: Machine = {
  env: {},
  uid: 0,
  home: '/root',
  cwd: '/work',
  hostname: 'alpha.example.org',
  cpus: 4,
  stderrIsTerminal: false,
  resolvConf:
    'search example.org\nnameserver 127.0.0.11\nnameserver 9.9.9.9\nnameserver 9.9.9.9\n nameserver fe80::1%eth0\n',
};
const USER: Machine = {
  ...ROOT,
  uid: 1000,
  home: '/home/ann',
  env: { XDG_RUNTIME_DIR: '/run/user/1000' },
  stderrIsTerminal: true,
};

t.test('defaults of root', (t) => {
  t.same(parseConfig({}, ROOT), {
    stacks: [],
    socket: '/run/vipmesh/vipmesh.sock',
    socketMode: 0o660,
    stateDir: '/var/lib/vipmesh',
    dns: { address: '127.0.0.11', port: 53 },
    upstreams: [{ address: '9.9.9.9', port: 53 }],
    dnsRoutes: [],
    dnsCacheBytes: 4_194_304,
    workers: 4,
    admin: { address: '127.0.0.1', port: 7980 },
    drainMs: 10_000,
    logLevel: 'info',
    logFormat: 'json',
    connectionLog: 0,
    queryLog: 0,
    nodeName: 'alpha.example.org',
    allowPlaintextOverlays: false,
    privileged: true,
  });
  t.ok(Object.isFrozen(parseConfig({}, ROOT)));
  t.end();
});

t.test('defaults of an ordinary user', (t) => {
  t.match(parseConfig({}, USER), {
    socket: '/run/user/1000/vipmesh.sock',
    socketMode: 0o600,
    stateDir: '/home/ann/.local/state/vipmesh',
    dns: { address: '127.0.0.11', port: 1053 },
    upstreams: [
      { address: '127.0.0.11', port: 53 },
      { address: '9.9.9.9', port: 53 },
    ],
    logFormat: 'pretty',
    privileged: false,
  });
  t.match(parseConfig({}, { ...USER, env: { XDG_STATE_HOME: '/srv/state' } }), {
    socket: '/srv/state/vipmesh/vipmesh.sock',
    stateDir: '/srv/state/vipmesh',
  });
  t.match(parseConfig({}, { ...USER, hostname: `${'x'.repeat(60)}.example.org` }), { nodeName: 'x'.repeat(60) });
  t.match(parseConfig({}, { ...USER, hostname: '-', cpus: 0 }), { nodeName: 'node', workers: 1 });
  t.end();
});

t.test('flags go before the environment', (t) => {
  const env = {
    VIPMESH_DNS: '127.0.0.1:5353',
    VIPMESH_STACK: 'a=a.yaml, b=/srv/b.yaml',
    VIPMESH_UPSTREAM: '1.1.1.1,[2620:fe::fe]:5353',
    VIPMESH_STATE_DIR: 'state',
    VIPMESH_ALLOW_PLAINTEXT_OVERLAYS: 'true',
    VIPMESH_DRAIN: '',
  };
  const flags: AgentFlags = {
    dns: '[::1]:53',
    drain: '1m30s',
    workers: '2',
    socket: 'unix:///tmp/a.sock',
    'log-level': 'debug',
  };
  t.match(parseConfig(flags, { ...ROOT, env }), {
    dns: { address: '::1', port: 53 },
    stacks: [
      { name: 'a', file: '/work/a.yaml' },
      { name: 'b', file: '/srv/b.yaml' },
    ],
    upstreams: [
      { address: '1.1.1.1', port: 53 },
      { address: '2620:fe::fe', port: 5353 },
    ],
    stateDir: '/work/state',
    drainMs: 90_000,
    workers: 2,
    socket: '/tmp/a.sock',
    logLevel: 'debug',
    allowPlaintextOverlays: true,
  });
  t.end();
});

t.test('what is wrong is said in one line', (t) => {
  const cases: readonly (readonly [AgentFlags, string])[] = [
    [{ stack: ['shop'] }, '--stack: should be NAME=FILE, such as shop=compose.yaml, not "shop"'],
    [{ stack: ['a b=f'] }, '--stack: the stack name "a b" may hold only letters'],
    [{ stack: ['a=f', 'a=g'] }, '--stack: "a" is given twice (/work/f and /work/g)'],
    [{ 'connection-log': '1%' }, '--connection-log: should be a share from 0 to 1, such as 0.01, or off, not "1%"'],
    [{ 'query-log': 'all' }, '--query-log: should be a share from 0 to 1, such as 0.01, or off, not "all"'],
    [{ 'connection-log': '1.01' }, '--connection-log: should be a share from 0 to 1'],
    [{ dns: '127.0.0.1' }, '--dns: should be ADDRESS:PORT, such as 127.0.0.11:53 or [::1]:53, not "127.0.0.1"'],
    [{ admin: '80' }, '--admin: should be ADDRESS:PORT, such as 127.0.0.1:7980 or [::1]:7980, not "80"'],
    [{ admin: 'localhost:80' }, '--admin: should be ADDRESS:PORT'],
    [{ admin: '127.0.0.1:0' }, '--admin: should be ADDRESS:PORT'],
    [{ upstream: ['dns.example'] }, '--upstream: should be ADDRESS or ADDRESS:PORT of a DNS server'],
    [{ upstream: ['127.0.0.11'] }, '--upstream: 127.0.0.11 is this resolver itself (--dns 127.0.0.11:53)'],
    [
      { dns: '0.0.0.0:53', upstream: ['127.0.0.1'] },
      '--upstream: 127.0.0.1 is this resolver itself (--dns 0.0.0.0:53)',
    ],
    [
      { 'dns-route': ['10.0.0.53'] },
      '--dns-route: should be SUFFIX=ADDRESS, such as corp.example=10.0.0.53, not "10.0.0.53"',
    ],
    [
      { 'dns-route': ['corp example=10.0.0.53'] },
      '--dns-route: should be SUFFIX=ADDRESS with a domain such as corp.example',
    ],
    [
      { 'dns-route': ['.=10.0.0.53'] },
      '--dns-route: should be SUFFIX=ADDRESS with a domain such as corp.example, not "."; for all',
    ],
    [
      { 'dns-route': ['corp.example=ns.corp.example'] },
      '--dns-route: should be ADDRESS or ADDRESS:PORT of a DNS server',
    ],
    [{ 'dns-route': ['corp.example=127.0.0.11'] }, '--dns-route: 127.0.0.11 is this resolver itself'],
    [{ 'dns-route': ['a.b=10.0.0.1', 'c.d=10.0.0.1', 'A.B.=10.0.0.2'] }, '--dns-route: has a.b twice'],
    [
      { upstream: Array.from({ length: 33 }, (_, i) => `10.0.0.${i}`) },
      '--upstream: names 33 different servers; at most 32',
    ],
    [{ 'dns-cache': '1k' }, '--dns-cache: should be a size from 64K to 1G, such as 16M, or off, not "1k"'],
    [{ 'dns-cache': '2G' }, '--dns-cache: should be a size'],
    [{ 'dns-cache': 'much' }, '--dns-cache: should be a size'],
    [{ workers: '0' }, '--workers: should be a number from 1 to 256, not "0"'],
    [{ workers: '2.5' }, '--workers: should be a number'],
    [{ drain: '10' }, '--drain: should be a duration such as 10s, 1m30s or 500ms, not "10"'],
    [{ drain: '25h' }, '--drain: should be at most 24h, not 25h'],
    [{ 'log-level': 'trace' }, '--log-level: should be one of debug, info, warn, error, not "trace"'],
    [{ 'log-format': 'xml' }, '--log-format: should be one of json, pretty, not "xml"'],
    [{ 'node-name': 'a/b' }, '--node-name: the node name "a/b" may hold only letters'],
    [{ 'egress-subnet': '10.0.0.0/30' }, '--egress-subnet: should be an IPv4 subnet from /8 to /28'],
    [{ docker: 'tcp://127.0.0.1:2375' }, '--docker: should be unix:///PATH, such as unix:///var/run/docker.sock, not'],
    [{ docker: '/d.sock', 'docker-select': ['compose,pods'] }, '--docker-select: should be of vipmesh, compose, swarm'],
    [{ 'docker-select': ['compose'] }, '--docker-select: is of use only with --docker'],
    [{ socket: `/${'x'.repeat(120)}` }, '--socket: /xxx'],
    [{ 'state-dir': '' }, '--state-dir: should be a path, not empty'],
  ];
  for (const [flags, beginning] of cases) {
    const error = thrown(() => parseConfig(flags, ROOT));
    t.ok(error instanceof ConfigError && error.message.startsWith(beginning), `${beginning} (${String(error)})`);
    t.notMatch(String(error), /\n/);
  }
  t.throws(() => parseConfig({}, { ...ROOT, env: { VIPMESH_WORKERS: 'many' } }), {
    message: 'VIPMESH_WORKERS: should be a number from 1 to 256, not "many"',
    flag: 'VIPMESH_WORKERS',
  });
  t.throws(() => parseConfig({}, { ...ROOT, env: { VIPMESH_ALLOW_PLAINTEXT_OVERLAYS: 'yes' } }), {
    message: /true or false/,
  });
  t.end();
});

t.test('routes: by flag and by environment, and the size of the cache', (t) => {
  const expected = [
    {
      suffix: 'corp.example',
      upstreams: [
        { address: '10.0.0.53', port: 53 },
        { address: 'fd00::53', port: 5353 },
      ],
    },
    { suffix: '10.in-addr.arpa', upstreams: [{ address: '10.0.0.53', port: 53 }] },
  ];
  const flags = { 'dns-route': ['.Corp.Example=10.0.0.53,[fd00::53]:5353', '10.in-addr.arpa.=10.0.0.53'] };
  t.same(parseConfig(flags, ROOT).dnsRoutes, expected);
  const env = { VIPMESH_DNS_ROUTE: 'corp.example=10.0.0.53, [fd00::53]:5353, 10.in-addr.arpa=10.0.0.53' };
  t.same(parseConfig({}, { ...ROOT, env }).dnsRoutes, expected);
  const sizes = { off: 0, '0': 0, '64K': 65_536, '16M': 16_777_216, '1GiB': 1_073_741_824, '100000': 100_000 };
  for (const [text, bytes] of Object.entries(sizes))
    t.equal(parseConfig({ 'dns-cache': text }, ROOT).dnsCacheBytes, bytes, text);
  const shares = { off: 0, '0': 0, '0.01': 0.01, '1': 1 };
  for (const [text, share] of Object.entries(shares))
    t.match(parseConfig({ 'connection-log': text, 'query-log': text }, ROOT), {
      connectionLog: share,
      queryLog: share,
    });
  t.end();
});

t.test("resolv.conf, but never the agent's own listener", (t) => {
  const text = 'nameserver 127.0.0.53 # stub\n;nameserver 8.8.8.8\nnameserver\nnameserver x\n  nameserver ::1\n';
  const servers = (address: string, port: number) =>
    resolvConfServers(text, { address: ip(address), port: port as never }).map((server) => server.address);
  t.same(servers('127.0.0.11', 53), ['127.0.0.53', '::1']);
  t.same(servers('127.0.0.53', 53), ['::1']);
  t.same(servers('127.0.0.53', 5353), ['127.0.0.53', '::1']);
  t.end();
});

t.test('every setting has a flag that is read', (t) => {
  for (const { flag } of SETTINGS) {
    const name = flag.slice(2).split(' ')[0] ?? '';
    const value = flag.includes('<') ? '\u0000' : 'neither';
    const env = { [`VIPMESH_${name.toUpperCase().replaceAll('-', '_')}`]: value };
    if (name === 'socket' || name === 'state-dir') {
      t.match(JSON.stringify(parseConfig({}, { ...ROOT, env })), /u0000/, flag);
    } else t.throws(() => parseConfig({}, { ...ROOT, env }), ConfigError, flag);
  }
  t.end();
});

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

t.test('a Docker Engine', (t) => {
  const docker = (flags: Parameters<typeof parseConfig>[0], env = {}) => parseConfig(flags, { ...ROOT, env }).docker;
  t.equal(docker({}), undefined);
  t.same(docker({ docker: 'unix:///var/run/docker.sock' }), {
    socket: '/var/run/docker.sock',
    selections: new Set(['vipmesh']),
  });
  t.same(docker({}, { VIPMESH_DOCKER: '/d.sock', VIPMESH_DOCKER_SELECT: 'compose,swarm' }), {
    socket: '/d.sock',
    selections: new Set(['vipmesh', 'compose', 'swarm']),
  });
  t.end();
});
