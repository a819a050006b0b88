// Named network namespaces: files below /run/netns, as `ip netns` keeps them.
import { readdirSync, statSync } from 'node:fs';
import { closeNetns, createNetns, deleteNetns, inNetns, openNetns } from '../native/netns.ts';
import { KernelError } from './kernel-error.ts';

/** Where `ip netns` looks for names (iproute2's NETNS_RUN_DIR). */
const NETNS_DIRECTORY = '/run/netns';
/** The main thread's namespace; it is the main thread that this runs on. */
export const OWN_PATH = '/proc/self/ns/net';

/** The path of a namespace; of the node's own for the empty name. A name that begins with a slash is a path. */
export function netnsPath(name: string): string {
  if (name.startsWith('/')) return name;
  return name === '' ? OWN_PATH : `${NETNS_DIRECTORY}/${name}`;
}

/** Names that begin so, sorted. Throws KernelError. */
export function listNames(prefix: string): readonly string[] {
  try {
    return readdirSync(NETNS_DIRECTORY)
      .filter((name) => name.startsWith(prefix))
      .sort();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw failure('list', NETNS_DIRECTORY, error);
  }
}

/** No error when it is gone. Throws KernelError. */
export function deleteName(name: string): void {
  const path = netnsPath(name);
  try {
    deleteNetns(path);
  } catch (error) {
    throw failure('delete', `network namespace ${path}`, error);
  }
}

/**
 * Opens a namespace, which is made when it is not there. A name without a namespace behind it, left by a crash while it was
 * made, is made anew. Throws KernelError.
 */
export function openOrCreate(name: string): number {
  const path = netnsPath(name);
  try {
    const fd = openIfThere(name);
    if (fd !== undefined) {
      if (isNamespace(fd)) return fd;
      closeNetns(fd);
      deleteNetns(path);
    }
    createNetns(path);
    return openNetns(path);
  } catch (error) {
    throw failure('make', `network namespace ${path}`, error);
  }
}

/** Undefined when there is none. */
export function openIfThere(name: string): number | undefined {
  try {
    return openNetns(netnsPath(name));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Opens what is at a path; undefined when there is nothing. Throws KernelError. */
export function openAt(path: string): number | undefined {
  let fd: number | undefined;
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    // Opening a pipe would wait for its other end.
    if (found.isFile()) fd = openIfThere(path);
    if (fd !== undefined && isNamespace(fd)) return fd;
  } catch (error) {
    if (fd !== undefined) closeNetns(fd);
    throw failure('open', `network namespace ${path}`, error);
  }
  if (fd !== undefined) closeNetns(fd);
  throw new KernelError('refused', 'open', `network namespace ${path}`, 'it is something else');
}

function isNamespace(fd: number): boolean {
  try {
    inNetns(fd, () => {});
    return true;
  } catch (error) {
    if (codeOf(error) === 'EINVAL') return false;
    throw error;
  }
}

/** The errno's name that Node's and native's errors carry. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** The error for a call that is not netlink's. */
export function failure(operation: string, object: string, cause: unknown): KernelError {
  const code = codeOf(cause);
  const why = cause instanceof Error ? cause.message : String(cause);
  const privilege = code === 'EPERM' || code === 'EACCES';
  const advice = privilege ? '; it needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run the agent as root' : '';
  return new KernelError(privilege ? 'privilege' : 'refused', operation, object, `${why}${advice}`, {
    errno: code,
    cause,
  });
}
