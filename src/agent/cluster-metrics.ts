// What the agent counts of the cluster that it is in.
import { nodeState } from '../catalog/standing.ts';
import type { Metrics } from '../runtime/metrics.ts';
import type { Cluster } from './cluster.ts';

export function registerClusterMetrics(metrics: Metrics, cluster: Cluster): void {
  const gauge = (name: string, help: string, value: () => number) =>
    metrics.registerCollector(name, help, 'gauge', [], () => [{ labels: {}, value: value() }]);
  gauge('vipmesh_store_connected', '1 while the store answers', () => (cluster.etcd.state.connected ? 1 : 0));
  gauge(
    'vipmesh_store_silent_seconds',
    'How long the store has not answered; 0 while it does',
    () => cluster.appliedState().storeAgeMs / 1000,
  );
  metrics.registerCollector('vipmesh_nodes', 'Nodes by state, as this one sees them', 'gauge', ['state'], () => {
    const { snapshot } = cluster.catalog;
    const counts = { ready: 0, unknown: 0, down: 0 };
    for (const id of snapshot.nodes.keys()) counts[nodeState(snapshot, id)]++;
    return Object.entries(counts).map(([state, value]) => ({ labels: { state }, value }));
  });
  metrics.registerCollector(
    'vipmesh_node_suspicions_total',
    'How often a node was found not to answer',
    'counter',
    [],
    () => [{ labels: {}, value: cluster.prober.counts.suspicions }],
  );
  metrics.registerCollector(
    'vipmesh_probe_datagrams_dropped_total',
    'Datagrams on the probe port that were passed over',
    'counter',
    ['reason'],
    () => Object.entries(cluster.prober.counts.dropped).map(([reason, value]) => ({ labels: { reason }, value })),
  );
  metrics.registerHistogram(
    'vipmesh_change_in_effect_seconds',
    'From the commit of a change to its being in effect in every worker of this node',
    () => {
      const { buckets, count, sumMs } = cluster.convergence.totals();
      return [
        {
          buckets: buckets.map((bucket) => ({ upTo: bucket.upToMs / 1000, count: bucket.count })),
          count,
          sum: sumMs / 1000,
        },
      ];
    },
  );
}
