// Importing this, before this process leaves the machine's network, installs what an engine of the tests needs where that is possible.
import { spawnSync } from 'node:child_process';
import { findProgram, isRoot, needsPackages } from '../../support/requirements.ts';

/** Programs of Debian's packages that an engine and its image are made of. */
const PROGRAMS = { dockerd: 'docker.io', iptables: 'iptables', busybox: 'busybox-static' };

if (isRoot && Object.keys(PROGRAMS).some((program) => findProgram(program) === undefined)) {
  const hadEngine = findProgram('dockerd') !== undefined;
  // Whether it could be done is said by the test itself.
  needsPackages({ pass: () => undefined, fail: () => undefined }, PROGRAMS);
  // Debian starts what it installs.
  for (const service of hadEngine ? [] : ['docker', 'containerd'])
    spawnSync('service', [service, 'stop'], { stdio: 'ignore' });
}

/** True when all of it is there; otherwise has said why the test did not run. */
export function needsDockerPackages(t: Parameters<typeof needsPackages>[0]): boolean {
  return needsPackages(t, PROGRAMS);
}
