// What `vipmesh doctor` says of upstreams, and of the resolv.conf of containers.
import t from 'tap';
import { checkContainerResolvers, checkRoutes, checkUpstreams } from '../../../src/cli/doctor/resolvers.ts';
import { lines } from './lines.ts';

t.test('resolv.conf', async (t) => {
  const facts = {
    own: ['127.0.0.11:53'],
    upstreams: [{ address: '192.0.2.53:53', error: undefined as string | undefined }],
    resolved: [] as string[],
    resolvConf: 'nameserver 192.0.2.53\n' as string | undefined,
  };
  const say = (more: Partial<typeof facts>) => lines(checkUpstreams({ ...facts, ...more }));
  const dead = { address: '192.0.2.54:53', error: 'ETIMEOUT' };
  t.same(say({}), ['ok: upstreams that answer: 192.0.2.53:53']);
  t.match(say({ upstreams: [dead] }), [/^bad: no upstream answers.*192.0.2.54:53 \(ETIMEOUT\)/]);
  t.match(say({ upstreams: [dead, ...facts.upstreams] }), [
    /^ok: .* 192.0.2.53:53$/,
    /^warn: upstreams that do not answer: 192.0.2.54:53/,
  ]);
  t.match(say({ upstreams: [] }), [/^warn: \/etc\/resolv.conf names no server but the agent: names from outside/]);
  t.match(say({ upstreams: [], resolvConf: undefined }), [/^warn: \/etc\/resolv.conf cannot be read/]);
  t.match(say({ upstreams: [{ address: '127.0.0.11:53', error: undefined }] }), [
    /^bad: the agent forwards to 127.0.0.11:53, which is itself/,
  ]);
  const resolved = [{ address: '127.0.0.53:53', error: undefined }];
  t.match(say({ upstreams: resolved, resolved: ['127.0.0.11'] }), [/^bad: .*systemd-resolved.*asks the agent again/]);
  t.match(say({ upstreams: resolved, resolved: ['192.0.2.53'] }), [/^ok/]);

  const right = { task: 'web.1', resolvConf: '# mine\nsearch x\nnameserver 127.0.0.11\nnameserver 192.0.2.53\n' };
  const wrong = { task: 'app.1', resolvConf: 'nameserver 192.0.2.53\nnameserver 127.0.0.11\n' };
  t.same(lines(checkContainerResolvers([right, right])), ['ok: 2 containers ask 127.0.0.11 first']);
  t.same(lines(checkContainerResolvers([right, wrong, { task: 'gone', resolvConf: undefined }])), [
    'bad: app.1 does not ask 127.0.0.11 first, and so does not find names of the mesh | start it with 127.0.0.11 as its DNS server: docker run --dns 127.0.0.11',
    'ok: 1 container asks 127.0.0.11 first',
  ]);
  t.match(lines(checkContainerResolvers(undefined)), [/^warn: .* \| run this with sudo/]);
});

t.test('servers of a --dns-route', (t) => {
  const [good, dead] = [
    { address: '10.0.0.53:53', error: undefined },
    { address: '10.0.0.54:53', error: 'ETIMEOUT' },
  ];
  const say = (...upstreams: (typeof good | typeof dead)[]) =>
    lines(checkRoutes([{ suffix: 'corp.example', upstreams }], ['127.0.0.11:53']));
  t.same(say(good), ['ok: servers of corp.example that answer: 10.0.0.53:53']);
  t.same(say(good, dead), [
    'warn: servers of corp.example that do not answer: 10.0.0.54:53 (ETIMEOUT) | look at the way there, or put another one into --dns-route corp.example=',
  ]);
  t.match(say(dead), [/^bad: no server of corp.example answers, so names below it fail: 10.0.0.54:53 \(ETIMEOUT\)/]);
  t.match(say({ address: '127.0.0.11:53', error: undefined }), [
    /^bad: names below corp.example are asked of the agent/,
  ]);
  t.same(lines(checkRoutes([], [])), []);
  t.end();
});
