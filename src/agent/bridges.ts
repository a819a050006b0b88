// This node's places on overlay networks: taken where it has a task or publishes a port, given back when it has neither.
import type { Catalog } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import type { Control } from '../control/control.ts';
import { isUnderLease } from '../catalog/catalog.ts';
import type { NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import { idleBridges, missingBridges } from '../overlay/wanted.ts';
import type { Log } from '../runtime/log.ts';

export interface BridgesOptions {
  readonly nodeId: NodeId;
  readonly catalog: Catalog;
  readonly control: Pick<Control, 'claimBridge' | 'releaseBridge'>;
  readonly log: Log;
}

/** After a failure, and for places that are idle: a task that is replaced needs its network again at once. */
const SETTLE_MS = 5000;

export class Bridges {
  readonly #options: BridgesOptions;
  readonly #claiming = new Set<NetworkId>();
  #releasing: NodeJS.Timeout | undefined;
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(options: BridgesOptions) {
    this.#options = options;
    this.#unsubscribe = options.catalog.subscribe((_snapshot, _previous, changes) => {
      if (changes.some((change) => this.#concerns(change))) this.#check();
    });
    this.#check();
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    clearTimeout(this.#releasing);
  }

  #concerns(change: Change): boolean {
    if (change.kind !== 'task') return change.kind !== 'node' && change.kind !== 'suspicion';
    const task = change.after ?? change.before;
    return task?.nodeId === this.#options.nodeId && isUnderLease('task', task);
  }

  #check(): void {
    const { catalog, nodeId } = this.#options;
    for (const id of missingBridges(catalog.snapshot, nodeId)) if (!this.#claiming.has(id)) void this.#claim(id);
    if (idleBridges(catalog.snapshot, nodeId).length === 0 || this.#releasing !== undefined) return;
    this.#releasing = setTimeout(() => {
      this.#releasing = undefined;
      void this.#release();
    }, SETTLE_MS);
  }

  async #claim(id: NetworkId): Promise<void> {
    this.#claiming.add(id);
    try {
      await this.#options.control.claimBridge(id);
    } catch (error) {
      this.#options.log.error('this node has no place on a network; trying again', { network: id, error });
      setTimeout(() => {
        if (!this.#closed) this.#check();
      }, SETTLE_MS).unref();
    } finally {
      this.#claiming.delete(id);
    }
  }

  async #release(): Promise<void> {
    const { catalog, control, log, nodeId } = this.#options;
    for (const id of idleBridges(catalog.snapshot, nodeId)) {
      try {
        await control.releaseBridge(id);
      } catch (error) {
        log.warn('a place on a network is kept that nothing here needs any more', { network: id, error });
      }
    }
  }
}
