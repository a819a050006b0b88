// The shape of commits on the wire: whatever their size, no path through them has more than etcd's 128 operations.
import fc from 'fast-check';
import t from 'tap';
import { KeySpace } from '../../src/store/etcd/keys.ts';
import type { RequestOp, TxnRequest } from '../../src/store/etcd/protocol.ts';
import { commitRequest, firstBroken, readRequest } from '../../src/store/etcd/transaction.ts';
import type { LeaseId, Revision } from '../../src/store/store.ts';

const ETCD_DEFAULT_MAX_TXN_OPS = 128;
const space = new KeySpace('/x');
const writesOf = (count: number) => Array.from({ length: count }, (_, n) => ({ key: `k${n}`, value: 'v' }));
const expectationsOf = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ key: `k${n}`, revision: n as Revision }));

t.test('a small commit is flat, and reads what it expected when that does not hold', (t) => {
  const request = commitRequest(
    space,
    [
      { key: 'a', value: '1', lease: '77' as LeaseId },
      { key: 'b', value: null },
    ],
    [{ key: 'a', revision: 5 as Revision }],
  );
  t.same(shown(request), ['if /x/a@5', '  put /x/a=1 lease 77', '  delete /x/b', 'else', '  read /x/a']);
  t.same(shown(commitRequest(space, [{ key: 'a', value: '1', lease: 'keep' }], [])), [
    'if',
    '  if /x/a@0',
    '    put /x/a=1',
    '  else',
    '    put /x/a=1 lease kept',
    'else',
  ]);
  t.end();
});

t.test('no path is longer than etcd allows', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 0, max: 10_000 }), (writes, expectations) => {
      const request = commitRequest(space, writesOf(writes), expectationsOf(expectations));
      const all = leaves(request);
      return (
        longestPath(request) <= ETCD_DEFAULT_MAX_TXN_OPS &&
        all.filter(({ requestPut }) => requestPut?.ignoreValue !== true && requestPut !== undefined).length ===
          writes &&
        comparisons(request) === expectations &&
        new Set(all.map(({ requestPut }) => String(requestPut?.key))).size >= writes
      );
    }),
    { numRuns: 30 },
  );
  t.ok(longestPath(readRequest(space, expectationsOf(20_000))) <= ETCD_DEFAULT_MAX_TXN_OPS);
  t.end();
});

t.test('the first expectation that does not hold', (t) => {
  const header = { clusterId: 1, revision: 9 };
  const kvs = (key: string, modRevision: number) => [{ key: space.encode(key), modRevision, value: Buffer.alloc(0) }];
  const range = (key: string, modRevision: number) => ({
    responseRange: { header, kvs: kvs(key, modRevision), more: false },
  });
  const response = { header, succeeded: false, responses: [range('a', 5), range('b', 6)] };
  const broken = (...revisions: readonly number[]) =>
    firstBroken(
      space,
      ['a', 'b', 'c'].map((key, n) => ({ key, revision: revisions[n] as Revision })),
      response,
    );
  t.equal(broken(5, 6, 0), undefined);
  t.equal(broken(5, 7, 1), 'b');
  t.equal(broken(0, 6, 0), 'a', 'it is there');
  t.equal(broken(5, 6, 3), 'c', 'it is not');
  t.end();
});

function shown({ compare, success, failure }: TxnRequest): readonly string[] {
  const conditions = compare.map(({ key, modRevision }) => `${key}@${modRevision}`).join(' and ');
  const inside = (ops: readonly RequestOp[]) => ops.flatMap(lines).map((line) => `  ${line}`);
  return [`if ${conditions}`.trim(), ...inside(success), 'else', ...inside(failure)];
}

function lines({ requestPut, requestDeleteRange, requestRange, requestTxn }: RequestOp): readonly string[] {
  if (requestTxn !== undefined) return shown(requestTxn);
  if (requestDeleteRange !== undefined) return [`delete ${requestDeleteRange.key}`];
  if (requestRange !== undefined) return [`read ${requestRange.key}`];
  const lease = requestPut?.ignoreLease
    ? ' lease kept'
    : requestPut?.lease === undefined
      ? ''
      : ` lease ${requestPut.lease}`;
  return [`put ${requestPut?.key}=${requestPut?.value}${lease}`];
}

/** As etcd counts: each transaction by its longest list, those inside it on top. */
function longestPath({ compare, success, failure }: TxnRequest): number {
  const own = Math.max(compare.length, success.length, failure.length);
  let deepest = 0;
  for (const { requestTxn } of [...success, ...failure])
    if (requestTxn !== undefined) deepest = Math.max(deepest, longestPath(requestTxn));
  return own + deepest;
}

function leaves({ success, failure }: TxnRequest): readonly RequestOp[] {
  return [...success, ...failure].flatMap((op) => (op.requestTxn === undefined ? [op] : leaves(op.requestTxn)));
}

function comparisons({ compare, success, failure }: TxnRequest): number {
  let count = compare.length;
  for (const { requestTxn } of [...success, ...failure]) if (requestTxn !== undefined) count += comparisons(requestTxn);
  return count;
}
