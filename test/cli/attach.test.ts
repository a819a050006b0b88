// `vipmesh attach` and `detach`: what the flags become, what is printed, and what is misuse.
import t from 'tap';
import { applyChanges } from '../../src/catalog/snapshot.ts';
import { type ProgramParts, runProgram } from '../../src/cli/program.ts';
import type { Shell } from '../../src/cli/shell.ts';
import { type FakeApi, fakeApi, serveFake, shopTasks } from '../support/fake-api.ts';

async function cli(socket: string, ...words: string[]) {
  const said = { out: '', err: '' };
  const shell: Shell = {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    env: { VIPMESH_HOST: socket },
    now: () => 0,
    fail: () => undefined,
  };
  const parts = { version: '0', agentFlags: [], startAgent: async () => 0 } as unknown as ProgramParts;
  const code = await runProgram(words, shell, parts);
  return { code, ...said };
}

function calls(fake: FakeApi): readonly string[] {
  return fake.calls.splice(0);
}

t.test('attach', async (t) => {
  const fake = fakeApi();
  const { socket } = await serveFake(fake, t);
  const done = { code: 0, out: 'task-web-1\n', err: 'warning: a warning of the container\n' };
  t.same(await cli(socket, 'attach', '--pid', '4711', '--service', 'web'), done);
  t.same(calls(fake), ['attach {"Service":"web","PID":4711}']);
  const names = ['--name', 'n', '--hostname', 'h', '--alias', 'a', '--alias', 'b'];
  const places = ['--network', 'back', '--network', 'front', '--ip', '10.0.0.9', '--ip', 'fd00::9', '--port', '81'];
  t.same(await cli(socket, 'attach', '--netns', '/run/netns/x', '--service', 'web', ...names, ...places), done);
  t.same(calls(fake), [
    `attach ${JSON.stringify({
      Service: 'web',
      Netns: '/run/netns/x',
      Networks: ['back', 'front'],
      Name: 'n',
      Hostname: 'h',
      Port: 81,
      Aliases: ['a', 'b'],
      Addresses: ['10.0.0.9', 'fd00::9'],
    })}`,
  ]);
  await cli(socket, 'attach', '--pid', '1', '--service', 'web', '-p', '8080:80', '--publish', '53/udp');
  t.match(calls(fake), [/^attach .*"publish":\[\{"protocol":"tcp","targetPort":80,"publishedPort":8080,.*"udp"/i]);
  await cli(socket, 'attach', '--netns', 'x', '--service', 'web');
  t.same(calls(fake), [`attach {"Service":"web","Netns":"${process.cwd()}/x"}`], 'a path from where the command runs');
  fake.failure = Object.assign(new Error('it cannot be'), { code: 'RESOLVER_TAKEN' });
  t.same(await cli(socket, 'attach', '--pid', '1', '--service', 'web'), {
    code: 1,
    out: '',
    err: 'vipmesh: it cannot be\n',
  });
});

t.test('detach', async (t) => {
  const fake = fakeApi();
  const [web] = shopTasks();
  if (web === undefined) throw new Error('there is a task');
  for (const name of ['one', 'two']) {
    const after = { ...web, id: `guest${name}` as never, name, source: 'attached' } as const;
    fake.snapshot = applyChanges(fake.snapshot, 8, [{ kind: 'task', after }]);
  }
  fake.context = { ...fake.context, attachments: { ...fake.context.attachments, at: () => ['guesttwo' as never] } };
  const { socket } = await serveFake(fake, t);
  t.same(await cli(socket, 'detach', 'one', 'guesttwo'), { code: 0, out: 'one\nguesttwo\n', err: '' });
  t.same(calls(fake), ['detach guestone', 'detach guesttwo']);
  for (const place of [
    ['--pid', '7'],
    ['--netns', '/x'],
  ]) {
    t.same(await cli(socket, 'detach', ...place), { code: 0, out: 'guesttwo\n', err: '' });
    t.same(calls(fake), ['detach guesttwo']);
  }
  t.match(await cli(socket, 'detach', 'one', 'nobody'), {
    code: 1,
    out: 'one\n',
    err: /^vipmesh: no task is called "nobody"/,
  });
});

t.test('what nothing is attached at', async (t) => {
  const { socket } = await serveFake(fakeApi(), t);
  const place = ['detach', '--netns', '/x'] as const;
  t.match(await cli(socket, ...place), {
    code: 1,
    err: /^vipmesh: nothing is attached in the network namespace \/x; /,
  });
  t.match(await cli(socket, 'detach', '--pid', '7'), {
    code: 1,
    err: /nothing is attached in the container of process 7/,
  });
});

t.test('misuse', async (t) => {
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [['attach', '--service', 'web'], /by --pid PID or by --netns PATH, one of the two/],
    [['attach', '--service', 'web', '--pid', '1', '--netns', '/x'], /one of the two/],
    [
      ['attach', '--pid', '1'],
      /--service is missing: a container joins networks as a task of a service that is on them/,
    ],
    [['attach', '--service', 'web', '--pid', 'web1'], /'--pid <PID>' .*It is the number of a process/],
    [['attach', '--service', 'web', '--pid', '1', '--port', '0'], /It is a number from 1 to 65535/],
    [['detach'], /name a task, or its container with --pid or --netns/],
    [['detach', 'one', '--pid', '1'], /and not both/],
    [['detach', '--pid', '1', '--netns', '/x'], /one of the two/],
  ];
  for (const [words, message] of table) {
    t.match(await cli('/nowhere/vipmesh.sock', ...words), { code: 2, out: '', err: message }, words.join(' '));
  }
});
