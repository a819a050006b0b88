// `vipmesh run` alone, as a program: what main.ts makes of the same parts. Arguments are those after `run`.
import { runCommand } from '../../src/cli/run.ts';
import { enterContainer } from '../../src/native/container-entry.ts';
import { runProbe, startCommand } from '../../src/tasks/spawn.ts';
import { terminalPlace } from '../../src/tasks/terminal.ts';

await runCommand(
  {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    env: process.env,
    now: () => Date.now(),
    fail: (exitCode) => process.exit(exitCode),
  },
  {
    enter: enterContainer,
    start: startCommand,
    probe: runProbe,
    terminal: () => terminalPlace(process.stdin.isTTY === true),
  },
  (exitCode) => process.exit(exitCode),
).parseAsync(process.argv.slice(2), { from: 'user' });
