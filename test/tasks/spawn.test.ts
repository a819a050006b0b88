import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { isAlive, parseStartTicks, systemProcesses } from '../../src/tasks/process-table.ts';
import { runProbe, startCommand } from '../../src/tasks/spawn.ts';
import { parseForeground, terminalPlace } from '../../src/tasks/terminal.ts';

const quiet = { env: process.env, ownSession: true, stdin: 'ignore' } as const;

t.test('a command: its exit, its signals', async (t) => {
  t.same(await (await startCommand(['sh', '-c', 'exit 7'], quiet)).ended, { exitCode: 7, signal: null });
  const sleeping = await startCommand(['sleep', '1000'], quiet);
  t.ok(systemProcesses.find(sleeping.pid));
  sleeping.signal('SIGTERM');
  t.same(await sleeping.ended, { exitCode: null, signal: 'SIGTERM' });
  sleeping.signal('SIGTERM');
  sleeping.destroy();
});

t.test('a command that cannot be run', async (t) => {
  await t.rejects(startCommand(['vipmesh-no-such-command'], quiet), {
    code: 'COMMAND_NOT_FOUND',
    message: 'vipmesh-no-such-command: command not found',
  });
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'not-executable');
  writeFileSync(file, 'text');
  await t.rejects(startCommand([file], quiet), { code: 'COMMAND_NOT_EXECUTABLE', message: /permission denied/ });
  t.match(await runProbe([file], false, 60_000, process.env), { exitCode: 126, output: /permission denied/ });
});

t.test('what is found by way of PATH, and what is not, is as in a shell', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  // For root, who may search everything, a file on PATH is as good a riddle as a folder that may not be searched.
  const [locked, open, file] = [join(folder, 'locked'), join(folder, 'open'), join(folder, 'file')];
  mkdirSync(locked, { mode: 0 });
  mkdirSync(open);
  writeFileSync(file, '');
  writeFileSync(join(open, 'text'), 'no program', { mode: 0o644 });
  writeFileSync(join(open, 'program'), '#!/bin/sh\nexit 3\n', { mode: 0o755 });
  const env = { PATH: `${locked}:${file}:${open}` };
  for (const [program, code] of [
    ['none', 'COMMAND_NOT_FOUND'],
    ['text', 'COMMAND_NOT_EXECUTABLE'],
    [join(open, 'none'), 'COMMAND_NOT_FOUND'],
    [join(open, 'text'), 'COMMAND_NOT_EXECUTABLE'],
  ] as const)
    await t.rejects(startCommand([program], { ...quiet, env }), { code }, program);
  t.same(await (await startCommand(['program'], { ...quiet, env })).ended, { exitCode: 3, signal: null });
  t.match(await runProbe(['none'], false, 60_000, env), { exitCode: 127, output: /^none: command not found$/ });
  t.match(await runProbe(['text'], false, 60_000, env), { exitCode: 126, output: /^text: permission denied/ });
});

t.test('destroying ends the whole session', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const script = `trap '' TERM; sleep 1000 & echo $! > ${folder}/pid.new; mv ${folder}/pid.new ${folder}/pid; kill -TERM $$; wait`;
  const stubborn = await startCommand(['sh', '-c', script], quiet);
  const pid = Number(await fileText(join(folder, 'pid')));
  t.ok(systemProcesses.find(pid));
  stubborn.destroy();
  t.same(await stubborn.ended, { exitCode: null, signal: 'SIGKILL' });
  await until(() => systemProcesses.find(pid) === undefined);
});

t.test('probes', async (t) => {
  t.same(await runProbe(['sh', '-c', 'echo fine; echo hm >&2'], false, 60_000, process.env).then(sorted), {
    exitCode: 0,
    output: 'fine hm',
  });
  t.same(await runProbe(['echo $A; exit 3'], true, 60_000, { ...process.env, A: 'b' }), { exitCode: 3, output: 'b\n' });
  t.same(await runProbe(['vipmesh-no-such-command'], false, 60_000, process.env), {
    exitCode: 127,
    output: 'vipmesh-no-such-command: command not found',
  });
  t.match(await runProbe(['kill -9 $$'], true, 60_000, process.env), { exitCode: 1, output: /SIGKILL/ });
  const loud = await runProbe(['head -c 100000 /dev/zero | tr "\\0" x'], true, 60_000, process.env);
  t.equal(loud.exitCode, 0, 'what is too much is read and dropped, so that the command does not block');
  t.equal(loud.output.length, 4096);
});

t.test('a probe that takes too long is killed with everything that it started', async (t) => {
  // On a busy machine the shell may need longer than that to start anything.
  let [timeoutMs, pid] = [100, Number.NaN];
  while (Number.isNaN(pid)) {
    timeoutMs *= 2;
    const { exitCode, output } = await runProbe(['sleep 1000 & echo $!; wait'], true, timeoutMs, process.env);
    t.equal(exitCode, 124);
    t.match(output, `did not end within ${timeoutMs} ms`);
    pid = Number.parseInt(/^\d+$/m.exec(output)?.[0] ?? '', 10);
  }
  await until(() => systemProcesses.find(pid) === undefined);
});

t.test('what a probe leaves running does not hold it', async (t) => {
  const { exitCode, output } = await runProbe(['sleep 1000 & echo $!'], true, 60_000, process.env);
  t.equal(exitCode, 0);
  await until(() => systemProcesses.find(Number.parseInt(output, 10)) === undefined);
});

t.test('processes are known by more than their id', async (t) => {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const one = systemProcesses.find(child.pid ?? 0);
  t.ok(one && Math.abs(one.startedAt - Date.now()) < 20_000, 'started now');
  t.equal(one && isAlive(systemProcesses, one), true);
  t.equal(one && isAlive(systemProcesses, { ...one, startTicks: one.startTicks - 1 }), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.equal(one && isAlive(systemProcesses, one), false);
  t.equal(systemProcesses.find(2 ** 30), undefined);
  const stat = (state: string) => `12 (a) b) ) ${state} 1 12 12 34816 12 ${'0 '.repeat(13)}4242 0`;
  t.equal(parseStartTicks(stat('S')), 4242);
  t.equal(parseStartTicks(stat('Z')), undefined, 'a zombie has ended');
});

t.test('where we stand with the terminal', async (t) => {
  t.equal(terminalPlace(false), 'none');
  t.equal(parseForeground('12 (node) S 1 12 12 34816 12 0'), true);
  t.equal(parseForeground('12 (no) de) S 1 12 12 34816 99 0'), false);
  t.match(terminalPlace(true), /ground$/);
});

function sorted({ exitCode, output }: { exitCode: number; output: string }) {
  return { exitCode, output: output.trim().split('\n').sort().join(' ') };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function fileText(path: string): Promise<string> {
  for (;;) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
