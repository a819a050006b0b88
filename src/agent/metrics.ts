// What the agent counts, as Prometheus reads it. Everything is collected when it is scraped.
import type { ApiContext } from '../api/context.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { rcodeName } from '../dns/code-names.ts';
import { COUNTED_TYPES, placeOfType } from '../dns/counted-types.ts';
import type { HealthMonitor } from '../health/monitor.ts';
import { type Endpoint, endpointOf } from '../model/endpoint.ts';
import type { Task } from '../model/task.ts';
import { isEligible } from '../model/task.ts';
import type { Metrics, Sample } from '../runtime/metrics.ts';
import { TOTAL } from '../runtime/worker-env.ts';
import { registerLimitMetrics } from './limit-metrics.ts';
import type { Mesh } from './mesh.ts';

export interface MetricSources {
  readonly context: ApiContext;
  readonly plane: DataPlane;
  readonly mesh: Mesh;
  readonly monitor: HealthMonitor;
}

export function registerMetrics(metrics: Metrics, sources: MetricSources): void {
  registerFrontends(metrics, sources);
  registerEndpoints(metrics, sources);
  registerServices(metrics, sources);
  registerTotals(metrics, sources.plane);
  registerScopes(metrics, sources);
  registerHealth(metrics, sources.monitor);
  registerLimitMetrics(metrics, sources);
}

function registerFrontends(metrics: Metrics, { context, plane, mesh }: MetricSources): void {
  const labels = ['service', 'kind', 'protocol', 'address', 'port'];
  const each = function* (value: (id: number) => number): Generator<Sample> {
    const { services } = context.snapshot();
    for (const { plan, id } of mesh.listeners.all()) {
      const service = services.get(plan.serviceId)?.spec.name ?? plan.serviceId;
      yield {
        labels: {
          service,
          kind: plan.kind,
          protocol: plan.protocol,
          address: plan.address ?? '*',
          port: String(plan.port),
        },
        value: value(id),
      };
    }
  };
  metrics.registerCollector(
    'vipmesh_frontend_connections_total',
    'Connections and flows taken',
    'counter',
    labels,
    () => each((id) => plane.frontendCounters(id).accepted),
  );
  metrics.registerCollector(
    'vipmesh_frontend_connections_failed_total',
    'Connections reset because no endpoint could be reached',
    'counter',
    labels,
    () => each((id) => plane.frontendCounters(id).failed),
  );
  metrics.registerCollector(
    'vipmesh_frontend_denied_total',
    'Connections that were reset and datagrams dropped because of where they came from, or for want of a PROXY header',
    'counter',
    labels,
    () => each((id) => plane.frontendCounters(id).denied),
  );
  metrics.registerCollector(
    'vipmesh_frontend_connections_open',
    'Connections and flows open now',
    'gauge',
    labels,
    () => each((id) => plane.frontendCounters(id).active),
  );
  metrics.registerCollector(
    'vipmesh_frontend_blocked',
    '1 where a port is held by another program',
    'gauge',
    labels,
    function* () {
      const { services } = context.snapshot();
      for (const { plan, state } of mesh.listeners.all()) {
        const service = services.get(plan.serviceId)?.spec.name ?? plan.serviceId;
        const where = {
          service,
          kind: plan.kind,
          protocol: plan.protocol,
          address: plan.address ?? '*',
          port: String(plan.port),
        };
        yield { labels: where, value: state.state === 'blocked' ? 1 : 0 };
      }
    },
  );
}

