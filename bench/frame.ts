// What every bench runs in: a directory and processes of its own, all of which end with it, also when it is interrupted.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BenchError, Processes } from './processes.ts';

export interface Frame {
  /** `-- --quick`: for looking whether something has become slower; nothing is written. */
  readonly quick: boolean;
  readonly processes: Processes;
  /** Gone when the bench is over. */
  readonly directory: string;
  say(text: string): void;
}

/** What a bench has made besides its processes. */
export interface Belongings {
  /** Resolves when nothing of it is left. */
  stop(): Promise<void>;
  /** For the last moment, when nothing can be awaited. */
  kill(): void;
}

const NOTHING: Belongings = { stop: async () => {}, kill: () => {} };

/** Runs a bench to its end, or to its interruption. Failures are told on standard error, and by the exit code. */
export async function runBench(bench: (frame: Frame) => Promise<void>, belongings = NOTHING): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vipmesh-bench-'));
  const processes = new Processes(directory);
  let stopping: Promise<void> | undefined;
  // A bench that is interrupted fails by that, and both want it to end.
  const stop = (): Promise<void> => {
    stopping ??= processes.stopAll().then(() => belongings.stop());
    return stopping;
  };
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // The first time everybody may tidy up; whoever asks twice does not want to wait.
      if (interrupted) process.exit(1);
      interrupted = true;
      void stop().finally(() => process.exit(1));
    });
  }
  // Whatever ends this process ends what it started.
  process.on('exit', () => {
    processes.killAll();
    belongings.kill();
    rmSync(directory, { recursive: true, force: true });
  });
  const quick = process.argv.includes('--quick');
  try {
    await bench({ quick, processes, directory, say: (text) => process.stdout.write(text) });
  } catch (error) {
    // What fails because it was interrupted is no news.
    if (!interrupted)
      process.stderr.write(`${error instanceof BenchError ? error.message : String((error as Error).stack)}\n`);
    process.exitCode = 1;
  } finally {
    await stop();
  }
}
