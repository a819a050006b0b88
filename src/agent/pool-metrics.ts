// How full the pools are that every node allocates from.
import type { Control } from '../control/control.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { PUBLISHED_PORT_RANGE } from '../model/port.ts';
import type { Metrics } from '../runtime/metrics.ts';

export function registerPoolMetrics(
  metrics: Metrics,
  control: Pick<Control, 'subnetUses'>,
  snapshot: () => Snapshot,
): void {
  const labels = ['network', 'subnet'];
  metrics.registerCollector(
    'vipmesh_network_addresses_used',
    'Addresses of a subnet that VIPs, tasks and nodes have',
    'gauge',
    labels,
    () => control.subnetUses.map(({ network, subnet, used }) => ({ labels: { network, subnet }, value: used })),
  );
  metrics.registerCollector(
    'vipmesh_network_addresses_usable',
    'Addresses of a subnet that there are to be had',
    'gauge',
    labels,
    () => control.subnetUses.map(({ network, subnet, usable }) => ({ labels: { network, subnet }, value: usable })),
  );
  metrics.registerCollector(
    'vipmesh_published_ports_free',
    'Ports of the range that ports without a number come from',
    'gauge',
    [],
    () => {
      const { first, last } = PUBLISHED_PORT_RANGE;
      let free = 0;
      for (let port = first; port <= last; port++) if (!snapshot().servicesByPort.has(port)) free++;
      return [{ labels: {}, value: free }];
    },
  );
}
