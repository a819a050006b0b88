// The resolver's outward side through a whole agent: servers per domain, what is kept and forgotten, what status and metrics say.
import t from 'tap';
import type { AgentStatus, DnsCacheListing } from '../../src/api/status-schema.ts';
import { type Agent, failingAgent, makeFolder, startAgent } from '../support/agent.ts';
import { addressReply, startMockUpstream } from '../support/mock-upstream.ts';

async function addresses(agent: Agent, name: string): Promise<readonly string[]> {
  const { answers = [] } = await agent.dig(name);
  return answers.flatMap((record) => ('data' in record ? [String(record.data)] : []));
}

async function metric(agent: Agent, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${agent.folder.adminPort}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return line === undefined ? Number.NaN : Number(line.slice(name.length + 1));
}

t.test('servers per domain; what is kept can be seen and forgotten', async (t) => {
  const usual = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.1')]);
  const corp = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.2')]);
  const [usualAt, corpAt] = [usual, corp].map(({ address, port }) => `${address}:${port}`);
  const args = ['--upstream', `${usualAt}`, '--dns-route', `corp.example=${corpAt},${usualAt}`, '--dns-cache', '1M'];
  const agent = await startAgent({ args: [...args, '--workers', '2'] });
  t.strictSame(await addresses(agent, 'www.example.com'), ['192.0.2.1']);
  t.strictSame(await addresses(agent, 'www.corp.example'), ['192.0.2.2']);
  const { DNS } = await agent.json<AgentStatus>('status');
  t.match(DNS, {
    Upstreams: [usualAt],
    Routes: [{ Suffix: 'corp.example', Upstreams: [corpAt, usualAt] }],
    Servers: [
      { Address: usualAt, State: 'answers', Questions: 1, Answers: 1 },
      { Address: corpAt, State: 'answers', Questions: 1, Answers: 1 },
    ],
    Cache: { Entries: 2, Limit: 2 * 2 ** 20 },
  });
  const plain = await agent.cli('status');
  t.match(plain.stdout, new RegExp(`\\.corp\\.example:? +${corpAt}, ${usualAt}`));
  t.match(plain.stdout, /DNS cache:? +2 answers, 1 KiB of 2048/);
  t.equal(await metric(agent, `vipmesh_dns_upstream_answers_total{upstream="${corpAt}"}`), 1);
  t.equal(await metric(agent, 'vipmesh_dns_cache_entries'), 2);
  const listed = await agent.cli(
    'dns',
    'cache',
    'ls',
    '--below',
    'Corp.Example',
    '--format',
    '{{.Name}} {{.Type}} {{.State}}',
  );
  t.equal(listed.stdout, 'www.corp.example A fresh\n');
  t.equal((await agent.cli('dns', 'cache', 'flush', 'corp.example')).stdout, '1 answer forgotten\n');
  // One object a line.
  t.match(await agent.json<DnsCacheListing['Entries'][number]>('dns', 'cache', 'ls'), { Name: 'www.example.com' });
  await addresses(agent, 'www.corp.example');
  t.equal(corp.asked.length, 2);
  t.equal((await agent.cli('dns', 'cache', 'flush')).stdout, '2 answers forgotten\n');
  t.equal(await metric(agent, 'vipmesh_dns_cache_bytes'), 0);
});

t.test('a resolver that would ask itself is told so at the start', async (t) => {
  const folder = await makeFolder();
  const { code, stderr } = await failingAgent({ folder, args: ['--upstream', `127.0.0.11:${folder.dnsPort}`] });
  t.equal(code, 2);
  t.match(stderr, /--upstream: 127\.0\.0\.11:\d+ is this resolver itself/);
});
