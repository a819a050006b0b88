// The program as a user runs it, against an agent of plain data: what it prints, what it asks, its exit status.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Resolution } from '../../src/api/schema.ts';
import { CREATED, fakeApi, serveFake } from '../support/fake-api.ts';
import { trafficAfter } from '../support/traffic.ts';

const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH ?? '', HOME: '/nowhere', ...env } };
    const child = execFile(process.execPath, [PROGRAM, ...words], options, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(child.exitCode), out, err });
    });
  });
}

async function start(t: Parameters<typeof serveFake>[1]) {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  return { fake, socket, cli: (...words: string[]) => run(words, { VIPMESH_HOST: `unix://${socket}` }) };
}

t.test('service', async (t) => {
  const { cli, socket } = await start(t);
  t.same(await cli('service', 'ls'), {
    code: 0,
    out: 'ID            NAME      MODE         REPLICAS   PORTS\nsvc-shop_db   shop_db   global       1/1        \nsvc-web       web       replicated   2/3        *:8080-8081->80-81/tcp\n',
    err: '',
  });
  t.match(await cli('service', 'ls', '--filter', 'name=web', '--format', 'json'), {
    code: 0,
    out: '{"ID":"svc-web","Mode":"replicated","Name":"web","Ports":"*:8080-8081->80-81/tcp","Replicas":"2/3"}\n',
  });
  t.match(await cli('service', 'ls', '-q'), { out: 'svc-shop_db\nsvc-web\n' });
  t.match(await cli('service', 'ls', '--format', '{{.Name}} {{.Replicas}}', '-f', 'mode=global'), {
    out: 'shop_db 1/1\n',
  });
  const tasks = await cli('service', 'ps', 'web');
  t.match(tasks.out, /^ID {11}NAME {6}NODE {6}DESIRED STATE {3}CURRENT STATE +ERROR +PORTS\n/);
  t.match(tasks.out, /^task-web-1 +web\.1 +alpha +Running +Running .* ago +\*:8083->80\/tcp$/m);
  t.match(tasks.out, /^task-web-2 +web\.2 +alpha +Running +Running .* ago +unhealthy +\*:8083->80\/tcp$/m);
  t.match(await cli('service', 'ps', 'web', 'nope'), {
    code: 1,
    out: '',
    err: /^vipmesh: no service is called "nope"/,
  });
  t.match(await run(['-H', socket, 'service', 'ls', '-q']), { code: 0, out: /svc-web/ }, '--host before the command');
  t.match(await run(['service', 'ls', '-q', '--host', socket]), { code: 0, out: /svc-web/ }, '--host behind it');
});

t.test('service inspect', async (t) => {
  const { cli } = await start(t);
  const all = await cli('service', 'inspect', 'web', 'shop_db');
  t.match(JSON.parse(all.out), [
    {
      ID: 'svc-web',
      Spec: { Name: 'web' },
      Vipmesh: { Path: 'proxied', Endpoints: [{ Eligible: true }, { Eligible: false }] },
    },
    { ID: 'svc-shop_db' },
  ]);
  const partly = await cli('service', 'inspect', 'web', 'nope');
  t.equal(partly.code, 1);
  t.equal(JSON.parse(partly.out).length, 1, 'what there is is printed');
  t.match(partly.err, /^vipmesh: no service is called "nope"/);
  t.match(await cli('service', 'inspect', '--format', '{{.Spec.Name}}', 'web'), { code: 0, out: 'web\n' });
  const pretty = await cli('service', 'inspect', '--pretty', 'web');
  for (const line of [
    /^Name: +web$/m,
    /^Health: +HTTP \/up, every 1s, within 500ms, 2 failures$/m,
    /^Ports \(ingress\): \*:8080-8081->80-81\/tcp$/m,
    /^VIP: +127\.64\.0\.2 on default \(web, www\), proxied$/m,
    /^ web\.2\.task-web-2 +alpha +default +127\.64\.0\.11 +80, 81 +1 +no .*unhealthy$/m,
    /^ SERVICE +NETWORK +LISTENS ON /m,
    /^ web +\*:8081\/tcp +81 +blocked .*another program has the port$/m,
    /^ web +default +127\.64\.0\.2:80\/tcp +80 +refusing +1 +12 *$/m,
    /^ web +backend +10\.64\.1\.2:\*\/udp +same port +listening *$/m,
  ]) {
    t.match(pretty.out, line);
  }
  t.match(await cli('service', 'inspect', '--pretty', 'shop_db'), { out: /^Warning: a warning of the node$/m });
});

