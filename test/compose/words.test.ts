// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are Compose's variables, not JavaScript's.
import fc from 'fast-check';
import t from 'tap';
import { MAX_DURATION_MS, parseDuration } from '../../src/compose/duration.ts';
import { interpolate } from '../../src/compose/interpolate.ts';
import { nearest, suggestion } from '../../src/compose/near-miss.ts';

t.test('durations', async (t) => {
  const cases: Readonly<Record<string, number | undefined>> = {
    '0': 0,
    '0s': 0,
    '500ms': 500,
    '1s': 1000,
    '1.5s': 1500,
    '.5s': 500,
    '1.s': 1000,
    '1m30s': 90_000,
    '1h1m1s1ms': 3_661_001,
    '30s1m': 90_000,
    '1us': 1,
    '2000µs': 2,
    '2000μs': 2,
    '1ns': 1,
    '0.1s': 100,
    '0.3s': 300,
    '2147483647ms': MAX_DURATION_MS,
    '2147483648ms': undefined,
    '600h': undefined,
    '10': undefined,
    '': undefined,
    s: undefined,
    '.s': undefined,
    '-1s': undefined,
    '+1s': undefined,
    '1d': undefined,
    '1 s': undefined,
    '1S': undefined,
    '1e3s': undefined,
    '1..5s': undefined,
  };
  for (const [text, expected] of Object.entries(cases)) t.equal(parseDuration(text), expected, JSON.stringify(text));
  t.equal(parseDuration('1s'.repeat(40)), undefined, 'no essay');
});

t.test('variables', async (t) => {
  const environment = { SET: 'value', EMPTY: '', 'not-a-name': 'x', A1_b: 'y', PORT: '80', DOLLAR: '$SET' };
  const cases: readonly (readonly [string, string | RegExp, ...string[]])[] = [
    ['plain', 'plain'],
    ['', ''],
    ['$SET', 'value'],
    ['a$SET-b', 'avalue-b'],
    ['${SET}', 'value'],
    ['${SET}s', 'values'],
    ['$A1_b.c', 'y.c'],
    ['$$SET', '$SET'],
    ['$$$SET', '$value'],
    ['$$', '$'],
    ['$DOLLAR', '$SET'],
    ['$UNSET', '', 'UNSET'],
    ['${UNSET}', '', 'UNSET'],
    ['$UNSET$OTHER$UNSET', '', 'UNSET', 'OTHER'],
    ['$EMPTY', ''],
    ['${UNSET:-x}', 'x'],
    ['${EMPTY:-x}', 'x'],
    ['${SET:-x}', 'value'],
    ['${UNSET-x}', 'x'],
    ['${EMPTY-x}', ''],
    ['${UNSET:-}', ''],
    ['${UNSET:-a b:c}', 'a b:c'],
    ['${UNSET:-$$5}', '$5'],
    ['${UNSET:-${OTHER:-deep}}', 'deep'],
    ['${UNSET:-${SET}}', 'value'],
    ['${UNSET:-$SET}', 'value'],
    ['${UNSET:-a${SET}b}c', 'avaluebc'],
    ['${SET:-$NEVER}', 'value'],
    ['${SET:-${NEVER:?no}}', 'value'],
    ['${UNSET:-$OTHER}', '', 'OTHER'],
    ['${SET:+yes}', 'yes'],
    ['${EMPTY:+yes}', ''],
    ['${EMPTY+yes}', 'yes'],
    ['${UNSET+yes}', ''],
    ['${UNSET:+$OTHER}', ''],
    ['${SET:+${PORT}}', '80'],
    ['${SET:?msg}', 'value'],
    ['${EMPTY?msg}', ''],
    ['${EMPTY:?must be $SET}', /variable EMPTY is required: must be value/],
    ['${UNSET?}', /variable UNSET is required and not set/],
    ['${constructor:-own}', 'own'],
    ['${__proto__:-own}', 'own'],
    ['$', /not followed by a name/],
    ['$5', /not followed by a name/],
    ['a$(date)', /write "\$\$"/],
    ['${}', /not followed by a name/],
    ['${1}', /not followed by a name/],
    ['${SET', /never closed/],
    ['${UNSET:-x', /never closed/],
    ['${SET!x}', /neither "}" nor/],
    ['${SET:x}', /neither "}" nor/],
    ['${A:-'.repeat(40) + '}'.repeat(40), /more than 32 deep/],
  ];
  for (const [text, expected, ...unset] of cases) {
    const result = interpolate(text, environment);
    if (typeof expected === 'string') t.strictSame(result, { ok: true, text: expected, unset }, JSON.stringify(text));
    else t.match(result, { ok: false, problem: expected }, JSON.stringify(text));
  }
  t.match(interpolate('$BIG'.repeat(100), { BIG: 'x'.repeat(100_000) }), { ok: false, problem: /grows beyond/ });
});

t.test('property: variables', async () => {
  const text = fc.string({
    unit: fc.constantFrom('$', '{', '}', ':', '-', '?', '+', 'A', 'B', '_', '1', ' ', 'é'),
    maxLength: 40,
  });
  fc.assert(
    fc.property(text, fc.dictionary(fc.constantFrom('A', 'B', 'AB'), fc.string()), (text, environment) => {
      const result = interpolate(text, environment);
      return result.ok ? typeof result.text === 'string' : result.problem.length > 0;
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const result = interpolate(text.replaceAll('$', '$$$$'), {});
      return result.ok && result.text === text;
    }),
  );
});

t.test('near misses', async (t) => {
  const keys = ['services', 'networks', 'ports', 'expose', 'endpoint_mode', 'start_period', 'test', 'vip', 'name'];
  const cases: Readonly<Record<string, string | undefined>> = {
    servces: 'services',
    service: 'services',
    serivces: 'services',
    Services: 'services',
    prots: 'ports',
    endpointMode: 'endpoint_mode',
    'start-period': 'start_period',
    startperoid: 'start_period',
    tst: 'test',
    vpi: 'vip',
    nmae: 'name',
    image: undefined,
    completely: undefined,
    '': undefined,
    ['x'.repeat(5000)]: undefined,
  };
  for (const [word, expected] of Object.entries(cases)) t.equal(nearest(word, keys), expected, word.slice(0, 20));
  t.equal(suggestion('servces', keys), ' (did you mean "services"?)');
  t.equal(suggestion('nothing', keys), '');
});