function registerEndpoints(metrics: Metrics, { context, plane, mesh }: MetricSources): void {
  const labels = ['service', 'task', 'network', 'address'];
  const each = function* (value: (slot: number) => number): Generator<Sample> {
    for (const { task, endpoint } of endpoints(context)) {
      const [slot] = mesh.publisher.slotsOf(task.id, [endpoint.networkId]);
      if (slot === undefined) continue;
      const { services, networks } = context.snapshot();
      const service = services.get(task.serviceId)?.spec.name ?? task.serviceId;
      const network = networks.get(endpoint.networkId)?.spec.name ?? endpoint.networkId;
      yield { labels: { service, task: task.name, network, address: endpoint.address }, value: value(slot) };
    }
  };
  const read = (slot: number) => plane.endpointCounters(slot);
  metrics.registerCollector(
    'vipmesh_endpoint_connections_total',
    'Connections and flows made to the endpoint',
    'counter',
    labels,
    () => each((slot) => read(slot).total),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_connections_open',
    'Connections and flows open to the endpoint',
    'gauge',
    labels,
    () => each((slot) => read(slot).active + read(slot).flows),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_connect_failures_total',
    'Attempts to connect that failed',
    'counter',
    labels,
    () => each((slot) => read(slot).failures),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_ejections_total',
    'Times that connections failed and others were preferred for a while, counted in each worker',
    'counter',
    labels,
    () => each((slot) => read(slot).ejections),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_ejected',
    'Ports of the endpoint to which others are preferred at the moment, counted in each worker',
    'gauge',
    labels,
    () => each((slot) => read(slot).ejected),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_bytes_to_client_total',
    'Bytes passed on to clients',
    'counter',
    labels,
    () => each((slot) => read(slot).bytesToClient),
  );
  metrics.registerCollector(
    'vipmesh_endpoint_bytes_to_endpoint_total',
    'Bytes passed on to the endpoint',
    'counter',
    labels,
    () => each((slot) => read(slot).bytesToEndpoint),
  );
}

function* endpoints(context: ApiContext): Generator<{ readonly task: Task; readonly endpoint: Endpoint }> {
  const { tasks, networks } = context.snapshot();
  for (const task of tasks.values()) {
    for (const { networkId } of task.attachments) {
      const network = networks.get(networkId);
      const endpoint = network && endpointOf(task, network);
      if (endpoint !== undefined) yield { task, endpoint };
    }
  }
}

function registerServices(metrics: Metrics, { context }: MetricSources): void {
  const count = function* (counts: (task: Task) => boolean): Generator<Sample> {
    const { services, tasksByService } = context.snapshot();
    for (const service of services.values()) {
      const tasks = [...(tasksByService.get(service.id)?.values() ?? [])];
      yield { labels: { service: service.spec.name }, value: tasks.filter(counts).length };
    }
  };
  metrics.registerCollector('vipmesh_service_tasks', 'Tasks of the service', 'gauge', ['service'], () =>
    count(() => true),
  );
  metrics.registerCollector(
    'vipmesh_service_eligible_tasks',
    'Tasks that get new connections; 0: the service is refused',
    'gauge',
    ['service'],
    () => count(isEligible),
  );
  metrics.registerCollector('vipmesh_revision', 'The newest commit that the agent has seen', 'gauge', [], () => [
    { labels: {}, value: context.snapshot().revision },
  ]);
}

const TOTALS = {
  vipmesh_descriptors_exhausted_total: [
    TOTAL.descriptorsExhausted,
    'Times that accepting stopped because descriptors had run out',
  ],
  vipmesh_source_ports_exhausted_total: [
    TOTAL.portsExhausted,
    'Attempts to connect for which the kernel had no source port left',
  ],
  vipmesh_stray_connections_total: [TOTAL.strayConnections, 'Connections to a VIP that stands for nothing'],
  vipmesh_proxy_headers_refused_total: [
    TOTAL.proxyHeadersRefused,
    'Connections of trusted proxies that were reset because they did not begin with a PROXY header in time',
  ],
  vipmesh_udp_flows_total: [TOTAL.udpFlowsOpened, 'UDP flows opened'],
  vipmesh_udp_datagrams_to_endpoint_total: [TOTAL.udpDatagramsToEndpoint, 'Datagrams passed on to endpoints'],
  vipmesh_udp_datagrams_to_client_total: [TOTAL.udpDatagramsToClient, 'Datagrams passed on to clients'],
  vipmesh_udp_datagrams_dropped_total: [TOTAL.udpDatagramsDropped, 'Datagrams that could not be passed on'],
  vipmesh_dns_dropped_total: [TOTAL.dnsDropped, 'DNS packets that got no answer: responses, unreadable ones'],
  vipmesh_dns_upstream_failures_total: [
    TOTAL.dnsUpstreamFailures,
    'Upstreams that did not answer, or answered with an error',
  ],
} as const;