t.test('network', async (t) => {
  const { cli } = await start(t);
  t.equal(
    (await cli('network', 'ls')).out,
    'NETWORK ID    NAME      DRIVER    SCOPE\nnet-backend   backend   overlay   swarm\nnet-default   default   local     local\n',
  );
  t.same(JSON.parse((await cli('network', 'ls', '-f', 'driver=overlay', '--format', 'json')).out), {
    CreatedAt: new Date(CREATED + 1).toISOString(),
    Driver: 'overlay',
    ID: 'net-backend',
    IPv6: 'false',
    Internal: 'true',
    Labels: 'tier=back',
    Name: 'backend',
    Scope: 'swarm',
  });
  t.match(JSON.parse((await cli('network', 'inspect', 'default')).out), [
    { Name: 'default', Containers: { 'task-web-1': { IPv4Address: '127.64.0.10/16' } } },
  ]);
});

t.test('endpoint', async (t) => {
  const { cli, fake } = await start(t);
  t.match(await cli('endpoint', 'add', 'shop_db', '10.0.0.5:5432', '5432=[fd00::1]:1'), {
    code: 0,
    out: 'task-shop_db-1\ntask-shop_db-1\n',
  });
  t.match(await cli('endpoint', 'ls', 'shop_db', '--format', '{{.Address}} {{.Ports}} {{.Eligible}} {{.Reason}}'), {
    out: '127.0.0.1 5432->5433 yes a loopback address: eligible on its own node only\n',
  });
  t.match(await cli('endpoint', 'ls', '-q', '-f', 'eligible=no', '-f', 'service=web', '-f', 'service=x'), {
    out: 'task-web-2\n',
  });
  t.match(await cli('endpoint', 'ls', '--filter', 'colour=red'), { code: 1, err: /invalid filter 'colour'; known/ });
  t.match(await cli('endpoint', 'ls', '-q'), { out: 'task-shop_db\ntask-web-1\ntask-web-2\n' });
  t.match(await cli('endpoint', 'rm', 'shop_db', '127.0.0.1:5433'), { code: 0, out: 'task-shop_db-1\n' });
  t.match(await cli('endpoint', 'rm', 'shop_db', '10.9.9.9'), {
    code: 1,
    err: 'vipmesh: service shop_db has no endpoint 10.9.9.9; see `vipmesh endpoint ls shop_db`\n',
  });
  t.match(await cli('endpoint', 'rm', 'web', 'task-web'), { code: 1, err: /fits 2 endpoints/ });
  t.match(await cli('endpoint', 'rm', 'web', 'task-web-1'), { code: 1, err: /end its command/ });
  t.same(fake.calls, ['add svc-shop_db 10.0.0.5:5432', 'add svc-shop_db 5432=[fd00::1]:1', 'remove task-shop_db-1']);
  fake.failure = Object.assign(new Error('10.0.0.5 is an endpoint already'), { code: 'conflict' });
  t.match(await cli('endpoint', 'add', 'web', '10.0.0.5'), {
    code: 1,
    err: 'vipmesh: 10.0.0.5 is an endpoint already\n',
  });
});

