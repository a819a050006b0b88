// Imported before each test file (package.json, `tap`): what tests start runs as it does for users. Otherwise the runner has every
// Node.js process, and those that it starts, load what it follows files with, and a short command costs more than twice as much.
import processOnSpawn from 'process-on-spawn';

const keepPlain: Parameters<typeof processOnSpawn.addListener>[0] = (child) => {
  const { NODE_OPTIONS: _, ...env } = child.env;
  child.env = env;
  // The runner listens, too, and perhaps again: the last one decides.
  processOnSpawn.removeListener(keepPlain);
  processOnSpawn.addListener(keepPlain);
};

processOnSpawn.addListener(keepPlain);
