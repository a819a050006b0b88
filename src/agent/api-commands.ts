// What clients may change, done by control; a stack file is read first.
import type { Commands } from '../api/context.ts';
import { readComposeFile } from '../compose/compose-file.ts';
import type { Control } from '../control/control.ts';
import type { NetworkDriver } from '../model/network.ts';

export function apiCommands(control: Control, defaultDriver: NetworkDriver): Commands {
  return {
    addEndpoint: (service, endpoint, weight) => control.addEndpoint(service, endpoint, weight),
    removeEndpoint: (task) => control.removeEndpoint(task),
    setTaskState: (task, state) => control.setTaskState(task, state),
    createService: (spec) => control.createService(spec),
    updateService: (service, spec, expectedVersion) => control.updateService(service, spec, expectedVersion),
    removeService: (service) => control.removeService(service),
    createNetwork: (spec) => control.createNetwork(spec),
    removeNetwork: (network) => control.removeNetwork(network),
    updateNode: (node, change) => control.updateNode(change, node),
    removeNode: (node) => control.removeNode(node),
    async deployStack(name, { file, text, environment, prune }) {
      const read = readComposeFile({ file, text, stack: name, environment, defaultDriver });
      if (!read.ok) return read;
      const change = await control.applyStack(name, read, { prune });
      return { ok: true, change, warnings: read.warnings, unused: read.unused };
    },
    removeStack: (name) => control.removeStack(name),
  };
}