t.test('resolve', async (t) => {
  const { cli, fake } = await start(t);
  const answer = (more: Partial<Resolution>) => {
    fake.resolution = { Name: '', Outcome: 'answer', Answers: [], Hidden: [], ...more };
  };
  answer({
    Answers: [{ Network: 'default', Kind: 'vip', Service: 'web', Addresses: ['127.64.0.2'] }],
    Hidden: [{ Network: 'backend', Addresses: ['10.64.0.2'], Reason: 'for containers only' }],
  });
  t.same(await cli('resolve', 'web'), {
    code: 0,
    out: 'NETWORK   KIND      SERVICE   ADDRESSES\ndefault   vip       web       127.64.0.2\nhidden: 10.64.0.2 on backend (for containers only)\n',
    err: '',
  });
  t.match(JSON.parse((await cli('resolve', 'web', '--network', 'backend', '--format', 'json')).out), {
    Name: 'web',
    Outcome: 'answer',
  });
  answer({ Outcome: 'nodata' });
  t.match(await cli('resolve', 'tasks.web'), { code: 0, out: /^tasks\.web exists, but has no address/ });
  answer({ Outcome: 'nxdomain' });
  t.match(await cli('resolve', 'wbe'), { code: 1, out: 'wbe does not exist (NXDOMAIN)\n' });
  answer({ Outcome: 'forwarded' });
  t.match(await cli('resolve', 'example.org'), { code: 0, out: /outside DNS servers/ });
  for (const empty of ['', ' '])
    t.match(await cli('resolve', empty), { code: 2, out: '', err: /argument 'NAME'.* is empty; a name is wanted/ });
  t.same(fake.calls.slice(0, 2), ['resolve web node', 'resolve web network net-backend']);
  answer({
    Outcome: 'forwarded',
    Explained: {
      Client: 'a process on this node',
      Networks: ['default', 'back'],
      Forwards: true,
      Steps: [
        { Where: 'default', Found: 'nothing is called example.org' },
        { Where: 'server 192.0.2.53:53', Found: 'NOERROR, 1 record', Milliseconds: 12.3 },
      ],
      TTL: 5,
    },
  });
  t.match(await cli('resolve', '--explain', 'example.org'), {
    code: 0,
    out: [
      'example.org is not a name of ours; outside DNS servers are asked',
      '',
      'asked by: a process on this node',
      'sees:     default, back; other names are asked for outside',
      'TTL:      5 s',
      'WHERE                  TIME      FOUND',
      'default                          nothing is called example.org',
      'server 192.0.2.53:53   12.3 ms   NOERROR, 1 record',
      '',
    ].join('\n'),
  });
  t.equal(fake.calls.at(-1), 'resolve example.org node why');
  t.match(await cli('resolve', '--as', 'web.1', '--network', 'backend', 'x'), { code: 2, err: /cannot be used with/ });
});

t.test('conn ls', async (t) => {
  const { cli, fake } = await start(t);
  t.same(await cli('conn', 'ls'), {
    code: 0,
    out: `SERVICE    PROTOCOL   CLIENT                FRONTEND             ENDPOINT       AGE       IN        OUT       STATE
shop_web   tcp        192.0.2.7:40000       192.0.2.1:8080       10.64.0.5:80   1h2m5s    999B      1.2MB     open
           tcp        [2001:db8::7]:40001   [2001:db8::1]:8080                  0.3s      0B        0B        connecting
`,
    err: '',
  });
  t.match(await cli('conn', 'ls', 'shop_db', '--limit', '1', '--format', '{{.Client}} {{.BytesToClient}}'), {
    code: 0,
    out: '192.0.2.7:40000 1234567\n',
    err: '1 more; --limit 2 shows all\n',
  });
  t.match(await cli('conn', 'ls', 'nothing'), { code: 1, err: /no service is called "nothing"/ });
  t.match(await cli('conn', 'ls', '--limit', '999999'), { code: 1, err: /limit should be a number from 0 to 100000/ });
  t.same(fake.calls, ['connections undefined 1000', 'connections svc-shop_db 1']);
});

