// Which network namespaces there are, by the paths that keep them.
import { statSync } from 'node:fs';

export interface NamespaceTable {
  /** The same for all paths of one namespace, and for no other as long as somebody has it open. Undefined: nothing is there. */
  identify(path: string): string | undefined;
  /** Something is there, and this process may not look at it (ptrace(2), "Ptrace access mode checking"). */
  isHidden(path: string): boolean;
}

export const systemNamespaces: NamespaceTable = {
  identify(path) {
    try {
      const found = statSync(path);
      return found.isFile() ? `${found.dev}:${found.ino}` : undefined;
    } catch {
      return undefined;
    }
  },
  isHidden(path) {
    try {
      statSync(path);
      return false;
    } catch (error) {
      return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
    }
  },
};

/** That of a process, as long as it lives. */
export function namespaceOf(pid: number): string {
  return `/proc/${pid}/ns/net`;
}
