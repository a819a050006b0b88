// What the data path carries now: open connections and flows one by one, and what services and endpoints have moved.
import type { ConnectionListing, TrafficReading } from '../api/status-schema.ts';
import type { ConnectionPage, ConnectionRow, PageWanted } from '../balancer/connection-listing.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { formatAddress } from '../native/stream-socket.ts';
import { endpointOf } from '../model/endpoint.ts';
import type { Service, ServiceId } from '../model/service.ts';
import { isEligible, type Task } from '../model/task.ts';
import type { Mesh } from './mesh.ts';

export interface TrafficSources {
  readonly catalog: Pick<Catalog, 'snapshot'>;
  readonly plane: DataPlane;
  readonly mesh: Pick<Mesh, 'publisher' | 'traffic'>;
}

/** Rows asked of a worker at once: some three system calls each, so half a millisecond in which it does nothing else. */
const PAGE_ROWS = 128;

/** What is open, of one service or of all, the oldest first; at most so many of each protocol are looked up. */
export async function listConnections(
  sources: TrafficSources,
  service: ServiceId | undefined,
  atMost: number,
): Promise<ConnectionListing> {
  const slot = service === undefined ? undefined : sources.mesh.publisher.slotOfService(service);
  if (service !== undefined && slot === undefined) return { Connections: [], Total: 0 };
  const found = [];
  let total = 0;
  for (const of of ['tcp', 'udp'] as const) {
    const { rows, matched } = await allPages(sources.plane, of, slot, atMost);
    found.push(...rows);
    total += matched;
  }
  found.sort((a, b) => b.row.ageMs - a.row.ageMs);
  return { Connections: found.slice(0, atMost).map((one) => shapeConnection(sources, one)), Total: total };
}

interface FoundRow {
  readonly worker: number;
  readonly row: ConnectionRow;
}

/** Page by page of every worker at once; when there are rows enough, the rest is only counted. */
async function allPages(
  plane: DataPlane,
  of: 'tcp' | 'udp',
  service: number | undefined,
  atMost: number,
): Promise<{ readonly rows: readonly FoundRow[]; readonly matched: number }> {
  const rows: FoundRow[] = [];
  let matched = 0;
  let cursors = new Map(Array.from({ length: plane.workers }, (_, worker) => [worker, 0]));
  while (cursors.size > 0) {
    const wantedRows = Math.min(PAGE_ROWS, Math.max(0, atMost - rows.length));
    const wanted = new Map<number, PageWanted>();
    for (const [worker, from] of cursors)
      wanted.set(worker, { from, rows: wantedRows, ...(service === undefined ? {} : { service }) });
    const pages: ReadonlyMap<number, ConnectionPage> = await plane.connectionPages(of, wanted);
    cursors = new Map();
    for (const [worker, page] of pages) {
      rows.push(...page.rows.map((row) => ({ worker, row })));
      matched += page.matched;
      if (page.next >= 0) cursors.set(worker, page.next);
    }
  }
  return { rows, matched };
}

function shapeConnection(
  { catalog, mesh }: TrafficSources,
  { worker, row }: FoundRow,
): ConnectionListing['Connections'][number] {
  const { services, tasks } = catalog.snapshot;
  const serviceId = mesh.publisher.serviceAt(row.service);
  const taskId = mesh.publisher.taskAt(row.slot);
  const task = taskId === undefined ? undefined : tasks.get(taskId)?.name;
  const text = ({ address, port }: ConnectionRow['client']) => (port === 0 ? address : formatAddress(address, port));
  return {
    Service: serviceId === undefined ? '' : (services.get(serviceId)?.spec.name ?? serviceId),
    Protocol: row.protocol,
    Client: text(row.client),
    Frontend: text(row.frontend),
    ...(row.endpoint && { Endpoint: text(row.endpoint) }),
    ...(task === undefined ? {} : { Task: task }),
    AgeMs: Math.round(row.ageMs),
    BytesToEndpoint: row.bytesToEndpoint,
    BytesToClient: row.bytesToClient,
    State: row.state,
    Worker: worker,
  };
}

/** Every service with its endpoints, and what they have moved. `nowMs` is monotonic. */
export function readTraffic(sources: TrafficSources, nowMs: number): TrafficReading {
  const { services, tasksByService } = sources.catalog.snapshot;
  return {
    AtMs: nowMs,
    Services: [...services.values()].map((service) => {
      const { active, flows, total, failures, bytesToClient, bytesToEndpoint } = sources.mesh.traffic.of(service.id);
      return {
        Name: service.spec.name,
        Open: active + flows,
        Total: total,
        Failures: failures,
        Refused: refusedOf(sources, service.id),
        BytesToClient: bytesToClient,
        BytesToEndpoint: bytesToEndpoint,
        Endpoints: [...(tasksByService.get(service.id)?.values() ?? [])].flatMap((task) =>
          endpointReadings(sources, service, task),
        ),
      };
    }),
  };
}

function refusedOf({ mesh, plane }: Pick<TrafficSources, 'mesh' | 'plane'>, id: ServiceId): number {
  const slot = mesh.publisher.slotOfService(id);
  return slot === undefined ? 0 : plane.serviceCounters(slot).refused;
}

function endpointReadings(
  { catalog, mesh, plane }: TrafficSources,
  service: Service,
  task: Task,
): TrafficReading['Services'][number]['Endpoints'] {
  return service.networks.flatMap(({ networkId }) => {
    const network = catalog.snapshot.networks.get(networkId);
    const endpoint = network && endpointOf(task, network);
    if (network === undefined || endpoint === undefined) return [];
    const [slot] = mesh.publisher.slotsOf(task.id, [networkId]);
    const counts = slot === undefined ? undefined : plane.endpointCounters(slot);
    return [
      {
        Task: task.name,
        Network: network.spec.name,
        Address: endpoint.address,
        Eligible: isEligible(task),
        Ejected: (counts?.ejected ?? 0) > 0,
        Open: (counts?.active ?? 0) + (counts?.flows ?? 0),
        Total: counts?.total ?? 0,
        Failures: counts?.failures ?? 0,
        BytesToClient: counts?.bytesToClient ?? 0,
        BytesToEndpoint: counts?.bytesToEndpoint ?? 0,
      },
    ];
  });
}
