// What `vipmesh lab up` says to try works word for word.
import { adoptLab, mayHaveLab } from './support/lab.ts';
import t from 'tap';
import { needsPrograms } from '../support/requirements.ts';
import { httpGet } from './support/clients.ts';
import { lab, watchTraces } from './support/lab-command.ts';
import { commandsIn, typed } from './support/shown.ts';
import { until } from './support/tasks.ts';

const WANTED: readonly (readonly [RegExp, RegExp])[] = [
  [/^vipmesh node ls$/, /(node\d +Ready.*){3}/s],
  [/^vipmesh network create /, /^[a-z0-9]{25}\n$/],
  [/^vipmesh service create --name web /, /^[a-z0-9]{25}\n$/],
  [/^vipmesh lab exec node2 -- vipmesh run .* &$/, /^$/],
  [/^vipmesh lab exec node3 -- vipmesh run .* &$/, /^$/],
  [/^curl http:\/\/localhost:8080$/, /^web\.\d on node[23] answered\n$/],
  [/^vipmesh service create --name app /, /^[a-z0-9]{25}\n$/],
  [/^vipmesh run --service app .* curl -s http:\/\/web:8000$/, /^web\.\d on node[23] answered\n$/],
  [/^vipmesh status$/, /node3/],
  [/^vipmesh lab down$/, /^$/],
];

t.test('what lab up says to try', async (t) => {
  if (!needsPrograms(t, 'dig', 'curl') || !(await mayHaveLab(t))) return;
  const isGone = watchTraces();
  const { code, stdout: text, stderr } = await lab('up');
  t.equal(code, 0, stderr);
  const mesh = adoptLab();
  const commands = commandsIn(text.slice(text.indexOf('\nTry:')));
  t.equal(commands.length, WANTED.length, text);
  for (const [index, command] of commands.entries()) {
    const [line = /$^/, answer = /$^/] = WANTED[index] ?? [];
    t.match(command, line);
    if (command.startsWith('curl'))
      await until(
        'a container serves',
        () => httpGet(mesh.node(1).netns, '127.0.0.1', 8080),
        (text) => text.endsWith('answered\n'),
      );
    // Behind the shell that began it, it must not hold what this test reads.
    const outcome = await typed(command.replace(/ &$/, ' > /dev/null 2>&1 &'));
    t.match(outcome, { code: 0, stdout: answer }, `${command}: ${outcome.stderr}`);
  }
  isGone(t, 'the last of them leaves nothing');
});
