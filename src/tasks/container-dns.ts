// Whom a container that something else started asks for names: its own files say, and they stay as they are.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** Larger than any that a resolver reads (resolv.conf(5): three servers). */
const MAX_BYTES = 16_384;

/** The /etc/resolv.conf that a process sees; undefined when it cannot be told. */
export function resolvConfOf(pid: number): string | undefined {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
  let fd: number | undefined;
  try {
    // The file is the container's to make: a symbolic link would lead into the node's files, a pipe would wait for its other end.
    fd = openSync(`/proc/${pid}/root/etc/resolv.conf`, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!fstatSync(fd).isFile()) return undefined;
    const bytes = Buffer.alloc(MAX_BYTES);
    return bytes.toString('utf8', 0, readSync(fd, bytes));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Its programs ask the embedded resolver. */
export function asksResolver(resolvConf: string): boolean {
  return /^\s*nameserver\s+127\.0\.0\.11\s*$/m.test(resolvConf);
}
