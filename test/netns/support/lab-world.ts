// What a lab is made with and ended by, for tests and for the bench alike.
import { readIdentity } from '../../../src/agent/identity.ts';
import { removeLeftovers } from '../../../src/agent/leftovers.ts';
import { namespacesOf } from '../../../src/agent/traces.ts';
import { containerProcesses } from '../../../src/cli/lab/down.ts';
import { endProcesses, processesIn, signalProcess } from '../../../src/cli/lab/processes.ts';
import type { LabNode, LabProcess } from '../../../src/cli/lab/record.ts';
import type { LabWorld } from '../../../src/cli/lab/world.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { systemProcesses } from '../../../src/tasks/process-table.ts';

/** Who waits this long waits for ever. */
const KILL_PATIENCE_MS = 60_000;

export const labWorld: LabWorld = {
  machine: {
    processes: systemProcesses,
    nodeIdIn: (directory) => readIdentity(directory)?.nodeId,
    tracesOf: (id) => ({ prefix: namespacesOf(id as NodeId), remove: () => removeLeftovers(id as NodeId) }),
  },
  env: process.env,
  stop: new AbortController().signal,
};

/** What runs on a node and in its containers; of the first node, which is the machine itself, in its containers only. */
export function processesOf(node: LabNode): readonly LabProcess[] {
  const own = node.namespace === undefined ? [] : processesIn(systemProcesses, node.namespace);
  return [...own, ...containerProcesses(labWorld, node)];
}

/** kill -9. Resolves when all are gone. */
export async function killProcesses(processes: readonly LabProcess[]): Promise<void> {
  for (const one of processes) signalProcess(systemProcesses, one, 'SIGKILL');
  await endProcesses(systemProcesses, processes, KILL_PATIENCE_MS);
}
