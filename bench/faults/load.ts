// New connections from a node at a steady rate, by the tests' own client in a process of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BenchNode } from './lab.ts';

const CLIENT = fileURLToPath(new URL('../../test/netns/fixtures/client.js', import.meta.url));

/** Times in milliseconds since the epoch. */
export interface Attempt {
  readonly kind: 'http' | 'dns';
  readonly startedAt: number;
  readonly endedAt: number;
  /** Who answered, or the error. */
  readonly outcome: string;
}

export interface LoadOptions {
  readonly perSecond: number;
  /** ADDRESS:PORT, in turn. */
  readonly targets: readonly string[];
  /** Asked for a tenth as often. */
  readonly names?: readonly string[];
}

export interface Load {
  /** Resolves when the last one has ended. */
  stop(): Promise<readonly Attempt[]>;
}

/** Resolves when the first attempt has ended. */
export async function startLoad(node: BenchNode, { perSecond, targets, names = [] }: LoadOptions): Promise<Load> {
  const options = JSON.stringify({ perSecond, targets, names });
  const [program = '', ...words] = [...node.through, process.execPath, CLIENT, options];
  // In a session of its own: see README.md.
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const ended = once(child, 'close');
  const attempts: Attempt[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const [kind = '', startedAt, endedAt, , outcome = ''] = line.split(' ');
    if (kind === 'http' || kind === 'dns')
      attempts.push({ kind, startedAt: Number(startedAt), endedAt: Number(endedAt), outcome });
  });
  await once(lines, 'line');
  return {
    stop: async () => {
      child.stdin.end();
      await ended;
      return attempts;
    },
  };
}

/** Resolves with the attempts of all. */
export async function stopAll(loads: readonly Load[]): Promise<readonly Attempt[]> {
  return (await Promise.all(loads.map((load) => load.stop()))).flat();
}

/** Those that came to an error. */
export function failed(attempts: readonly Attempt[]): readonly Attempt[] {
  return attempts.filter(({ kind, outcome }) =>
    kind === 'dns' ? !/^\d+\.\d+\.\d+\.\d+(,|$)/.test(outcome) : /^[A-Z_]+$/.test(outcome),
  );
}