t.test('top', async (t) => {
  const { cli, fake } = await start(t);
  let seconds = 10;
  fake.traffic = () => trafficAfter(seconds++);
  t.same(await cli('top', '--interval', '100ms'), {
    code: 0,
    out: `1 service: 7 open, 20.0 connections/s, in 2kB/s, out 1.5MB/s, 1.0 failed/s, 0 refused/s

SERVICE    ENDPOINT               OPEN      CONN/S    IN/S      OUT/S     FAILED/S   REFUSED/S   STATE
shop_web                          7         20.0      2kB/s     1.5MB/s   1.0        0           
           10.64.0.5 shop_web.1   7         20.0      2kB/s     1.5MB/s   1.0                    
`,
    err: '',
  });
  const { code, out } = await cli('top', '--interval', '100ms', '--format', 'json');
  t.equal(code, 0);
  t.match(JSON.parse(out), {
    Seconds: 1,
    Services: [
      { Name: 'shop_web', Open: 7, ConnectionsPerSecond: 20, Endpoints: [{ Task: 'shop_web.1', Total: 260 }] },
    ],
  });
  t.match(await cli('top', 'nothing'), { code: 1, err: /no service is called "nothing"/ });
  t.match(await cli('top', '--interval', '1h'), { code: 2, err: /--interval should be a duration from 100ms to 1m/ });
  t.match(await cli('top', '--format', 'yaml'), { code: 2, err: /--format should be json/ });
});

t.test('top in a terminal is renewed until it is interrupted', async (t) => {
  const { socket, fake } = await start(t);
  let seconds = 10;
  fake.traffic = () => trafficAfter(seconds++);
  const command = `stty rows 5; exec ${process.execPath} ${PROGRAM} top --interval 100ms`;
  // script(1) of util-linux gives a command a terminal of its own.
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...process.env, VIPMESH_HOST: `unix://${socket}` },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    shown += text;
  });
  const screens = () => shown.split('\x1b[H\x1b[J').slice(1);
  while (screens().length < 4) await once(child.stdout, 'data');
  t.match(screens()[2], /^1 service: 7 open.*\r\n\r\nSERVICE .*\r\nshop_web .*$/s);
  const ended = once(child, 'exit');
  child.stdin.write('\x03');
  await ended;
  t.ok(seconds >= 14, `${seconds - 10} readings`);
});

t.test('dns cache', async (t) => {
  const { cli, fake } = await start(t);
  t.same(await cli('dns', 'cache', 'ls', '--below', 'example.com'), {
    code: 0,
    out:
      'NAME              TYPE      STATE     LEFT      RCODE      ANSWERS   BYTES     WORKER\n' +
      'www.example.com   A         fresh     51s       NOERROR    2         480       0\n' +
      'example.org       AAAA      failed    2s        SERVFAIL   0         330       1\n',
    err: '',
  });
  t.same(await cli('dns', 'cache', 'ls', '--limit', '1', '--format', '{{.Name}} {{.Left}}'), {
    code: 0,
    out: 'www.example.com 51s\n',
    err: '1 more; --limit 2 shows all\n',
  });
  t.match(await cli('dns', 'cache', 'ls', '--limit', 'all'), { code: 2, err: /--limit should be a number/ });
  t.match(await cli('dns', 'cache', 'flush', 'example.com'), { code: 0, out: '2 answers forgotten\n' });
  t.match(await cli('dns', 'cache', 'flush'), { code: 0 });
  t.match(await cli('dns', 'cache', 'flush', 'a..b'), { code: 1, err: /"a\.\.b" is no domain name/ });
  t.same(
    fake.calls.filter((call) => !call.startsWith('dns cache undefined 0')),
    [
      'dns cache example.com 1000',
      'dns cache undefined 1',
      'dns cache example.com 0',
      'flush example.com',
      'flush undefined',
    ],
  );
});

t.test('status', async (t) => {
  const { cli } = await start(t);
  const { out } = await cli('status');
  for (const line of [
    /^Agent: +vipmesh 0\.1\.0, pid 4242, as an ordinary user$/m,
    /^Node: +alpha \(node1\)$/m,
    /^DNS: +127\.0\.0\.11:1053\/udp, 127\.0\.0\.11:1053\/tcp$/m,
    /^Tasks: +3, of which 2 eligible$/m,
    /^Workers: +1, 3 connections, 1 flows$/m,
    /^ shop +\/srv\/shop\.yaml +rejected +shop\.yaml:3:5: unknown key$/m,
    /^Warning: port 53 needs root$/m,
  ]) {
    t.match(out, line);
  }
  t.match(JSON.parse((await cli('status', '--format', 'json')).out), { State: 'ready', Counts: { Services: 2 } });
  t.equal((await cli('status', '--format', '{{.State}} {{.Node.Name}}')).out, 'ready alpha\n');
});

