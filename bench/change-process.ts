// One agent's control and data plane in a process of its own, on a store that was filled before: how long changes take until
// every worker has them. `change-process DIRECTORY ROUNDS`; prints ChangeResult as JSON.
import { Catalog } from '../src/catalog/catalog.ts';
import { Control } from '../src/control/control.ts';
import { DataPlane } from '../src/datapath/plane.ts';
import { Mesh } from '../src/agent/mesh.ts';
import type { IpAddress } from '../src/model/address.ts';
import type { PortNumber } from '../src/model/port.ts';
import type { ServiceSpec } from '../src/model/service.ts';
import type { TaskId } from '../src/model/task.ts';
import { SILENT_LOG } from '../src/runtime/log.ts';
import { openEmbeddedStore } from '../src/store/embedded.ts';
import { NETWORK_NAME, NODE_ID, SERVICE_PORT, serviceName, taskId } from './prefill.ts';

/** Milliseconds, one of each round. */
export interface ChangeTimes {
  /** From the commit, which is durable by then, until every worker has it. */
  readonly effect: readonly number[];
  /** From the call until every worker has it: deciding, writing to the disk and taking effect. */
  readonly whole: readonly number[];
}

/** By what was done. */
export type ChangeResult = Readonly<Record<ChangeKind, ChangeTimes>>;
export type ChangeKind = 'health' | 'endpoint' | 'service' | 'removal';

const WORKERS = 2;
const WARM_UP_ROUNDS = 20;

const [directory = '', rounds = ''] = process.argv.slice(2);
const store = openEmbeddedStore({ directory });
const catalog = await Catalog.open(store);
const control = await Control.open({
  store,
  catalog,
  nodeName: 'bench',
  privileged: false,
  allowPlaintextOverlays: false,
  portProblem: () => undefined,
});
const plane = await DataPlane.start({ workers: WORKERS, log: SILENT_LOG });
const mesh = new Mesh({ nodeId: NODE_ID, plane, log: SILENT_LOG });
let committedAt = 0;
/** By the change before. */
let added: TaskId | undefined;
catalog.subscribe((snapshot, previous, changes) => {
  committedAt = performance.now();
  mesh.apply(snapshot, previous, changes);
});
mesh.start(catalog.snapshot);
await mesh.settled();

const changes: Readonly<Record<ChangeKind, (round: number) => Promise<unknown>>> = {
  health: (round) => control.setTaskHealth(taskId(1, 1), round % 2 === 0 ? 'unhealthy' : 'healthy'),
  endpoint: endpointChange,
  service: (round) => control.createService(specOf(round)),
  removal: (round) => control.removeService(specOf(round).name),
};
const result: Partial<Record<ChangeKind, { effect: number[]; whole: number[] }>> = {};
for (const kind of Object.keys(changes) as ChangeKind[]) {
  const times: { effect: number[]; whole: number[] } = { effect: [], whole: [] };
  for (let round = 0; round < WARM_UP_ROUNDS + Number(rounds); round++) {
    const calledAt = performance.now();
    await changes[kind](round);
    await mesh.settled();
    const inEffectAt = performance.now();
    if (round < WARM_UP_ROUNDS) continue;
    times.effect.push(inEffectAt - committedAt);
    times.whole.push(inEffectAt - calledAt);
  }
  result[kind] = times;
}
control.close();
catalog.close();
await mesh.refuseNew();
await mesh.close();
await plane.stop(1000);
await store.close();
process.stdout.write(JSON.stringify(result));

/** Comes in one round and goes in the next, so that no service grows. */
async function endpointChange(round: number): Promise<void> {
  if (added !== undefined) await control.removeEndpoint(added);
  const service = serviceName(2 + (round % 8));
  added = added === undefined ? (await control.addEndpoint(service, { address: endpointOf(round) })).id : undefined;
}

function endpointOf(round: number): IpAddress {
  return `10.250.${round >> 8}.${round & 255}` as IpAddress;
}

function specOf(round: number): ServiceSpec {
  return {
    name: `new-${round}`,
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: [{ network: NETWORK_NAME, aliases: [] }],
    publish: [],
    expose: [{ protocol: 'tcp', port: SERVICE_PORT as PortNumber }],
    endpoints: [{ address: endpointOf(round) }],
    health: 'none',
    drainTimeoutMs: 10_000,
  };
}
