// Servers outside, asked one after another to tell which said what.
import t from 'tap';
import { tryOutside } from '../../src/agent/outside-trial.ts';
import type { HostPort } from '../../src/config-dns.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { addressReply, reply, startMockUpstream } from '../support/mock-upstream.ts';
import { unusedPort } from '../support/ports.ts';

const SERVFAIL = 2;

t.test('each server that was asked is a step, the first that knows is the last', async (t) => {
  const silent = await startMockUpstream();
  const failing = await startMockUpstream((asked) => [reply(asked, { rcode: SERVFAIL })]);
  const knowing = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.80')]);
  const nobody = { address: '127.0.0.1', port: unusedPort() };
  const route = await startMockUpstream((asked) => [reply(asked, {})]);
  const places = (...servers: readonly { readonly address: string; readonly port: number }[]) =>
    servers.map(({ address, port }) => ({ address, port }) as HostPort);
  const config = {
    upstreams: places(nobody, silent, failing, knowing, route),
    dnsRoutes: [
      { suffix: 'corp.example', upstreams: places(route) },
      { suffix: 'none.example', upstreams: [] },
    ],
  };
  const ask = async (name: string) => {
    const steps = await tryOutside(config, name, { clock: systemClock, random: seededRandom(7) });
    for (const { Milliseconds } of steps.slice(0, -1)) t.type(Milliseconds, 'number');
    return steps.map(({ Where, Found }) => `${Where} ${Found}`);
  };
  const answers = await ask('www.example.com.');
  t.equal(answers.length, 4, 'who comes after the answer is not asked');
  t.match(answers[0], new RegExp(`^server 127\\.0\\.0\\.1:${nobody.port} .*ECONNREFUSED`));
  t.same(answers.slice(1), [
    `server 127.0.0.1:${silent.port} silent for 1000 ms`,
    `server 127.0.0.1:${failing.port} SERVFAIL, 0 records`,
    `server 127.0.0.1:${knowing.port} NOERROR, 1 record`,
  ]);
  t.same(await ask('a.corp.example'), [`server 127.0.0.1:${route.port} NOERROR, 0 records`]);
  t.same(await ask('a.none.example'), ['outside no server is known: SERVFAIL']);
  t.same(await ask('a..b'), ['outside no name that the DNS could carry']);
  await ask('192.0.2.1');
  t.equal(knowing.asked.at(-1)?.name, '1.2.0.192.in-addr.arpa', 'an address is asked for by its reverse name');
});
