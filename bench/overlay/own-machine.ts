// Importing this makes the process, and all that it starts, a machine of its own: no port, address or name of the real one is taken,
// and all of it goes with the last process. It must be the first import that loads anything native.
import { requirePeers } from './peers.ts';
import { inOwnNetns } from '../../test/support/own-netns.ts';
import { mayBeNode } from '../../test/netns/support/node.ts';
import { mkdirSync } from 'node:fs';
import { check } from '../../src/native/errno.ts';
import { mount } from '../../src/native/libc.ts';
import { BenchError } from '../processes.ts';

if (inOwnNetns) {
  check(mount('tmpfs', '/run', 'tmpfs', 0, 'mode=0755'), 'mount', '/run');
  mkdirSync('/run/netns');
}

/** Rejects with BenchError, saying what is missing. */
export async function becomeMachine(): Promise<void> {
  requirePeers();
  let missing = '';
  const refuse = (message: string) => {
    missing = message;
  };
  if (!(await mayBeNode({ pass: refuse, fail: refuse }))) throw new BenchError(`there can be no node here: ${missing}`);
}
