// A command on a node of a lab, in the user's terminal.
import { constants } from 'node:os';
import type { CommandRunner } from '../run-session.ts';

const FORWARDED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'];
/** These a terminal itself sends to everything in its foreground. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
/** As shells number them: 128 and the signal (POSIX, 2.8.2 Exit Status for Commands). */
const SIGNAL_BASE = 128;

/** Resolves with its exit code. Rejects when it could not be run. */
export async function execInNode(
  runner: CommandRunner,
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const started = await runner.start(command, { env, ownSession: false, stdin: 'inherit' });
  const place = runner.terminal();
  const forward = (signal: NodeJS.Signals) => {
    if (place !== 'foreground' || !FROM_TERMINAL.includes(signal)) started.signal(signal);
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  try {
    const { exitCode, signal } = await started.ended;
    return exitCode ?? SIGNAL_BASE + (signal === null ? 0 : constants.signals[signal]);
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}
