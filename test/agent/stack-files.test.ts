import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { StackFiles } from '../../src/agent/stack-files.ts';
import type { ComposeStack } from '../../src/compose/compose-file.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';

const GOOD = 'services: { web: {} }\n';
const BETTER = 'services: { web: {}, db: {} }\n';

/** A watcher whose applications can be awaited one by one. */
async function harness(
  text: string,
  apply: (stack: ComposeStack) => Promise<void> = async () => {},
  exists: () => boolean = () => false,
) {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  const file = join(folder, 'shop.yaml');
  writeFileSync(file, text);
  const seen: string[] = [];
  const kept: unknown[] = [];
  const waiting: (() => void)[] = [];
  const tell = (what: string) => {
    seen.push(what);
    for (const next of waiting.splice(0)) next();
  };
  const files = new StackFiles({
    files: [{ name: 'shop', file }],
    defaultDriver: 'local',
    environment: {},
    log: {
      ...SILENT_LOG,
      error: (_message, fields) => {
        kept.push(fields?.kept);
        tell(`error ${String(fields?.error)}`);
      },
    },
    exists,
    now: () => 1,
    retryMs: 10,
    apply: async (_name, stack) => {
      await apply(stack);
      tell(`applied ${stack.services.map((service) => service.name).join(' ')}`);
    },
  });
  t.teardown(() => {
    files.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await files.start();
  const next = () => new Promise<void>((resolve) => waiting.push(resolve));
  return { file, files, seen, kept, next };
}

t.test('a changed file is applied again, a touched one is not', async (t) => {
  const { file, seen, next } = await harness(GOOD);
  t.same(seen, ['applied shop_web']);
  writeFileSync(file, GOOD);
  const changed = next();
  writeFileSync(`${file}.new`, BETTER);
  renameSync(`${file}.new`, file);
  await changed;
  t.same(seen, ['applied shop_web', 'applied shop_web shop_db']);
});

t.test('a broken file is reported with its place, and what was good stays', async (t) => {
  const { file, files, seen, next } = await harness(GOOD);
  const broken = next();
  writeFileSync(file, 'services:\n  web: { prots: [80] }\n');
  await broken;
  t.match(seen[1], /shop\.yaml:2:\d+: .*prots.*did you mean "?ports/);
  t.match(files.status(), [{ appliedAt: 1, errors: [/prots/] }]);
  const mended = next();
  writeFileSync(file, BETTER);
  await mended;
  t.match(files.status(), [{ errors: [] }]);
});

t.test('what stays of a broken file is said: nothing, or what is there from an earlier run of the agent', async (t) => {
  const broken = 'services:\n  web: { prots: [80] }\n';
  t.same((await harness(broken)).kept, ['nothing of it is in effect']);
  t.same((await harness(broken, undefined, () => true)).kept, ['the last good state stays']);
});

t.test('what could not be applied is tried again, and complained of once', async (t) => {
  let attempts = 0;
  const { seen, next } = await harness(GOOD, async () => {
    attempts++;
    if (attempts < 3) throw new Error('port 80 is taken');
  });
  await next();
  t.match(seen, [/error .*port 80 is taken/, 'applied shop_web']);
});

t.test('a file that cannot be applied, or is not there, is reported', async (t) => {
  const refused = await harness(GOOD, async () => {
    throw new Error('port 80 is taken');
  });
  t.match(refused.files.status(), [{ appliedAt: undefined, errors: [/shop\.yaml: port 80 is taken/] }]);
  t.equal(refused.seen.length, 1);
  rmSync(refused.file);
  const files = new StackFiles({
    files: [{ name: 'x', file: refused.file }],
    defaultDriver: 'local',
    environment: {},
    log: SILENT_LOG,
    now: () => 1,
    exists: () => false,
    retryMs: 10,
    apply: async () => {},
  });
  t.match(await files.start(), [{ errors: [/there is no such file/] }]);
  files.close();
});
