// Rules that hold as long as whoever made them: the kernel removes the table together with the socket that it was made by, however
// its process ends.
import type { Fd } from '../native/libc.ts';
import { replaceTable, type Ruleset } from './nftables.ts';
import { NetlinkSocket } from './socket.ts';

export class OwnedRules {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** In the namespace; `name` is the table's. Rejects with KernelError. Linux 5.12. */
  static async make(netns: Fd, name: string, ruleset: Ruleset): Promise<OwnedRules> {
    const socket = new NetlinkSocket(netns, 'netfilter');
    try {
      const { requests, acknowledged } = replaceTable(name, { ...ruleset, owned: true });
      const object = `nftables table inet ${name} in a container`;
      await socket.batch(requests, acknowledged, { operation: 'set', object });
      return new OwnedRules(socket);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** Removes them, soon. */
  close(): void {
    this.#socket.close();
  }
}
