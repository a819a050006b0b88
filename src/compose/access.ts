// Who may come to published ports, as `x-vipmesh` says it: `allow`, `deny` and `accept_proxy`.
import { type Access, MAX_SOURCES, parseSource } from '../model/access.ts';
import type { Subnet } from '../model/address.ts';
import { quote } from './diagnostics.ts';
import type { Reader } from './reader.ts';
import type { Entry, Tree } from './tree.ts';

export const ACCESS_KEYS = ['allow', 'deny', 'accept_proxy'] as const;

/** Undefined when everybody may come. */
export function readAccess(reader: Reader, fields: ReadonlyMap<string, Entry>, what: string): Access | undefined {
  const [allow, deny, acceptProxy] = ACCESS_KEYS.map((key) => {
    const tree = fields.get(key)?.value;
    return tree && readSources(reader, tree, `${what}.${key}`);
  });
  if (allow === undefined && deny === undefined && acceptProxy === undefined) return undefined;
  return { ...(allow && { allow }), ...(deny && { deny }), ...(acceptProxy && { acceptProxy }) };
}

/** A list, or one alone. Undefined when there is none. */
function readSources(reader: Reader, tree: Tree, what: string): readonly Subnet[] | undefined {
  const items = tree.kind === 'scalar' ? [tree] : (reader.list(tree, what)?.items ?? []);
  if (items.length > MAX_SOURCES) {
    reader.diagnostics.error(tree.place, `${what} has ${items.length} entries; at most ${MAX_SOURCES} are compared`);
    return undefined;
  }
  const sources = items.flatMap((item) => {
    const text = reader.text(item, what);
    const source = text === undefined ? undefined : parseSource(text.trim());
    if (text !== undefined && source === undefined)
      reader.diagnostics.error(item.place, `${what}: ${quote(text)} is no subnet such as 10.0.0.0/8 and no address`);
    return source ?? [];
  });
  return sources.length === 0 ? undefined : sources;
}
