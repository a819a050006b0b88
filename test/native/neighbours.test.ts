// What is told to the kernel about neighbours, where there is nothing to tell it with. What the kernel does with it: netns/neighbours.
import { execFileSync } from 'node:child_process';
import t from 'tap';

const MODULE = new URL('../../src/native/neighbours.js', import.meta.url).href;
const SCRIPT = `
import { closeSync, openSync } from 'node:fs';
import { Neighbours } from '${MODULE}';
const neighbours = new Neighbours();
const open = [];
try { for (;;) open.push(openSync('/dev/null')); } catch (error) { process.stdout.write(error.code); }
neighbours.confirm('127.0.0.1');
open.forEach(closeSync);
neighbours.confirm('127.0.0.1');
neighbours.close();
process.stdout.write(', passed over');`;

t.test('without a descriptor left nothing is told, and nothing fails', async (t) => {
  const node = [process.execPath, '--input-type=module', '-e', SCRIPT];
  const words = ['-c', 'ulimit -n 200 && exec "$@"', 'sh', ...node];
  t.equal(execFileSync('sh', words, { encoding: 'utf8' }), 'EMFILE, passed over');
});
