// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are Compose's variables, not JavaScript's.
// Whatever the bytes: a result or a list of placed errors, never an exception, and soon.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { type ComposeResult, readComposeFile } from '../../src/compose/compose-file.ts';
import { MAX_ERRORS } from '../../src/compose/diagnostics.ts';
import { MAX_FILE_BYTES } from '../../src/compose/document.ts';
import { nameProblem } from '../../src/model/name.ts';
import { isPortNumber } from '../../src/model/port.ts';
import { seededRandom } from '../../src/runtime/random.ts';

const SEED = 20_260_871;
const directory = join(process.cwd(), 'test', 'corpus', 'compose');
const corpus = readdirSync(directory)
  .filter((name) => name.endsWith('.yml'))
  .map((name) => readFileSync(join(directory, name), 'utf8'));

function read(text: string): ComposeResult {
  return readComposeFile({ file: 'f.yml', text, stack: 'demo', environment: { A: '1' }, defaultDriver: 'overlay' });
}

/** Why a result is not what the function promises. */
function broken(result: ComposeResult): string | undefined {
  if (!result.ok) {
    if (result.errors.length === 0 || result.errors.length > MAX_ERRORS) return `${result.errors.length} errors`;
    const lines = result.errors.map((error) => /^f\.yml:(\d+):(\d+): [^\n]+$/.exec(error));
    if (lines.includes(null)) return `not placed: ${result.errors.join(' | ')}`;
    const numbers = lines.map((match) => Number(match?.[1]));
    return numbers.some((line, i) => line < (numbers[i - 1] ?? 1)) ? 'not in order' : undefined;
  }
  const networks = new Set([
    ...result.networks.map((one) => one.name),
    ...result.externalNetworks.map((one) => one.name),
  ]);
  for (const service of result.services) {
    if (nameProblem(service.name) !== undefined) return `service name ${service.name}`;
    if (service.networks.length === 0) return 'a service without network';
    if (!service.networks.every((one) => networks.has(one.network))) return 'a network from nowhere';
    if (!service.publish.every((one) => isPortNumber(one.targetPort) && isPortNumber(one.publishedPort ?? 1)))
      return 'a port';
  }
  return [...result.warnings, ...result.unused].every((line) => /^f\.yml:\d+:\d+: [^\n]+$/.test(line))
    ? undefined
    : 'a remark';
}

t.test('property: mutated files', async (t) => {
  const fragments = [
    '&a',
    '*a',
    '<<: *a',
    '!!map',
    '? ',
    '- ',
    ': ',
    '\n',
    '\t',
    '"',
    "'",
    '{',
    '}',
    '[',
    ']',
    '|',
    '>',
    '#',
    '---\n',
    '...',
    '${',
    '$',
    '}',
    '\u0000',
    '\ufeff',
    '\ud800',
    'null',
    '~',
    '99999999999',
    '__proto__: 1\n',
    '%YAML 9.9\n',
  ];
  const edit = fc.record({
    at: fc.nat(4000),
    drop: fc.nat(12),
    insert: fc.oneof(fc.constantFrom(...fragments), fc.string({ maxLength: 6 })),
  });
  fc.assert(
    fc.property(fc.constantFrom(...corpus), fc.array(edit, { minLength: 1, maxLength: 6 }), (text, edits) => {
      const mutated = edits.reduce((now, { at, drop, insert }) => {
        const start = at % (now.length + 1);
        return now.slice(0, start) + insert + now.slice(start + drop);
      }, text);
      const problem = broken(read(mutated));
      if (problem !== undefined) throw new Error(problem);
    }),
    { numRuns: 400 },
  );
  t.pass('all held');
});

