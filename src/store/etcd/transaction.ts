// A commit as one etcd transaction, and what its answer means. PURE.
//
// etcd takes 128 operations in a transaction unless it was started with more (`--max-txn-ops`), but an operation may be a
// transaction itself, and each of those has its own 128. So a large commit is a tree, which etcd does as a whole or not at all:
// it compares everything first and writes afterwards. A comparison inside the tree cannot keep the others from being
// written; what can is an operation that is an error: to rewrite, with the value that it has, a key that does not exist. A
// comparison that fails leads to one.
import type { Expectation, Key, Revision, Write } from '../store.ts';
import type { KeySpace } from './keys.ts';
import type { Compare, RequestOp, ResponseOp, TxnRequest, TxnResponse } from './protocol.ts';

/** Up to here a transaction is flat. Smaller than etcd's 128, which others may have lowered a little. */
const FLAT = 100;
/**
 * etcd's limit holds for each path down the tree: three levels of 32 hold 32,768 operations, far more than fit into the 1.5
 * MiB that etcd takes, and leave 32 for the comparisons of an operation that is a guard.
 */
const FANOUT = 32;

export function commitRequest(
  space: KeySpace,
  writes: readonly Write[],
  expectations: readonly Expectation[],
): TxnRequest {
  const compare = expectations.map(({ key, revision }) => comparison(space, key, revision));
  const success = writes.map((write) => writeOp(space, write));
  if (compare.length <= FLAT && success.length <= FLAT)
    return { compare, success, failure: expectations.map(({ key }) => readOp(space, key)) };
  const guards = groups(compare, FANOUT).map((group, n) => {
    // A transaction may name no key twice.
    const failure = [{ requestPut: { key: space.absent(n), ignoreValue: true } }];
    return nested({ compare: group, success: [], failure });
  });
  return tree([...guards, ...success]);
}

/** Reads where the expected keys stand, for `firstBroken`. */
export function readRequest(space: KeySpace, expectations: readonly Expectation[]): TxnRequest {
  return tree(expectations.map(({ key }) => readOp(space, key)));
}

/** True when the transaction wrote or removed anything. */
export function changedSomething(response: TxnResponse): boolean {
  return leaves(response).some(
    ({ responsePut, responseDeleteRange }) =>
      responsePut !== undefined || Number(responseDeleteRange?.deleted ?? 0) > 0,
  );
}

/** The first expectation that does not hold, going by the keys as they were read. */
export function firstBroken(
  space: KeySpace,
  expectations: readonly Expectation[],
  response: TxnResponse,
): Key | undefined {
  const revisions = new Map<Key, number>();
  for (const { responseRange } of leaves(response)) {
    for (const { key, modRevision } of responseRange?.kvs ?? []) {
      const ours = space.decode(key);
      if (ours !== undefined) revisions.set(ours, Number(modRevision));
    }
  }
  return expectations.find(({ key, revision }) => (revisions.get(key) ?? 0) !== revision)?.key;
}

export function revisionOf(response: { readonly header: TxnResponse['header'] }): Revision {
  return Number(response.header.revision) as Revision;
}

function comparison(space: KeySpace, key: Key, modRevision: Revision): Compare {
  return { key: space.encode(key), target: 'MOD', result: 'EQUAL', modRevision };
}

function writeOp(space: KeySpace, { key, value, lease }: Write): RequestOp {
  if (value === null) return { requestDeleteRange: { key: space.encode(key) } };
  const put = { key: space.encode(key), value: Buffer.from(value) };
  if (lease !== 'keep') return { requestPut: lease === undefined ? put : { ...put, lease } };
  // Keeping the lease of a key that does not exist is an error for etcd; here it is a key without one.
  return nested({
    compare: [comparison(space, key, 0 as Revision)],
    success: [{ requestPut: put }],
    failure: [{ requestPut: { ...put, ignoreLease: true } }],
  });
}

function readOp(space: KeySpace, key: Key): RequestOp {
  return { requestRange: { key: space.encode(key), keysOnly: true } };
}

function nested(requestTxn: TxnRequest): RequestOp {
  return { requestTxn };
}

function tree(operations: readonly RequestOp[]): TxnRequest {
  if (operations.length <= FANOUT) return { compare: [], success: operations, failure: [] };
  return tree(groups(operations, FANOUT).map((group) => nested({ compare: [], success: group, failure: [] })));
}

function groups<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

function leaves(response: TxnResponse): readonly ResponseOp[] {
  return response.responses.flatMap((one) => (one.responseTxn === undefined ? [one] : leaves(one.responseTxn)));
}
