// The resolver as other people's programs see it: dig and kdig as clients, ldns-testns as an upstream.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { DnsCommand } from '../../src/dns/command.ts';
import { type DnsWorker, startDnsWorker } from '../support/dns-worker.ts';
import { addressReply, startMockUpstream } from '../support/mock-upstream.ts';
import { unusedPort } from '../support/ports.ts';
import { findProgram, needsPrograms } from '../support/requirements.ts';

const ZONE: readonly DnsCommand[] = [
  { kind: 'zone-add', network: 0, name: 'backend', subnets: ['10.64.0.0/24'] },
  {
    kind: 'zone-update',
    update: {
      network: 0,
      names: [
        { name: 'web', addresses: ['10.64.0.2'], exists: true },
        { name: 'many', addresses: Array.from({ length: 100 }, (_, i) => `10.64.0.${i + 3}`), exists: true },
      ],
      pointers: [{ address: '10.64.0.2', name: 'web' }],
    },
  },
];

function ask(program: string, worker: DnsWorker, words: readonly string[]): Promise<string> {
  const options = program === 'dig' ? ['+tries=1', '+time=20', '+nocookie', '+noadflag'] : ['+retry=0', '+time=20'];
  const all = [`@${worker.address}`, '-p', String(worker.port), ...options, ...words];
  return new Promise((resolve, reject) => {
    execFile(findProgram(program) ?? program, all, (error, out) => {
      // 10 and above: no answer at all. What the answer says is judged by the text.
      if (error !== null && out === '') reject(error);
      else resolve(out);
    });
  });
}

/** What dig prints of an answer, in a line: `NOERROR aa rd ra | 1 answers | EDNS 0 1232 do`. */
function gist(text: string): string {
  const status = /status: (\w+)/.exec(text)?.[1] ?? 'nothing';
  const flags = (/flags: qr ?([a-z ]*);/.exec(text)?.[1] ?? '').trim();
  const answers = /ANSWER: (\d+)/.exec(text)?.[1];
  const edns = /EDNS: version: (\d+), flags:([^;]*); (?:MBZ: (\S+), )?udp: (\d+)/.exec(text);
  const reserved = edns?.[3] === undefined ? '' : ` reserved ${edns[3]}`;
  const opt = edns === null ? 'no EDNS' : `EDNS ${edns[1]} ${edns[4]}${edns[2]?.trimEnd()}${reserved}`;
  const options = [...text.matchAll(/^; (COOKIE|NSID|CLIENT-SUBNET|EXPIRE|OPT=\d+)/gm)].map(([, name]) => name);
  return [[status, flags].join(' ').trim(), `${answers} answers`, opt, ...options].join(' | ');
}

