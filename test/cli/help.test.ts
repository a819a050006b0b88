// Every command there is: its help, its examples, and that none is forgotten by the completion scripts.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { completionScript, SHELLS } from '../../src/cli/completion-scripts.ts';
import { type CommandEntry, commandTree } from '../../src/cli/completion-tree.ts';
import { buildProgram, type ProgramParts, runProgram } from '../../src/cli/program.ts';
import { type QuickParts, runQuickly } from '../../src/cli/quick.ts';
import type { Shell } from '../../src/cli/shell.ts';
import { findProgram } from '../support/requirements.ts';

const PARTS: ProgramParts = {
  screenLines: () => undefined,
  version: '0.0.0',
  agentFlags: [{ flag: '--dns <ADDR:PORT>', help: "where the node's own programs ask" }],
  startAgent: async () => 0,
  runner: {
    enter: () => undefined,
    start: () => Promise.reject(new Error('nothing is started here')),
    probe: () => Promise.reject(new Error('nothing is probed here')),
    terminal: () => 'none',
  },
  lab: {
    processes: { find: () => undefined },
    nodeIdIn: () => undefined,
    tracesOf: () => ({ prefix: 'none', remove: async () => undefined }),
  },
  doctor: {
    settings: () => {
      throw new Error('nothing is set here');
    },
    facilities: async () => [],
    network: () => Promise.reject(new Error('there is no network here')),
    paths: async () => [],
    clock: async () => undefined,
    droppingChains: async () => [],
    resolvConfOf: () => undefined,
  },
  cleanup: {
    survey: async () => ({ remove: [], kept: [], inhabited: [], silent: [] }),
    remove: async () => undefined,
  },
};

const QUICK_PARTS: QuickParts = {
  ...PARTS,
  agent: async () => ({ flags: PARTS.agentFlags, start: PARTS.startAgent }),
};

function shellOf(said: { out: string; err: string }): Shell {
  return {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    env: {},
    now: () => 0,
    fail: () => undefined,
  };
}

async function cli(...words: string[]) {
  const said = { out: '', err: '' };
  const code = await runProgram(words, shellOf(said), PARTS);
  return { code, ...said };
}

const tree = commandTree(buildProgram(shellOf({ out: '', err: '' }), PARTS));

t.test('every command has a description, examples of itself, and help for its flags', async (t) => {
  t.ok(tree.length > 35, `${tree.length} commands`);
  for (const { path, flags } of tree) {
    const words = path === '' ? [] : path.split(' ');
    const { code, out, err } = await cli(...words, '--help');
    t.same({ code, err }, { code: 0, err: '' }, path);
    const examples = /\nExamples:\n((?: {2}.*\n?)+)/.exec(out)?.[1] ?? '';
    t.match(examples, `vipmesh ${path}`, `${path} has an example of itself`);
    for (const { name, description } of flags) t.not(description, '', `${path} ${name} is explained`);
    for (const line of out.split('\n')) t.ok(line.length <= 140, `${path}: ${line}`);
  }
});

t.test('commands that are loaded alone are what they are among all', async (t) => {
  for (const command of ['agent', 'run', 'attach', 'detach']) {
    for (const words of [[command, '--help'], [command], [command, '--nonsense'], [command, '--entrypoint', 'x']]) {
      const said = { out: '', err: '' };
      const code = await runQuickly(words, shellOf(said), QUICK_PARTS);
      t.strictSame({ code, ...said }, await cli(...words), words.join(' '));
    }
  }
  for (const words of [[], ['--help'], ['--host', 'x', 'run'], ['service', 'run'], ['runs']])
    t.equal(await runQuickly(words, shellOf({ out: '', err: '' }), QUICK_PARTS), undefined, words.join(' '));
});

t.test('examples are command lines that are understood', async (t) => {
  for (const { path } of tree) {
    const { out } = await cli(...(path === '' ? [] : path.split(' ')), '--help');
    for (const [, line = ''] of out.slice(out.indexOf('\nExamples:')).matchAll(/^ {2}(?:\w+=\S+ )?vipmesh (.*)$/gm)) {
      // What is left are the words of the shell that is not there: quotes, comments, redirections.
      const words = [...line.replace(/\s+#.*|\s+[<>].*/g, '').matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
        ([, a, b, c]) => a ?? b ?? c ?? '',
      );
      if (['agent', 'demo', 'run', 'lab', 'doctor', 'cleanup', 'completion'].includes(words[0] ?? '')) continue;
      const { code, err } = await cli(...words, '--host', '/nowhere/vipmesh.sock');
      t.same({ line, code }, { line, code: 1 }, err);
      t.match(err, /no agent at \/nowhere|compose\.yaml: there is no such file/);
    }
  }
});

t.test('completion scripts are understood by their shells', async (t) => {
  for (const shell of SHELLS) {
    const { code, out } = await cli('completion', shell);
    t.equal(code, 0);
    t.equal(out, completionScript(shell, tree));
    t.match(out, 'service create');
    if (findProgram(shell) === undefined) continue;
    const folder = mkdtempSync(join(tmpdir(), 'vipmesh-completion-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, `vipmesh.${shell}`);
    writeFileSync(file, out);
    const { status, stderr } = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
    t.same({ status, stderr }, { status: 0, stderr: '' }, `${shell} -n`);
  }
  t.match(await cli('completion', 'csh'), { code: 2, err: /Allowed choices are bash, zsh, fish/ });
});

/** What bash offers for the last of these words; a stub stands for the program and says what it was asked. */
function complete(...words: string[]): string[] {
  const script = `${completionScript('bash', tree)}
vipmesh() { [[ $1 == stack ]] && echo shop || echo "$1-a $1-b" | tr ' ' '\\n'; }
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})
COMP_CWORD=${words.length - 1}
_vipmesh
printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim().split('\n');
}

t.test('what bash offers', { skip: findProgram('bash') === undefined && 'there is no bash' }, async (t) => {
  const children = (path: string) =>
    (tree.find((entry: CommandEntry) => entry.path === path)?.children ?? []).map(({ name }) => name);
  t.same(complete('vipmesh', ''), children(''));
  t.same(complete('vipmesh', 'ser'), ['service']);
  t.same(complete('vipmesh', 'service', ''), children('service'));
  t.same(complete('vipmesh', '--host', '/x', 'network', 'r'), ['rm']);
  t.same(complete('vipmesh', 'service', 'create', '--publ'), ['--publish']);
  t.same(complete('vipmesh', 'service', 'create', '--mode', ''), ['replicated', 'global']);
  t.same(complete('vipmesh', 'service', 'create', '--mode', '=', 'g'), ['global'], '--mode=g');
  t.same(complete('vipmesh', 'node', 'update', '--availability', 'd'), ['drain']);
  t.same(complete('vipmesh', 'service', 'inspect', ''), ['service-a', 'service-b'], 'names are asked for');
  t.same(complete('vipmesh', 'service', 'remove', 'service-b'), ['service-b'], 'behind an alias of a command');
  t.same(complete('vipmesh', 'service', 'create', '--network', ''), ['network-a', 'network-b']);
  t.same(complete('vipmesh', 'stack', 'deploy', '-c', 'f.yaml', ''), ['shop']);
  t.same(complete('vipmesh', 'run', '--service', 'web', '--', 'ser'), [''], 'the words of a command are its own');
});
