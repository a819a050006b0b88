// What `npm start` runs: it starts, what it says to try works word for word, and it leaves nothing behind.
import { mayHaveLab } from './support/lab.ts';
import { chmodSync, existsSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { endWithProcess, run } from '../support/agent.ts';
import { findProgram, needsPrograms } from '../support/requirements.ts';
import { watchTraces } from './support/lab-command.ts';
import { commandsIn, inheritorsOf, killAll, startShown, typed } from './support/shown.ts';
import { until } from './support/tasks.ts';

const TRIED = /leaves nothing behind/;
const ADDRESS = String.raw`\d+\.\d+\.\d+\.\d+\n`;
const OF_THREE_NODES: readonly (readonly [RegExp, RegExp])[] = [
  [/^curl http:\/\/localhost:8080$/, /^demo_web\.\d on node\d answered\n$/],
  [/^curl http:\/\/198\.18\.0\.2:8080$/, /^demo_web\.\d on node\d answered\n$/],
  [/^npx vipmesh lab exec node3 .* psql -h postgres /, /PostgreSQL \d+/],
  [/^npx vipmesh lab exec node3 .* dig \+short postgres web tasks\.web$/, new RegExp(`^(${ADDRESS}){5}$`)],
  [/^npx vipmesh service ls$/, /demo_postgres .* 1\/1.*demo_web .* 3\/3 /s],
  [/^npx vipmesh node ls$/, /(node\d +Ready.*){3}/s],
  [/^npx vipmesh status$/, /node3/],
  [/^npx autocannon /, /^/],
];
const OF_ONE_NODE: readonly (readonly [RegExp, RegExp])[] = [
  [/^curl http:\/\/localhost:8080$/, /^demo_web\.\d answered\n$/],
  [/^npx autocannon /, /^/],
  [/^dig \+short @127\.0\.0\.11 -p 1053 web tasks\.web$/, new RegExp(`^(${ADDRESS}){4}$`)],
  [/^psql -h 127\..* -U postgres /, /PostgreSQL \d+/],
  [/^npx vipmesh -H unix:\S+ service ls$/, /demo_postgres .* 1\/1.*demo_web .* 3\/3 /s],
  [/^npx vipmesh -H unix:\S+ service inspect --pretty web$/, /demo_web/],
];

t.test('the demo', async (t) => {
  if (!needsPrograms(t, 'postgres', 'initdb', 'psql', 'dig', 'curl') || !(await mayHaveLab(t))) return;
  const nothingIsLeft = watchTraces();
  const folder = process.env.TMPDIR ?? '';
  // PostgreSQL's own user has its data in there.
  chmodSync(folder, 0o711);
  endWithProcess(() => killAll(inheritorsOf('TMPDIR', folder)));
  const isGone = (t: Test, message: string) => {
    nothingIsLeft(t, message);
    t.same(inheritorsOf('TMPDIR', folder), [], `${message}: no process`);
    t.equal(
      execFileSync(findProgram('nft') ?? 'nft', ['list', 'tables'], { encoding: 'utf8' }),
      '',
      `${message}: no table`,
    );
  };

  const tryAll = async (t: Test, text: string, wanted: typeof OF_ONE_NODE) => {
    const commands = commandsIn(text);
    t.equal(commands.length, wanted.length, text);
    for (const [index, command] of commands.entries()) {
      const [line = /$^/, answer = /$^/] = wanted[index] ?? [];
      t.match(command, line);
      // Once is enough to see that npx finds the program: it takes its time.
      const quick = index === 2 ? command : command.replace(/^npx vipmesh/, 'vipmesh').replace('-d 10', '-d 1');
      const { code, stdout, stderr } = await typed(quick);
      t.match({ code, stdout }, { code: 0, stdout: answer }, `${command}: ${stdout}${stderr}`);
    }
  };

  await t.test('three nodes', async (t) => {
    const demo = startShown(['demo']);
    const text = await demo.says(TRIED);
    t.match(text, /app on node3 asked postgres:5432 by name, and node2 answered: PostgreSQL \d+/);
    await tryAll(t, text, OF_THREE_NODES);
    const { code, stderr } = await run(['demo']);
    t.match({ code, stderr }, { code: 1, stderr: `another demo is running (pid ${demo.process.pid}); stop it first` });
    t.match(await run(['lab', 'down']), { code: 1, stderr: /being made or removed by another command/ });
    t.match(await typed('curl http://localhost:8080'), { code: 0 }, 'which does it no harm');
    t.equal(await demo.stop('SIGINT'), 0);
    isGone(t, 'ctrl-C');
  });

  await t.test('one that was killed, and one that is stopped while it starts', async (t) => {
    const killed = startShown(['demo']);
    await killed.says(TRIED);
    await killed.stop('SIGKILL');
    const next = startShown(['demo']);
    await next.says(/^Starting three nodes/);
    await until('the next one is being made', () => existsSync('/run/netns/vmlab-demo-node2'), Boolean);
    t.equal(await next.stop('SIGINT'), 0, next.text());
    isGone(t, 'kill -9, and ctrl-C at the next start');
  });

  await t.test('where no namespace can be made: one node on a local network', async (t) => {
    const caps = ['setpriv', '--bounding-set=-sys_admin,-net_admin', '--inh-caps=-sys_admin,-net_admin'];
    const demo = startShown(['demo', '--host', `unix://${folder}/api.sock`], caps);
    const text = await demo.says(TRIED);
    t.match(text, /may make no network namespaces .*, so this is the demo of one node/);
    await tryAll(t, text, OF_ONE_NODE);
    t.equal(await demo.stop('SIGTERM'), 0);
    isGone(t, 'SIGTERM');
  });
});
