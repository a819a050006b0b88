// Importing this, before this process leaves the machine's network, installs what the demo tells its readers to try with.
import { isRoot, needsPackages } from '../../support/requirements.ts';

const PROGRAMS = { dig: 'bind9-dnsutils', curl: 'curl' };

// Whether it could be done is said by the test itself.
if (isRoot) needsPackages({ pass: () => undefined, fail: () => undefined }, PROGRAMS);

/** True when it is there; otherwise has said why the test did not run. */
export function needsDemoPackages(t: Parameters<typeof needsPackages>[0]): boolean {
  return needsPackages(t, PROGRAMS);
}
