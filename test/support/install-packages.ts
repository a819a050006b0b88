// Run by `npm test` before the first test: as root on Debian, installs all that tests need. Tests then run in
// namespaces of their own, from where no package can be had, and their times are not those of apt.
import { installPackages } from '../../src/cli/demo/packages.ts';
import { findProgram, isRoot, missingPackages } from './requirements.ts';

const missing = missingPackages();
if (missing.length > 0 && isRoot && findProgram('apt-get') !== undefined) {
  process.stderr.write(`installing ${missing.join(', ')}\n`);
  const complaints = installPackages(missing);
  // Each test that needs one of them says so, too.
  if (missingPackages().length > 0) process.stderr.write(`${complaints}\n`);
}