t.test('misuse is status 2, with what was probably meant', async (t) => {
  const { cli } = await start(t);
  for (const [words, err] of [
    [['servce', 'ls'], /unknown command 'servce'.*Did you mean service\?/s],
    [['service', 'lss'], /unknown command 'lss'.*Did you mean ls\?/s],
    [
      ['service', 'ls', '--fromat', 'json'],
      /unknown option '--fromat'.*Did you mean --format\?.*See 'vipmesh service ls --help'/s,
    ],
    [['service', 'ls', 'web'], /too many arguments/],
    [['service', 'ps'], /missing required argument 'SERVICE'/],
    [['service', 'ls', '--filter', 'web'], /--filter should be KEY=VALUE/],
    [['service', 'ls', '--format', '{{.Image}}'], /there is no field \{\{\.Image\}\}/],
    [['service'], /Usage: vipmesh service/],
    [['agent', '--workers', 'x'], /^vipmesh: --workers: should be a number from 1 to 256, not "x"\n$/],
    [['agent', '--worker', '2'], /Did you mean --workers\?/],
    [['run', '--service', 'web'], /missing required argument 'COMMAND'/],
    [['service', 'create', 'nginx:1'], /^vipmesh: "nginx:1" looks like an image/],
    [['service', 'create', '--mount', 'x', 'web'], /--mount is about containers, and vipmesh runs none/],
    [['service', 'create', '--publsh', '80', 'web'], /Did you mean --publish\?/],
    [['service', 'create', '--mode', 'globl', 'web'], /Allowed choices are replicated, global/],
    [['service', 'create', '-p', '80:x', 'web'], /^vipmesh: --publish "80:x": "x" is no port/],
    [['service', 'update'], /missing required argument 'SERVICE'/],
    [['network', 'create', '--subnet', '10.0.0.0', 'x'], /^vipmesh: --subnet should be ADDRESS\/LENGTH/],
    [['node', 'update', 'self'], /^vipmesh: what is to change\?/],
    [['node', 'update', '--availability', 'off', 'self'], /Allowed choices are active, pause, drain/],
    [['stack', 'deploy', 'shop'], /^vipmesh: a stack needs its file/],
    [['stack', 'deploy', '-c', 'a', '-c', 'b', 'shop'], /several are not merged/],
    [['events', '--since', 'yesterday'], /^vipmesh: --since should be/],
    [['completion', 'csh'], /Allowed choices are bash, zsh, fish/],
  ] as const) {
    t.match(await cli(...words), { code: 2, out: '', err }, words.join(' '));
  }
  t.match(await cli('service', 'ls', '--filter', 'colour=red'), {
    code: 1,
    err: /invalid filter 'colour'; known ones are/,
  });
});

t.test('the version', async (t) => {
  t.match(await run(['--version']), { code: 0, out: /^\d+\.\d+\.\d+\n$/ });
});

t.test('no agent: how to start one', async (t) => {
  const absent = '/nowhere/vipmesh.sock';
  t.match(await run(['status'], { VIPMESH_HOST: absent }), {
    code: 1,
    out: '',
    err: `vipmesh: no agent at ${absent}; start it with \`vipmesh agent\`, or say where it is with --host or VIPMESH_HOST\n`,
  });
  t.match(await run(['status', '--host', 'tcp://1.2.3.4']), { code: 1, err: /should be unix:\/\/\/path/ });
  const { cli, fake } = await start(t);
  fake.resolution = { Name: 'x', Outcome: 'odd' } as never;
  t.match(
    await cli('resolve', 'x'),
    { code: 1, err: /is not understood .*another version/ },
    'an agent of another version',
  );
});
