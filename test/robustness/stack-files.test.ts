// B4: mutated stack files, applied one over the other: a file is refused as a whole, with errors that name it, and what was in
// effect stays; or it is in effect as a whole, and the same file again changes nothing.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ComposeStack, readComposeFile } from '../../src/compose/compose-file.ts';
import { ControlError } from '../../src/control/errors.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { openWorld } from '../control/world.ts';
import { mutate } from '../support/dns-messages.ts';

const SEED = 20_260_861;
const FILES = 2000;
const STACK = 'demo';

t.test(`${FILES} mutated stack files`, async (t) => {
  t.comment(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const draw = (below: number) => Math.floor(random.unit() * below);
  const directory = join(process.cwd(), 'test', 'corpus', 'compose');
  const corpus = readdirSync(directory)
    .filter((name) => name.endsWith('.yml') && !name.startsWith('broken'))
    .map((name) => readFileSync(join(directory, name)));
  const { control, catalog } = await openWorld(t);
  const outcomes = { unreadable: 0, refused: 0, applied: 0 };
  for (let i = 0; i < FILES; i++) {
    const text = mutate(corpus[draw(corpus.length)] as Buffer, () => random.unit()).toString();
    const before = catalog.snapshot;
    const read = readComposeFile({ file: 'f.yml', text, stack: STACK, environment: {}, defaultDriver: 'overlay' });
    if (!read.ok) {
      outcomes.unreadable++;
      if (!read.errors.every((error) => error.startsWith('f.yml:')))
        t.fail('errors without a place', { errors: read.errors });
      continue;
    }
    const refusal = await apply(read);
    if (refusal === undefined) {
      outcomes.applied++;
      const after = catalog.snapshot;
      const again = await apply(read);
      if (again !== undefined || catalog.snapshot !== after) t.fail('not the same a second time', { text, again });
      const names = [...after.services.values()].map(({ spec }) => spec.name).sort();
      const wanted = read.services.map(({ name }) => name).sort();
      if (names.join() !== wanted.join()) t.fail('not as a whole', { names, wanted });
    } else {
      outcomes.refused++;
      if (catalog.snapshot !== before) t.fail('refused, and something was changed', { text, refusal });
    }
  }
  t.comment(JSON.stringify(outcomes));
  for (const [outcome, count] of Object.entries(outcomes)) t.ok(count > FILES / 100, `${outcome}: ${count}`);

  /** Why it was refused; undefined when it was applied. */
  async function apply(stack: ComposeStack): Promise<string | undefined> {
    try {
      await control.applyStack(STACK, stack, { prune: true });
      return undefined;
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      return error.message;
    }
  }
});
