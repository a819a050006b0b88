// The commands of `vipmesh lab` in a test, and what they could leave behind.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { LabView } from '../../../src/cli/lab/view.ts';
import { systemProcesses } from '../../../src/tasks/process-table.ts';
import { type Outcome, run } from '../../support/agent.ts';
import { kernelState } from './node.ts';

const LABS = '/run/vipmesh-lab';
export const SOCKET = '/run/vipmesh/vipmesh.sock';

/** Everything that a lab could leave behind. Folders of other tests' labs are not in the folder that this one uses. */
function traces() {
  return {
    ...kernelState(),
    labs: existsSync(LABS),
    folders: readdirSync(tmpdir()),
    socket: existsSync(SOCKET),
  };
}

export function lab(...words: string[]): Promise<Outcome> {
  return run(['lab', ...words]);
}

export async function up(...words: string[]): Promise<LabView> {
  const { code, stdout, stderr } = await lab('up', '--json', ...words);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as LabView;
}

export async function status(): Promise<LabView> {
  return JSON.parse((await lab('status', '--format', 'json')).stdout) as LabView;
}

export function pidsOf({ Etcd, Nodes }: LabView): readonly (number | null)[] {
  return [Etcd.PID, ...Nodes.map(({ PID }) => PID)];
}

export function living(view: LabView): readonly (number | null)[] {
  return pidsOf(view).filter((pid) => pid !== null && systemProcesses.find(pid) !== undefined);
}

/** From here on this test has a folder for temporary files of its own, and a way to say that nothing new is left anywhere. */
export function watchTraces(): (t: Test, message: string) => void {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  process.env.TMPDIR = folder;
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const before = traces();
  return (t, message) => t.same(traces(), before, message);
}
