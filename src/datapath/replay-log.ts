// PURE: the shortest list of commands that brings a new worker to where the old one was. Memory is in proportion to what
// exists, not to what was ever sent.
import type { NameRecord, PointerRecord, ZoneUpdate } from '../dns/command.ts';
import type { Command } from './command.ts';

interface Zone {
  readonly names: Map<string, NameRecord>;
  readonly pointers: Map<string, PointerRecord>;
}

export class ReplayLog {
  /** By what they are about; a later command takes the place of the earlier one. */
  readonly #commands = new Map<string, Command>();
  readonly #zones = new Map<number, Zone>();

  note(command: Command): void {
    switch (command.kind) {
      case 'backend-set':
        this.#commands.set(`backend ${command.backend.id}`, command);
        return;
      case 'backend-remove':
        this.#commands.delete(`backend ${command.id}`);
        return;
      case 'frontend-add':
        this.#commands.set(`frontend ${command.frontend.id}`, command);
        return;
      case 'frontend-remove':
        this.#commands.delete(`frontend ${command.id}`);
        return;
      case 'vip-set':
        if (command.backend === null) this.#commands.delete(`vip ${command.network} ${command.address}`);
        else this.#commands.set(`vip ${command.network} ${command.address}`, command);
        return;
      case 'zone-add':
        this.#commands.set(`zone ${command.network}`, command);
        return;
      case 'zone-remove':
        this.#commands.delete(`zone ${command.network}`);
        this.#zones.delete(command.network);
        return;
      case 'zone-update':
        this.#noteZone(command.update);
        return;
      case 'connection-log':
      case 'dns-query-log':
        this.#commands.set(command.kind, command);
        return;
      case 'scope-set':
        this.#commands.set(`scope ${command.scope.id}`, command);
        return;
      case 'scope-remove':
        this.#commands.delete(`scope ${command.id}`);
        return;
      case 'dns-socket-add':
        this.#commands.set(`dns-socket ${command.fd}`, command);
        return;
      case 'dns-socket-remove':
        this.#commands.delete(`dns-socket ${command.fd}`);
        return;
      case 'upstreams':
        this.#commands.set('upstreams', command);
        return;
      // A new worker has no connection to close and an empty cache, and these are moments, not state.
      case 'endpoint-close':
      case 'dns-cache-list':
      case 'connections-list':
      case 'dns-cache-flush':
      case 'barrier':
      case 'stop':
        return;
    }
  }

  /** Drops a command that a worker failed on, unless something else has taken its place. */
  forget(command: Command): void {
    const text = JSON.stringify(command);
    for (const [key, known] of this.#commands) if (JSON.stringify(known) === text) this.#commands.delete(key);
    if (command.kind === 'zone-update') this.#zones.delete(command.update?.network);
  }

  /** In an order that a worker understands: zones before what is in them, sockets when everything else is there. */
  commands(): readonly Command[] {
    const noted = [...this.#commands.values()];
    const isSocket = (command: Command): boolean =>
      command.kind === 'frontend-add' || command.kind === 'dns-socket-add';
    const updates = [...this.#zones].map(
      ([network, zone]): Command => ({
        kind: 'zone-update',
        update: { network, names: [...zone.names.values()], pointers: [...zone.pointers.values()] },
      }),
    );
    return [...noted.filter((command) => !isSocket(command)), ...updates, ...noted.filter(isSocket)];
  }

  #noteZone(update: ZoneUpdate): void {
    const zone = this.#zones.get(update.network) ?? { names: new Map(), pointers: new Map() };
    this.#zones.set(update.network, zone);
    for (const record of update.names) {
      if (record.exists) zone.names.set(record.name, record);
      else zone.names.delete(record.name);
    }
    for (const record of update.pointers) {
      if (record.name === null) zone.pointers.delete(record.address);
      else zone.pointers.set(record.address, record);
    }
  }
}
