// A process that ends by itself while a netlink socket is open and has notices to read.
import { spawnSync } from 'node:child_process';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';

new LinuxKernel().own.watch(() => {});
for (const command of ['add dev leaver0 type bridge', 'del dev leaver0'])
  spawnSync('ip', ['link', ...command.split(' ')]);
