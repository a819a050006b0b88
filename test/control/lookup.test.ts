// What a name may mean.
import t from 'tap';
import { findNetwork, findService, findTask } from '../../src/control/lookup.ts';
import type { ServiceId } from '../../src/model/service.ts';
import * as build from '../support/builders.ts';

const inStack = (stack: string) => ({ labels: { 'com.docker.stack.namespace': stack } });
const services = [
  { ...build.service('web'), id: 'aaa111' as ServiceId },
  { ...build.service('shop_web', inStack('shop')), id: 'aab222' as ServiceId },
  { ...build.service('shop_postgres', inStack('shop')), id: 'b333' as ServiceId },
  { ...build.service('blog_redis', inStack('blog')), id: 'c444' as ServiceId },
  { ...build.service('shop_redis', inStack('shop')), id: 'd555' as ServiceId },
  { ...build.service('aab'), id: 'e666' as ServiceId },
];
const web = services[0] as (typeof services)[0];
const task = build.task(web, 2, {});
const snapshot = build.snapshot({ services, tasks: [task], networks: [build.network('front')] });

t.test('services', (t) => {
  const table: Readonly<Record<string, string>> = {
    web: 'web',
    aab222: 'shop_web',
    postgres: 'shop_postgres',
    shop_postgres: 'shop_postgres',
    aab: 'aab',
    b: 'shop_postgres',
    aab2: 'shop_web',
  };
  for (const [text, name] of Object.entries(table)) t.equal(findService(snapshot, text).spec.name, name, text);
  const errors: Readonly<Record<string, string>> = {
    redis: 'ambiguous: service "redis" may mean blog_redis (c444), shop_redis (d555); write the whole name',
    aa: 'ambiguous: service "aa" may mean shop_web (aab222), web (aaa111); write the whole name',
    postgers: 'not-found: no service is called "postgers" (did you mean "postgres"?)',
    nothing: 'not-found: no service is called "nothing"',
    '': 'not-found: no service is called ""',
  };
  for (const [text, expected] of Object.entries(errors))
    t.equal(
      refused(() => findService(snapshot, text)),
      expected,
    );
  t.end();
});

t.test('tasks and networks', (t) => {
  for (const text of [task.id, task.name, 'web.2', 'task-web']) t.equal(findTask(snapshot, text).id, task.id, text);
  t.equal(
    refused(() => findTask(snapshot, 'web.3')),
    'not-found: no task is called "web.3" (did you mean "web.2"?)',
  );
  t.equal(findNetwork(snapshot, 'front').spec.name, 'front');
  t.equal(
    refused(() => findNetwork(snapshot, 'frot')),
    'not-found: no network is called "frot" (did you mean "front"?)',
  );
  t.end();
});

t.test('many candidates', (t) => {
  const many = build.snapshot({
    services: Array.from({ length: 8 }, (_, n) => ({ ...build.service(`s${n}`), id: `x${n}` as ServiceId })),
  });
  t.match(
    refused(() => findService(many, 'x')),
    /may mean s0 \(x0\), .*s4 \(x4\) and 3 more; write the whole name$/,
  );
  t.end();
});

function refused(find: () => unknown): string {
  try {
    find();
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return 'found';
}
