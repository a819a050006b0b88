// Network namespaces of the calling thread. A socket belongs for ever to the namespace it was created in, so the agent
// steps into a namespace just long enough to create one there; see native-notes/namespaces-sockets.md.
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { CLONE_NEWNET, MNT_DETACH, MS_BIND, MS_REC, MS_SHARED } from './constants.ts';
import { check, EINVAL, errno, errnoName, NativeError } from './errno.ts';
import { abort, type Fd, mount, setns, umount2, unshare } from './libc.ts';

/** Stands for "where this thread already is" wherever a namespace descriptor is asked for. */
export const OWN_NETNS: Fd = 0;

// The calling thread's, not the process's (/proc/self is the main thread). Opened by `fs`, so that Node closes it when a
// worker ends.
const ownNetns: Fd = openSync('/proc/thread-self/ns/net', 'r');

/** Opens a namespace by its path (`/run/netns/NAME`, `/proc/PID/ns/net`). The caller closes it with closeNetns. */
export function openNetns(path: string): Fd {
  return openSync(path, 'r');
}

export function closeNetns(netns: Fd): void {
  closeSync(netns);
}

/**
 * Runs `fn` with the calling thread inside a namespace (OWN_NETNS: in place) and returns its result. `fn` must be
 * synchronous: anything it leaves for later runs outside. A thread that could not return would serve its users in the wrong
 * network, so then the process ends at once.
 */
export function inNetns<T>(netns: Fd, fn: () => T): T {
  if (netns === OWN_NETNS) return fn();
  enterNetns(netns);
  try {
    return fn();
  } finally {
    leaveNetns();
  }
}

/** The first half of inNetns, for hot paths that cannot afford a closure. Always paired with leaveNetns. */
export function enterNetns(netns: Fd): void {
  check(setns(netns, CLONE_NEWNET), 'setns', `descriptor ${netns}`);
}

/** The second half of inNetns. */
export function leaveNetns(): void {
  if (setns(ownNetns, CLONE_NEWNET) === 0) return;
  writeSync(2, `vipmesh: cannot return to the own network namespace: ${errnoName(errno())}; stopping at once\n`);
  abort();
}

/**
 * Creates a network namespace and names it by a bind mount on `path`, as `ip netns add` does (`ip netns` sees it when the
 * path is below /run/netns). Its loopback device is still down. Throws NativeError, EEXIST when the path is taken.
 */
export function createNetns(path: string): void {
  prepareDirectory(dirname(path));
  writeFileSync(path, '', { flag: 'wx', mode: 0o444 });
  try {
    check(unshare(CLONE_NEWNET), 'unshare', `network namespace ${path}`);
    try {
      check(mount('/proc/thread-self/ns/net', path, null, MS_BIND, null), 'mount', path);
    } finally {
      leaveNetns();
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Removes the name. The namespace itself goes with its last socket and process. Nothing happens when there is none. */
export function deleteNetns(path: string): void {
  if (!existsSync(path)) return;
  // A plain file, left by a crash between its creation and the mount, answers EINVAL.
  if (umount2(path, MNT_DETACH) < 0 && errno() !== EINVAL) throw new NativeError(errno(), 'umount2', path);
  rmSync(path, { force: true });
}

/** Makes the directory a shared mount, so that names appear and vanish in other mount namespaces too. */
function prepareDirectory(directory: string): void {
  // Not those above it: a name belongs below a directory of the system, and one in another place is a mistake.
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o755 });
  if (mount('', directory, 'none', MS_SHARED | MS_REC, null) === 0) return;
  if (errno() !== EINVAL) throw new NativeError(errno(), 'mount', directory);
  check(mount(directory, directory, 'none', MS_BIND | MS_REC, null), 'mount', directory);
  check(mount('', directory, 'none', MS_SHARED | MS_REC, null), 'mount', directory);
}
