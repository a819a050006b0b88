// A process that drives the overlay and says what it is about to do, until it is killed: `node overlay-victim.js WORK`, in
// the network namespace that is to be the node.
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { OverlayDriver } from '../../src/overlay/driver.ts';
import type { ContainerSpec } from '../../src/overlay/plan.ts';
import { NODE } from './builders.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';

export interface VictimWork {
  readonly instance: string;
  readonly attach: readonly ContainerSpec[];
  readonly detach?: boolean;
}

const { instance, attach, detach } = JSON.parse(process.argv[2] ?? '') as VictimWork;
const driver = new OverlayDriver({ instance, node: { id: NODE }, kernel: new LinuxKernel(), log: SILENT_LOG });

for (const [i, spec] of attach.entries()) {
  say(`attaching ${i}`);
  await driver.attachContainer(spec);
}
say('attached');
if (detach === true) {
  for (const [i, { taskId }] of attach.entries()) {
    say(`detaching ${i}`);
    await driver.detachContainer(taskId);
  }
}
// Killed at the latest here.
setInterval(() => {}, 1_000_000);

function say(moment: string): void {
  process.stdout.write(`${moment}\n`);
}