t.test('property: a subtree in a place where another was', async (t) => {
  const word = fc.constantFrom(
    'services',
    'networks',
    'web',
    'ports',
    'target',
    'published',
    'deploy',
    'labels',
    'x-vipmesh',
    'health',
    'http',
    'tcp',
    'endpoints',
    'healthcheck',
    'test',
    'ipam',
    'config',
    'subnet',
    'external',
    'aliases',
    'links',
    'expose',
    'default',
    'driver',
    '__proto__',
    'constructor',
    'toString',
  );
  const leaf = fc.oneof(
    word,
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.string(),
    fc.constantFrom('80:80', '[::1]:80', '10s', '10.0.0.0/24', '${A}', '$'),
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 6, withCrossShrink: true },
      leaf,
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(word, tie('tree'), { maxKeys: 5, noNullPrototype: true }),
    ),
  }));
  const file = fc.record({ services: fc.dictionary(word, tree), networks: fc.oneof(tree, fc.dictionary(word, tree)) });
  fc.assert(
    fc.property(fc.oneof(file, tree), (value) => {
      // JSON is YAML, so the one writes for the other.
      const problem = broken(read(JSON.stringify(value) ?? ''));
      if (problem !== undefined) throw new Error(problem);
    }),
    { numRuns: 400 },
  );
  t.pass('all held');
});

t.test('property: any text', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom(...'a:- \n\t[]{}&*!|>"\'#%@`?,$'), maxLength: 60 }),
      ),
      (text) => {
        const problem = broken(read(text));
        if (problem !== undefined) throw new Error(problem);
      },
    ),
    { numRuns: 400 },
  );
  t.pass('all held');
});

t.test('what is large or deep on purpose', async (t) => {
  const chain = Array.from(
    { length: 5000 },
    (_, i) => `x-${i}: &a${i} {${i === 0 ? 'k: 1' : `<<: *a${i - 1}, k${i}: 1`}}`,
  ).join('\n');
  const names = Array.from({ length: 20_000 }, (_, i) => `  s${i}: {ports: [80]}`).join('\n');
  const cases: readonly (readonly [string, string, RegExp | undefined])[] = [
    ['a file over the limit', `#${'x'.repeat(MAX_FILE_BYTES)}`, /1048577 bytes; a stack file may have 1048576/],
    ['lists in lists', '['.repeat(100_000), /f\.yml:1:/],
    ['maps in maps', '{a: '.repeat(50_000), /f\.yml:1:/],
    ['dashes', '- '.repeat(50_000), /f\.yml:1:/],
    ['101 levels', `services: ${'['.repeat(101)}${']'.repeat(101)}`, /nested more than 100 deep/],
    ['merges of merges', chain, /nested more than 100 deep/],
    ['an unknown alias', 'services: *nothing', /nothing/],
    ['wide ranges', `services: {a: {ports: [1-65535]}}`, /may hold 4096 ports together/],
    [
      'wide ranges, many times',
      `services:\n${Array.from({ length: 2000 }, (_, i) => `  s${i}: {expose: [1-4096]}`).join('\n')}`,
      /expose/,
    ],
    ['many services', `services:\n${names}`, undefined],
    ['a long name', `services: {${'n'.repeat(100_000)}: {}}`, /a DNS label holds 63/],
    [
      'many errors',
      `services:\n${Array.from({ length: 5000 }, (_, i) => `  s${i}: {bad: 1}`).join('\n')}`,
      /f\.yml:21:\d+: .*"bad"/,
    ],
  ];
  for (const [name, text, expected] of cases) {
    const result = read(text);
    t.equal(broken(result), undefined, `${name}: as promised`);
    t.equal(result.ok, expected === undefined, name);
    if (!result.ok && expected !== undefined) t.match(result.errors.join('\n'), expected, name);
  }
});

t.test('what is no YAML at all is one error', async (t) => {
  const { unit } = seededRandom(SEED);
  const bytes = Buffer.from(Array.from({ length: 4096 }, () => Math.floor(unit() * 256)));
  for (const text of [bytes.toString(), bytes.toString('latin1'), 'a: [\n'.repeat(100)]) {
    const result = read(text);
    t.match(result, { ok: false, errors: [/^f\.yml:\d+:\d+: /] });
    t.equal(result.ok || result.errors.length, 1);
  }
  const twice = read('services:\n  a: {ports: [}\n  b: {ports: [}\n');
  t.match(twice, { errors: [/^f\.yml:2:\d+: .*; 1 more line is wrong, perhaps because of it$/] });
});
