// Which changes tell how long changes take.
import t from 'tap';
import type { Change } from '../../src/catalog/change.ts';
import { News } from '../../src/cluster/news.ts';
import type { NodeId, Presence } from '../../src/model/node.ts';
import type { Task } from '../../src/model/task.ts';
import * as build from '../support/builders.ts';

const STARTED = 1000;
const OTHER = 'other' as NodeId;

const task = (updatedAt: number): Task =>
  build.task(build.service('web'), 1, {}, { nodeId: OTHER, updatedAt, createdAt: 0 });
const put = (updatedAt: number, before?: number): Change => ({
  kind: 'task',
  ...(before === undefined ? {} : { before: task(before) }),
  after: task(updatedAt),
});
const left: Change = { kind: 'presence', before: { id: OTHER } as Presence };

t.test('news', async (t) => {
  const cases: readonly (readonly [string, readonly (readonly Change[])[], readonly number[]])[] = [
    ['decided since the start', [[put(1001)]], [1001]],
    ['there at the start', [[put(999)]], []],
    ['changed', [[put(1500, 1400)]], [1500]],
    ['put on record again as it was', [[put(1500, 1500)]], []],
    ['removed', [[{ kind: 'task', before: task(1500) }]], []],
    ['without a time', [[{ kind: 'suspicion', after: { id: OTHER, since: 1500 } }]], []],
    ['back with its node', [[left], [put(1999)]], []],
    ['of a node that is back', [[left], [put(2000), put(2001)]], [2000, 2001]],
  ];
  for (const [what, commits, expected] of cases) {
    const news = new News(STARTED);
    t.same(
      commits.flatMap((changes) => news.decidedAt(changes, 2000)),
      expected,
      what,
    );
  }
});
