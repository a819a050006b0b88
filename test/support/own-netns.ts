// Importing this moves the test's process into a new, empty network namespace, before anything else is loaded: what then
// takes itself for a node cannot touch the machine's own. It must be the first import of a test file. It goes with the
// process.
import { CLONE_NEWNET } from '../../src/native/constants.ts';
import { unshare } from '../../src/native/libc.ts';

/** False where that is not allowed; the test then has to be skipped. */
export const inOwnNetns = process.getuid?.() === 0 && unshare(CLONE_NEWNET) === 0;
