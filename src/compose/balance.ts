// How connections are shared out, as `x-vipmesh` says it: `balance`, `affinity` and `local_first`.
import { BALANCE_METHODS, type Balance, type BalanceMethod } from '../model/service.ts';
import { quote } from './diagnostics.ts';
import type { Reader } from './reader.ts';
import type { Entry, Tree } from './tree.ts';

export const BALANCE_KEYS = ['balance', 'affinity', 'local_first'] as const;

/** Undefined when everything is as it is by default. */
export function readBalance(reader: Reader, fields: ReadonlyMap<string, Entry>, what: string): Balance | undefined {
  const [balance, affinity, localFirst] = BALANCE_KEYS.map((key) => fields.get(key)?.value);
  const method = balance && readMethod(reader, balance, `${what}.balance`);
  const affinityMs = affinity && reader.duration(affinity, `${what}.affinity`);
  const isLocalFirst = localFirst && reader.boolean(localFirst, `${what}.local_first`);
  const read = {
    ...(method === undefined || method === 'round-robin' ? {} : { method }),
    ...(affinityMs === undefined || affinityMs === 0 ? {} : { affinityMs }),
    ...(isLocalFirst === true ? { localFirst: isLocalFirst } : {}),
  };
  return Object.keys(read).length === 0 ? undefined : read;
}

function readMethod(reader: Reader, tree: Tree, what: string): BalanceMethod | undefined {
  const text = reader.text(tree, what);
  const method = BALANCE_METHODS.find((one) => one === text);
  if (text !== undefined && method === undefined)
    reader.diagnostics.error(tree.place, `${what} is ${BALANCE_METHODS.join(', ')}, not ${quote(text)}`);
  return method;
}
