// A node of a cluster as far as its overlay goes: a process in a network namespace of its own that drives the overlay as it is told
// over IPC. `node overlay-node.js SETTINGS`; see nodes.ts.
import type { Change } from '../../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../../src/catalog/snapshot.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { NetworkId } from '../../../src/model/network.ts';
import type { TaskId } from '../../../src/model/task.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';
import { OverlayDriver } from '../../../src/overlay/driver.ts';
import type { ContainerSpec } from '../../../src/overlay/plan.ts';
import type { OverlayNode } from '../../../src/overlay/wanted.ts';
import { SILENT_LOG } from '../../../src/runtime/log.ts';

export interface NodeSettings {
  readonly instance: string;
  readonly node: OverlayNode;
}

export type NodeCommand =
  /** As an agent starts: everything there is, and this node's containers. */
  | { readonly do: 'adopt'; readonly changes: readonly Change[]; readonly containers: readonly ContainerSpec[] }
  | { readonly do: 'change'; readonly changes: readonly Change[] }
  | { readonly do: 'attach'; readonly spec: ContainerSpec }
  | { readonly do: 'detach'; readonly taskId: TaskId }
  | { readonly do: 'remove'; readonly network: NetworkId }
  | { readonly do: 'moveTunnels'; readonly dataAddress: IpAddress }
  | { readonly do: 'repair' | 'dropped' | 'problems' | 'mended' | 'close' | 'removeAll' };

/** What a node answers: `value`, or why it could not. */
export interface NodeAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const { instance, node } = JSON.parse(process.argv[2] ?? '') as NodeSettings;
let mended = 0;
const kernel = new LinuxKernel();
const log = {
  ...SILENT_LOG,
  warn: (message: string) => {
    if (/^(mended|made)/.test(message)) mended++;
  },
};
const driver = new OverlayDriver({ instance, node, kernel, log });
let snapshot: Snapshot = EMPTY_SNAPSHOT;

process.on('message', async ({ id, command }: { id: number; command: NodeCommand }) => {
  const answer: NodeAnswer = await carryOut(command).then(
    (value) => ({ id, value }),
    (error: unknown) => ({ id, error: String(error) }),
  );
  process.send?.(answer);
});

async function carryOut(command: NodeCommand): Promise<unknown> {
  switch (command.do) {
    case 'adopt': {
      snapshot = applyChanges(EMPTY_SNAPSHOT, 1, command.changes);
      const { containers, removed } = await driver.adopt(snapshot, command.containers);
      await driver.verify();
      const { places } = await driver.applySnapshot(snapshot);
      return { containers: containers.length, removed: removed.length, networks: places.size };
    }
    case 'change': {
      const previous = snapshot;
      snapshot = applyChanges(previous, previous.revision + 1, command.changes);
      const { places, idle } = await driver.applyChanges(snapshot, previous, command.changes);
      return { places: [...places.keys()], idle };
    }
    case 'attach':
      return (await driver.attachContainer(command.spec)).netnsPath;
    case 'detach':
      return driver.detachContainer(command.taskId);
    case 'remove':
      return driver.removeNetwork(command.network);
    case 'moveTunnels':
      return driver.moveTunnels(command.dataAddress);
    case 'repair':
      return driver.repair();
    case 'dropped':
      return driver.framesDropped();
    case 'problems':
      return [...driver.problems.values()].map(({ message }) => message);
    case 'mended':
      return mended;
    case 'close':
      await driver.close();
      return kernel.close();
    case 'removeAll':
      await driver.removeAll();
      return kernel.close();
  }
}
