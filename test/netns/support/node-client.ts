// Load from a node of a lab: `fixtures/client.ts` there, and what came of its attempts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { endWithProcess } from '../../support/agent.ts';
import type { Node } from './lab.ts';
import type { Attempt, Load } from './load.ts';
import { Milestones } from './milestones.ts';

const CLIENT = fileURLToPath(new URL('../fixtures/client.js', import.meta.url));

export interface NodeAttempt extends Attempt {
  readonly kind: 'http' | 'dns';
  readonly target: string;
}

export interface NodeLoad extends Load {
  stop(): Promise<readonly NodeAttempt[]>;
}

export interface NodeLoadOptions {
  readonly perSecond: number;
  /** ADDRESS:PORT of what serves as `fixtures/server.ts` does. */
  readonly targets: readonly string[];
  /** Asked for a tenth as often. */
  readonly names?: readonly string[];
}

/** Times of its attempts are as Date.now has them. Ends with the test. */
export function startNodeLoad(node: Node, { perSecond, targets, names = [] }: NodeLoadOptions): NodeLoad {
  const options = JSON.stringify({ perSecond, targets, names });
  const [program = '', ...words] = [...node.through, process.execPath, CLIENT, options];
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  endWithProcess(() => child.kill('SIGKILL'));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const attempts: NodeAttempt[] = [];
  const begun = new Milestones();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [kind = '', startedAt, endedAt, target = '', outcome = ''] = line.split(' ');
    if (kind === 'begun') begun.pass();
    else if (kind === 'http' || kind === 'dns')
      attempts.push({ kind, startedAt: Number(startedAt), endedAt: Number(endedAt), target, outcome });
  });
  return {
    begun: (more) => begun.more(more),
    stop: async () => {
      child.stdin.end();
      await ended;
      return attempts;
    },
  };
}

/** What did not come to one of these ends. */
export function failures(attempts: readonly NodeAttempt[], names: readonly string[]): readonly NodeAttempt[] {
  return attempts.filter(({ kind, outcome }) =>
    kind === 'http' ? !names.includes(outcome) : !/^\d+\.\d+\.\d+\.\d+(,|$)/.test(outcome),
  );
}
