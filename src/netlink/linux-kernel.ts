// The kernel port on Linux. Only for the main thread.
import { OWN_NETNS } from '../native/netns.ts';
import type { Kernel, Namespace } from './kernel.ts';
import { LinuxNamespace } from './linux-namespace.ts';
import { deleteName, listNames, openOrCreate } from './netns-names.ts';

export class LinuxKernel implements Kernel {
  readonly own: Namespace = new LinuxNamespace('', OWN_NETNS);
  readonly #open = new Set<LinuxNamespace>();

  listNamespaces(prefix: string): readonly string[] {
    return listNames(prefix);
  }

  async ensureNamespace(name: string): Promise<Namespace> {
    const namespace = new LinuxNamespace(name, openOrCreate(name));
    this.#open.add(namespace);
    namespace.onClose(() => this.#open.delete(namespace));
    await namespace.apply({ kind: 'set-link', name: 'lo', up: true });
    return namespace;
  }

  deleteNamespace(name: string): void {
    deleteName(name);
  }

  close(): void {
    for (const namespace of this.#open) namespace.close();
    this.own.close();
  }
}
