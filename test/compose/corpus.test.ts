// Each file of test/corpus/compose has beside it, as JSON, what is given (`input`) and what comes out (`result`).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ComposeInput, readComposeFile } from '../../src/compose/compose-file.ts';

// Tests run in the project's directory; the corpus is not compiled.
const directory = join(process.cwd(), 'test', 'corpus', 'compose');

interface Expectation {
  readonly input: Pick<ComposeInput, 'stack' | 'environment' | 'defaultDriver'>;
  readonly result: unknown;
}

const files = readdirSync(directory).filter((name) => name.endsWith('.yml'));
t.ok(files.length >= 15, 'the corpus is there');

for (const file of files) {
  t.test(file, async (t) => {
    const text = readFileSync(join(directory, file), 'utf8');
    const expected = JSON.parse(readFileSync(join(directory, file.replace(/yml$/, 'json')), 'utf8')) as Expectation;
    const result = readComposeFile({ ...expected.input, file, text });
    t.strictSame(JSON.parse(JSON.stringify(result)), expected.result);
    t.equal(result.ok, !file.startsWith('broken-'), 'the name says whether the file is good');
  });
}
