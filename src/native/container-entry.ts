// Goes into a container, for good: what this process starts afterwards lives in the container's network, sees the container's
// /etc/resolv.conf and /etc/hosts, and its name. No helper program is needed, because a child inherits the namespaces of the
// thread that forks it, and Node forks on the main thread; see native-notes/container-entry.md.
import { mkdtempSync, realpathSync, rmdirSync, statSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWUTS,
  MNT_DETACH,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_REC,
  MS_SLAVE,
} from './constants.ts';
import { check } from './errno.ts';
import { mount, setns, umount2, unshare } from './libc.ts';
import { closeNetns, openNetns } from './netns.ts';

export interface Container {
  /** Path of its network namespace. */
  readonly netns: string;
  /** What is seen in place of the node's files: absolute path → content. The files must exist on the node. */
  readonly files: Readonly<Record<string, string>>;
  readonly hostname?: string;
}

/**
 * Main thread only, once in a process, as root. Throws NativeError or Node's own file errors; the process may then be partly
 * inside, and should end. Its other threads, and with them the callbacks of `fs` and DNS, stay outside.
 */
export function enterContainer(container: Container): void {
  const netns = openNetns(container.netns);
  try {
    check(setns(netns, CLONE_NEWNET), 'setns', container.netns);
  } finally {
    closeNetns(netns);
  }
  const spaces = CLONE_NEWNS | (container.hostname === undefined ? 0 : CLONE_NEWUTS);
  check(unshare(spaces), 'unshare', 'mount namespace');
  // A slave still gets what the node mounts and unmounts later; private copies would keep unmounted disks busy.
  check(mount(null, '/', null, MS_REC | MS_SLAVE, null), 'mount', '/ as slave');
  for (const [path, content] of Object.entries(container.files)) keepReplaced(path, content);
  if (container.hostname !== undefined) writeFileSync('/proc/sys/kernel/hostname', container.hostname);
}

/**
 * The kernel unmounts whatever lies on a file, in every mount namespace, when somebody renames another file over it: DHCP
 * clients do so to the node's resolv.conf. So the folders are watched (the link's too, where it is one), and the file is
 * replaced again within milliseconds. The watch does not keep the process alive.
 */
function keepReplaced(path: string, content: string): void {
  let ours = replaceFile(path, content);
  const renew = () => {
    try {
      const now = statSync(path);
      if (now.dev !== ours.dev || now.ino !== ours.ino) ours = replaceFile(path, content);
    } catch {
      // The file is gone for a moment, between the two steps of whoever changes it: its return is seen too.
    }
  };
  for (const folder of new Set([dirname(path), dirname(realpathSync(path))])) {
    watch(folder, { persistent: false }, renew).on('error', () => {});
  }
}

/**
 * Binds a file over the node's one. It lies on a tmpfs of this mount namespace that is unmounted at once: the bound file keeps
 * it alive, and nothing is left to clean up, whatever ends this process.
 */
function replaceFile(path: string, content: string): { readonly dev: number; readonly ino: number } {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-run-'));
  try {
    check(
      mount('tmpfs', folder, 'tmpfs', MS_NOSUID | MS_NODEV | MS_NOEXEC, 'size=1m,mode=0755'),
      'mount',
      `tmpfs on ${folder}`,
    );
    try {
      const file = join(folder, 'file');
      writeFileSync(file, content, { mode: 0o644 });
      check(mount(file, path, null, MS_BIND, null), 'mount', path);
      return statSync(path);
    } finally {
      check(umount2(folder, MNT_DETACH), 'umount2', folder);
    }
  } finally {
    rmdirSync(folder);
  }
}
