// A list of services, for `service ls` and `stack services`. PURE.
import type { DockerService } from '../api/schema.ts';
import { type Column, formatList, type ListOptions, shortId } from './format.ts';
import { formatPorts } from './ports.ts';

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Mode', heading: 'MODE' },
  { field: 'Replicas', heading: 'REPLICAS' },
  { field: 'Ports', heading: 'PORTS' },
];
const FIELDS = COLUMNS.map(({ field }) => field);

export interface RowOptions extends ListOptions {
  /** False: whole ids. */
  readonly trunc: boolean;
}

/** By name. */
export function formatServices(services: readonly DockerService[], options: RowOptions): string {
  const rows = services
    .toSorted((a, b) => natural(a.Spec.Name, b.Spec.Name))
    .map((service) => {
      const { RunningTasks = 0, DesiredTasks = 0 } = service.ServiceStatus ?? {};
      return {
        ID: shortId(service.ID, !options.trunc),
        Name: service.Spec.Name,
        Mode: 'Global' in service.Spec.Mode ? 'global' : 'replicated',
        Replicas: `${RunningTasks}/${DesiredTasks}`,
        Ports: formatPorts(service.Endpoint.Ports ?? [], 'ingress'),
      };
    });
  return formatList(COLUMNS, rows, FIELDS, options);
}

/** `web2` before `web10`. */
export function natural(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
