// The kernel port on Linux. Only for the main thread.
import { OWN_NETNS } from '../native/netns.ts';
import type { Kernel, Namespace } from './kernel.ts';
import { LinuxNamespace } from './linux-namespace.ts';
import { deleteName, listNames, openAt, openOrCreate } from './netns-names.ts';

export class LinuxKernel implements Kernel {
  readonly own: Namespace = new LinuxNamespace('', OWN_NETNS);
  readonly #open = new Set<LinuxNamespace>();

  listNamespaces(prefix: string): readonly string[] {
    return listNames(prefix);
  }

  async ensureNamespace(name: string): Promise<Namespace> {
    const namespace = this.#keep(new LinuxNamespace(name, openOrCreate(name)));
    await namespace.apply({ kind: 'set-link', name: 'lo', up: true });
    return namespace;
  }

  async openNamespace(path: string): Promise<Namespace | undefined> {
    const fd = openAt(path);
    // By its descriptor, because its owner may put another namespace at the path.
    return fd === undefined ? undefined : this.#keep(new LinuxNamespace(`/proc/self/fd/${fd}`, fd, path));
  }

  deleteNamespace(name: string): void {
    deleteName(name);
  }

  close(): void {
    for (const namespace of this.#open) namespace.close();
    this.own.close();
  }

  #keep(namespace: LinuxNamespace): LinuxNamespace {
    this.#open.add(namespace);
    namespace.onClose(() => this.#open.delete(namespace));
    return namespace;
  }
}