const ANSWER_SOURCES = {
  local: TOTAL.dnsAnswersLocal,
  cached: TOTAL.dnsAnswersCached,
  forwarded: TOTAL.dnsAnswersForwarded,
  stale: TOTAL.dnsAnswersStale,
  refused: TOTAL.dnsAnswersRefused,
} as const;

const RCODES = { noerror: 0, formerr: 1, servfail: 2, nxdomain: 3, notimp: 4, refused: 5 } as const;

function registerTotals(metrics: Metrics, plane: DataPlane): void {
  for (const [name, [index, help]] of Object.entries(TOTALS)) {
    metrics.registerCollector(name, help, 'counter', [], () => [{ labels: {}, value: plane.total(index) }]);
  }
  const labelled = (label: string, indexes: Readonly<Record<string, number>>) => () =>
    Object.entries(indexes).map(([name, index]) => ({ labels: { [label]: name }, value: plane.total(index) }));
  metrics.registerCollector('vipmesh_udp_flows_open', 'UDP flows open now', 'gauge', [], () => [
    { labels: {}, value: plane.total(TOTAL.udpFlowsActive) },
  ]);
  metrics.registerCollector(
    'vipmesh_dns_queries_total',
    'DNS queries by transport',
    'counter',
    ['protocol'],
    labelled('protocol', { udp: TOTAL.dnsQueriesUdp, tcp: TOTAL.dnsQueriesTcp }),
  );
  metrics.registerCollector(
    'vipmesh_dns_answers_total',
    'DNS answers by where they came from',
    'counter',
    ['source'],
    labelled('source', ANSWER_SOURCES),
  );
  const types = Object.entries(COUNTED_TYPES).map(([name, type]) => [name, TOTAL.dnsTypes + placeOfType(type)]);
  metrics.registerCollector(
    'vipmesh_dns_questions_total',
    'DNS questions by type, as far as they could be read and came from clients of ours',
    'counter',
    ['type'],
    labelled('type', { ...Object.fromEntries(types), other: TOTAL.dnsTypes }),
  );
  const rcodes = Object.fromEntries(Object.entries(RCODES).map(([name, code]) => [name, TOTAL.dnsRcodes + code]));
  metrics.registerCollector(
    'vipmesh_dns_rcodes_total',
    'DNS answers by rcode',
    'counter',
    ['rcode'],
    labelled('rcode', rcodes),
  );
}

/** Scopes with the same networks are one. */
function registerScopes(metrics: Metrics, { context, mesh }: MetricSources): void {
  metrics.registerCollector(
    'vipmesh_dns_scope_answers_total',
    'DNS answers by the networks that the client sees (node: the node itself), where they came from, and rcode',
    'counter',
    ['scope', 'source', 'rcode'],
    () => {
      const samples = new Map<
        string,
        { readonly labels: Record<'scope' | 'source' | 'rcode', string>; value: number }
      >();
      for (const { scope, source, rcode, count } of mesh.answersByScope(context.snapshot())) {
        const key = `${scope} ${source} ${rcode}`;
        const known = samples.get(key);
        if (known !== undefined) known.value += count;
        else samples.set(key, { labels: { scope, source, rcode: rcodeName(rcode).toLowerCase() }, value: count });
      }
      return [...samples.values()];
    },
  );
}

function registerHealth(metrics: Metrics, monitor: HealthMonitor): void {
  metrics.registerCollector('vipmesh_health_probes_total', 'Health probes made', 'counter', [], () => [
    { labels: {}, value: monitor.counts.probes },
  ]);
  metrics.registerCollector('vipmesh_health_probe_failures_total', 'Health probes that failed', 'counter', [], () => [
    { labels: {}, value: monitor.counts.failures },
  ]);
  metrics.registerCollector(
    'vipmesh_health_transitions_total',
    'Changes of health, by what tasks became',
    'counter',
    ['to'],
    () => Object.entries(monitor.counts.transitions).map(([to, value]) => ({ labels: { to }, value })),
  );
}