// ISC's genreport, test by test, as BIND answers them.
const GENREPORT: readonly (readonly [what: string, words: readonly string[], expected: string])[] = [
  ['dns', ['+noedns', '+norec'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['aa', ['+noedns', '+norec', '+aaflag'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['ad', ['+noedns', '+norec', '+adflag'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['cd', ['+noedns', '+norec', '+cdflag'], 'NOERROR aa ra cd | 1 answers | no EDNS'],
  ['ra', ['+noedns', '+norec', '+raflag'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['rd', ['+noedns', '+rec'], 'NOERROR aa rd ra | 1 answers | no EDNS'],
  ['tc', ['+noedns', '+norec', '+tcflag'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['zflag', ['+noedns', '+norec', '+zflag'], 'NOERROR aa ra | 1 answers | no EDNS'],
  ['opcode', ['+noedns', '+norec', '+opcode=15', '+header-only'], 'NOTIMP ra | 0 answers | no EDNS'],
  [
    'opcodeflg',
    ['+noedns', '+rec', '+opcode=15', '+tcflag', '+cdflag', '+adflag', '+header-only'],
    'NOTIMP rd ra cd | 0 answers | no EDNS',
  ],
  ['type666', ['+noedns', '+norec', 'TYPE666'], 'NOERROR aa ra | 0 answers | no EDNS'],
  ['edns', ['+norec', '+edns=0'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['edns1', ['+norec', '+edns=1', '+noednsneg'], 'BADVERS ra | 0 answers | EDNS 0 1232'],
  ['ednsopt', ['+norec', '+edns=0', '+ednsopt=100'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['edns1opt', ['+norec', '+edns=1', '+noednsneg', '+ednsopt=100'], 'BADVERS ra | 0 answers | EDNS 0 1232'],
  ['do', ['+norec', '+dnssec'], 'NOERROR aa ra | 1 answers | EDNS 0 1232 do'],
  ['docd', ['+norec', '+dnssec', '+cdflag'], 'NOERROR aa ra cd | 1 answers | EDNS 0 1232 do'],
  ['edns1do', ['+norec', '+edns=1', '+noednsneg', '+dnssec'], 'BADVERS ra | 0 answers | EDNS 0 1232 do'],
  ['ednsflags', ['+norec', '+edns=0', '+ednsflags=0x40'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  [
    'optlist',
    ['+norec', '+nsid', '+subnet=0.0.0.0/0', '+expire', '+cookie'],
    'NOERROR aa ra | 1 answers | EDNS 0 1232',
  ],
  ['ednsnsid', ['+norec', '+nsid'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['ednscookie', ['+norec', '+cookie'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['ednsexpire', ['+norec', '+expire'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['ednssubnet', ['+norec', '+subnet=0.0.0.0/0'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['ednspadding', ['+norec', '+padding=128'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  [
    'edns@512',
    ['+norec', '+dnssec', '+bufsize=512', '+ignore', '-q', 'many'],
    'NOERROR aa tc ra | 29 answers | EDNS 0 1232 do',
  ],
  [
    'ednstcp',
    ['+norec', '+dnssec', '+bufsize=512', '+tcp', '-q', 'many'],
    'NOERROR aa ra | 100 answers | EDNS 0 1232 do',
  ],
  ['bind11537', ['+norec', '+ednsopt=8:00010000', '+bufsize=512'], 'NOERROR aa ra | 1 answers | EDNS 0 1232'],
  ['dnstcp', ['+noedns', '+norec', '+tcp'], 'NOERROR aa ra | 1 answers | no EDNS'],
];

t.test('D16: genreport with dig, over UDP and over TCP', async (t) => {
  if (!needsPrograms(t, 'dig')) return;
  const worker = await startDnsWorker();
  await worker.tell(...ZONE);
  for (const [what, words, expected] of GENREPORT) {
    const name = words.includes('-q') ? [] : ['-q', 'web'];
    t.equal(gist(await ask('dig', worker, [...name, ...words])), expected, what);
    if (words.includes('+ignore')) continue;
    t.equal(gist(await ask('dig', worker, [...name, ...words, '+tcp'])), expected, `${what} over TCP`);
  }
});

const RECORDS: readonly (readonly [asked: readonly string[], rcode: string, answer: string, authority: string])[] = [
  [['web', 'A'], 'NOERROR', 'web. 5 IN A 10.64.0.2', ''],
  [['web', 'ANY'], 'NOERROR', 'web. 5 IN A 10.64.0.2', ''],
  ...['AAAA', 'MX', 'TXT', 'SRV', 'CNAME', 'CAA', 'NAPTR', 'HTTPS', 'SVCB', 'DNSKEY', 'TYPE999'].map(
    (type) => [['web.backend', type], 'NOERROR', '', 'backend. 5 IN SOA . . 1 3600 600 86400 5'] as const,
  ),
  [['backend', 'SOA'], 'NOERROR', 'backend. 5 IN SOA . . 1 3600 600 86400 5', ''],
  [['backend', 'NS'], 'NOERROR', 'backend. 5 IN NS backend.', ''],
  [['nobody.backend', 'HTTPS'], 'NXDOMAIN', '', 'backend. 5 IN SOA . . 1 3600 600 86400 5'],
  [['-x', '10.64.0.2'], 'NOERROR', '2.0.64.10.in-addr.arpa. 5 IN PTR web.backend.', ''],
  [['-x', '10.64.0.250'], 'NXDOMAIN', '', '0.64.10.in-addr.arpa. 5 IN SOA . . 1 3600 600 86400 5'],
];

t.test('D1 D2 D4 D6: what dig reads in an answer, by type, and that nothing of it is asked for outside', async (t) => {
  if (!needsPrograms(t, 'dig')) return;
  const upstream = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.1')]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  await worker.tell(...ZONE);
  const records = (text: string, section: string) =>
    (new RegExp(`;; ${section} SECTION:\\n((?:[^;\\n].*\\n)*)`).exec(text)?.[1] ?? '').trim().replace(/[ \t]+/g, ' ');
  for (const [asked, rcode, answer, authority] of RECORDS) {
    const text = await ask('dig', worker, asked);
    const read = [/status: (\w+)/.exec(text)?.[1], records(text, 'ANSWER'), records(text, 'AUTHORITY')];
    t.strictSame(read, [rcode, answer, authority], asked.join(' '));
    t.match(text, /flags: qr aa rd ra;/);
  }
  t.strictSame(upstream.asked, []);
});

t.test('D15 D25: kdig: several questions on one connection, what is no question, a name in odd case', async (t) => {
  if (!needsPrograms(t, 'kdig', 'dig')) return;
  const upstream = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.1')]);
  const worker = await startDnsWorker({ upstreams: [upstream] });
  await worker.tell(...ZONE);
  const text = await ask('kdig', worker, [
    '+tcp',
    '+keepopen',
    '+short',
    'wEb',
    'A',
    'web.backend',
    'A',
    'www.example.com',
    'A',
  ]);
  t.equal(text, '10.64.0.2\n10.64.0.2\n192.0.2.1\n');
  t.match(await ask('dig', worker, ['wEb.BackEnd']), /^wEb\.BackEnd\.\s+\d\s+IN\s+A\s+10\.64\.0\.2$/m);
  t.match(gist(await ask('dig', worker, ['+header-only'])), /^FORMERR/);
  t.match(gist(await ask('dig', worker, ['-c', 'CH', '-t', 'TXT', 'version.bind'])), /^REFUSED/);
  for (const opcode of ['NOTIFY', 'UPDATE', 'STATUS']) {
    t.match(gist(await ask('dig', worker, [`+opcode=${opcode}`, 'web'])), /^NOTIMP/, opcode);
  }
});

/** Entries of ldns-testns: it spells the question as its file does, whatever it was asked. */
const CANNED = `
ENTRY_BEGIN
MATCH opcode qtype qname
REPLY QR RA NOERROR
ADJUST copy_id
SECTION QUESTION
www.example.com. IN A
SECTION ANSWER
www.example.com. 60 IN CNAME web.example.net.
web.example.net. 30 IN A 192.0.2.1
planted.example.org. 3600 IN A 192.0.2.66
ENTRY_END
ENTRY_BEGIN
MATCH opcode qtype qname
REPLY QR RA NXDOMAIN
ADJUST copy_id
SECTION QUESTION
no.example.com. IN A
SECTION AUTHORITY
example.com. 900 IN SOA ns.example.com. h.example.com. 1 3600 600 86400 300
ENTRY_END
ENTRY_BEGIN
MATCH UDP opcode qtype qname
REPLY QR RA TC NOERROR
ADJUST copy_id
SECTION QUESTION
long.example.com. IN TXT
ENTRY_END
ENTRY_BEGIN
MATCH TCP opcode qtype qname
REPLY QR RA NOERROR
ADJUST copy_id
SECTION QUESTION
long.example.com. IN TXT
SECTION ANSWER
long.example.com. 60 IN TXT "over TCP"
ENTRY_END
ENTRY_BEGIN
MATCH opcode qtype qname
REPLY QR RA SERVFAIL
ADJUST copy_id
SECTION QUESTION
broken.example.com. IN A
ENTRY_END
ENTRY_BEGIN
MATCH opcode qtype qname
REPLY QR NOERROR
ADJUST copy_id
SECTION QUESTION
lame.example.com. IN A
SECTION AUTHORITY
example.com. 900 IN NS ns.example.net.
ENTRY_END
`;

async function startCannedUpstream(): Promise<{ readonly address: string; readonly port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-testns-'));
  const file = join(folder, 'answers');
  writeFileSync(file, CANNED.trimStart());
  const port = unusedPort();
  const child = spawn(findProgram('ldns-testns') ?? 'ldns-testns', ['-p', String(port), file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(async () => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  let said = '';
  await new Promise<void>((resolve) => {
    const listen = (chunk: Buffer) => {
      said += String(chunk);
      if (said.includes('Listening on port')) resolve();
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
  });
  return { address: '127.0.0.1', port };
}

t.test('D11 D12 D15 S2: ldns-testns as the upstream, which answers in its own spelling', async (t) => {
  if (!needsPrograms(t, 'ldns-testns', 'dig')) return;
  const canned = await startCannedUpstream();
  const second = await startMockUpstream((asked) => [addressReply(asked, '192.0.2.2')]);
  const worker = await startDnsWorker({ upstreams: [canned, second] });
  for (const where of ['asked', 'kept']) {
    const text = await ask('dig', worker, ['+noall', '+answer', '+nottlid', 'www.example.com']);
    t.equal(
      text.replaceAll(/\s+/g, ' ').trim(),
      'www.example.com. IN CNAME web.example.net. web.example.net. IN A 192.0.2.1',
      `${where}; what was planted is left out`,
    );
  }
  t.match(gist(await ask('dig', worker, ['no.example.com'])), /^NXDOMAIN rd ra/);
  t.equal(second.asked.length, 0, 'NXDOMAIN is an answer');
  t.equal(await ask('dig', worker, ['+short', 'long.example.com', 'TXT']), '"over TCP"\n');
  for (const name of ['broken', 'lame']) {
    t.equal(await ask('dig', worker, ['+short', `${name}.example.com`]), '192.0.2.2\n', name);
  }
});
