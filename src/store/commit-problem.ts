// What no store takes, whichever it is. PURE.
import { isKey } from './rows.ts';
import type { Expectation, Key, Write } from './store.ts';

/** Why a commit cannot be; undefined when it can. */
export function commitProblem(writes: readonly Write[], expectations: readonly Expectation[]): string | undefined {
  const keys = new Set<Key>();
  for (const { key } of writes) {
    if (!isKey(key))
      return `the key ${JSON.stringify(key)}: a key is 1 to 512 printable ASCII characters without space`;
    if (keys.has(key)) return `the key ${key} is written twice in one commit`;
    keys.add(key);
  }
  const wrong = expectations.find(({ key }) => !isKey(key));
  return wrong === undefined ? undefined : `the expected key ${JSON.stringify(wrong.key)} is not a key`;
}
