// The line that a question to the resolver gets in the log, and how answers are counted by who asked.
import t from 'tap';
import { type Agent, type LogLine, startAgent } from '../support/agent.ts';
import { question } from '../support/dns-messages.ts';
import { askTcp, askUdp } from '../support/dns-worker.ts';
import { addressReply, startMockUpstream } from '../support/mock-upstream.ts';

const STACK = `networks:
  default: { driver: local, ipam: { config: [{ subnet: 127.121.0.0/16 }] } }
services:
  web: { expose: [80] }
`;

function resolverOf({ folder }: Agent): { address: string; port: number } {
  return { address: '127.0.0.11', port: folder.dnsPort };
}

/** Without what every line has. */
function plain({ level: _, time: __, message: ___, ...fields }: LogLine): Record<string, unknown> {
  return fields;
}

t.test('every question, when all are asked for', async (t) => {
  const outside = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.7')]);
  const agent = await startAgent({
    args: ['--workers', '1', '--query-log', '1', '--upstream', `127.0.0.1:${outside.port}`],
    stacks: { shop: STACK },
  });
  const resolver = resolverOf(agent);
  const lineOf = async (name: string, source: string) =>
    plain(await agent.logged((line) => line.message === 'dns' && line.name === name && line.source === source));

  await askUdp(resolver, question('WeB', 'A'));
  const asked = { client: 'node', type: 'A', protocol: 'udp', rcode: 'NOERROR', answers: 1 };
  t.strictSame(await lineOf('WeB', 'local'), { ...asked, name: 'WeB', source: 'local' });

  await askTcp(resolver, [question('nobody.shop_default', 'TXT')]);
  t.strictSame(await lineOf('nobody.shop_default', 'local'), {
    client: 'node',
    name: 'nobody.shop_default',
    type: 'TXT',
    protocol: 'tcp',
    source: 'local',
    rcode: 'NXDOMAIN',
    answers: 0,
  });

  for (let i = 0; i < 2; i++) await askUdp(resolver, question('www.example.com', 'A'));
  const { waitedMs, ...forwarded } = await lineOf('www.example.com', 'forwarded');
  t.ok(Number(waitedMs) > 0);
  t.strictSame(forwarded, { ...asked, name: 'www.example.com', source: 'forwarded' });
  t.strictSame(await lineOf('www.example.com', 'cached'), { ...asked, name: 'www.example.com', source: 'cached' });

  const twoQuestions = Buffer.from(question('web', 'A'));
  twoQuestions.writeUInt16BE(2, 4);
  await askUdp(resolver, twoQuestions);
  const rejected = await agent.logged((line) => line.message === 'dns' && line.source === 'rejected');
  t.match(rejected, { client: 'node', rcode: 'FORMERR', answers: 0 });
  t.notOk('name' in rejected, 'it had no question');

  // EDNS version 1, in an OPT record without options.
  const newer = Buffer.concat([question('web', 'A'), Buffer.from([0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0])]);
  newer.writeUInt16BE(1, 10);
  await askUdp(resolver, newer);
  await agent.logged((line) => line.message === 'dns' && line.rcode === 'BADVERS');

  const response = await fetch(`http://127.0.0.1:${agent.folder.adminPort}/metrics`);
  const metrics = (await response.text()).split('\n').filter((line) => line.startsWith('vipmesh_dns_scope_answers'));
  t.match(
    metrics.sort().join('\n'),
    [
      'vipmesh_dns_scope_answers_total{scope="node",source="cached",rcode="noerror"} 1',
      'vipmesh_dns_scope_answers_total{scope="node",source="forwarded",rcode="noerror"} 1',
      'vipmesh_dns_scope_answers_total{scope="node",source="local",rcode="noerror"} 1',
      'vipmesh_dns_scope_answers_total{scope="node",source="local",rcode="nxdomain"} 1',
      'vipmesh_dns_scope_answers_total{scope="node",source="rejected",rcode="badvers"} 1',
      'vipmesh_dns_scope_answers_total{scope="node",source="rejected",rcode="formerr"} 1',
    ].join('\n'),
  );

  await askUdp(resolver, question('last.shop_default', 'A'));
  t.equal(await agent.stop(), 0);
  t.ok(
    agent.log.some((line) => line.name === 'last.shop_default'),
    'what was asked before the end is logged',
  );
});

t.test('off, and a share of all', async (t) => {
  for (const share of ['off', '0.5']) {
    const agent = await startAgent({ args: ['--workers', '1', '--query-log', share], stacks: { shop: STACK } });
    for (let i = 0; i < 60; i++) await askUdp(resolverOf(agent), question('web', 'A'));
    t.equal(await agent.stop(), 0);
    const lines = agent.log.filter((line) => line.message === 'dns').length;
    if (share === 'off') t.equal(lines, 0);
    else t.ok(lines > 0 && lines < 60, `${lines} of 60`);
  }
});
