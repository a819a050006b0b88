// Importing this, before this process leaves the machine's network, installs what a lab needs where that is possible.
import { spawnSync } from 'node:child_process';
import { findProgram, isRoot, needsPackages } from '../../support/requirements.ts';

const PROGRAMS = { ip: 'iproute2', nft: 'nftables', etcd: 'etcd-server' };

if (isRoot && Object.keys(PROGRAMS).some((program) => findProgram(program) === undefined)) {
  const hadEtcd = findProgram('etcd') !== undefined;
  // Whether it could be done is said by the test itself.
  needsPackages({ pass: () => undefined, fail: () => undefined }, PROGRAMS);
  // Debian starts what it installs.
  if (!hadEtcd) spawnSync('service', ['etcd', 'stop'], { stdio: 'ignore' });
}

/** True when all of it is there; otherwise has said why the test did not run. */
export function needsLabPackages(t: Parameters<typeof needsPackages>[0]): boolean {
  return needsPackages(t, PROGRAMS);
}
