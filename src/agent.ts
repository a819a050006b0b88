// The composition root: builds every room, in the order in which they need each other, and takes them down in the reverse one.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Bridges } from './agent/bridges.ts';
import type { Cluster } from './agent/cluster.ts';
import { Containers } from './agent/containers.ts';
import type { Core } from './agent/core.ts';
import { startConnectionLog } from './agent/connection-log.ts';
import { kernelInstance } from './agent/identity.ts';
import { Mesh } from './agent/mesh.ts';
import { probeTask } from './agent/probing.ts';
import { publishProblem } from './agent/publish-problem.ts';
import { startQueryLog } from './agent/query-log.ts';
import { takeUp } from './agent/take-up.ts';
import { Teardown } from './agent/teardown.ts';
import type { WorkerLog } from './agent/worker-log.ts';
import type { RuntimeStatus } from './api/context.ts';
import { checkSocket } from './api/socket-file.ts';
import type { ListenerSet } from './balancer/listener-set.ts';
import { Catalog } from './catalog/catalog.ts';
import { type Config, formatAddress } from './config.ts';
import { Control } from './control/control.ts';
import { type IpAddress, isLoopback } from './model/address.ts';
import { DataPlane } from './datapath/plane.ts';
import { sharedQuestions } from './dns/sent-questions.ts';
import { HealthMonitor } from './health/monitor.ts';
import type { NodeId } from './model/node.ts';
import type { Task, TaskId } from './model/task.ts';
import { LinuxKernel } from './netlink/linux-kernel.ts';
import { OverlayDriver } from './overlay/driver.ts';
import { sleep, systemClock } from './runtime/clock.ts';
import { createLog, type Log } from './runtime/log.ts';
import { systemRandom } from './runtime/random.ts';
import { openEmbeddedStore } from './store/embedded.ts';
import type { Store } from './store/store.ts';
import { AttachedTasks } from './tasks/attached.ts';
import { resolvConfOf } from './tasks/container-dns.ts';
import { systemNamespaces } from './tasks/namespace-table.ts';
import { openConnections } from './tasks/open-connections.ts';
import { ProcessTasks } from './tasks/process.ts';
import { systemProcesses } from './tasks/process-table.ts';

/** While draining, open connections are counted this often. */
const DRAIN_POLL_MS = 50;
/** A worker that is asked to stop does so at once; one that hangs is ended by force after this. */
const WORKER_STOP_MS = 1000;

/** Resolves with the exit status when the agent has ended: after a signal, or because it could not start. */
export async function runAgent(config: Config): Promise<number> {
  const log = createLog({ level: config.logLevel, format: config.logFormat });
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort(signal));
  const opened = new Teardown(log);
  try {
    const agent = await start(config, log, opened);
    log.info('ready', {
      node: config.nodeName,
      socket: config.socket,
      dns: formatAddress(config.dns),
      admin: agent.admin,
    });
    await aborted(stopping.signal);
    log.info('draining', { signal: String(stopping.signal.reason), atMostMs: config.drainMs });
    await agent.drain();
    await opened.all();
    log.info('stopped');
    return 0;
  } catch (error) {
    log.error('the agent cannot go on', { error });
    await opened.all();
    return 1;
  }
}

interface RunningAgent {
  /** `ADDRESS:PORT` */
  readonly admin: string;
  /** Refuses what is new, and waits for what is open, as long as configured. */
  drain(): Promise<void>;
}

async function start(config: Config, log: Log, opened: Teardown): Promise<RunningAgent> {
  const startedAt = Date.now();
  let state: RuntimeStatus['state'] = 'starting';
  // First, because two agents clash in many places, and this one says what is the matter.
  await checkSocket(config.socket);
  const core = await startCore(config, log, opened);
  // Everything is served by now: who talks with the agent can wait for what that needs to be loaded, and connections need not.
  const { openFront } = await import('./agent/front.ts');
  const { admin, stackFiles } = await openFront({ config, log, opened, core, startedAt, state: () => state });
  await core.mesh.settled();
  state = 'ready';
  return {
    admin,
    drain: async () => {
      state = 'draining';
      stackFiles.close();
      await core.mesh.refuseNew();
      await idle(core.plane, config.drainMs, log);
    },
  };
}

async function startCore(config: Config, log: Log, opened: Teardown): Promise<Core> {
  // The workers start while the store is read. Whatever that ends with is heard of below, or by the teardown.
  const starting = DataPlane.start({ workers: config.workers, log });
  const started = starting.catch(() => undefined);
  const logs: WorkerLog[] = [];
  // Connections that end with the agent are logged, too.
  opened.add('logs of traffic', () => {
    for (const one of logs) one.close();
  });
  opened.add('data plane', async () => (await started)?.stop(WORKER_STOP_MS));
  const { store, catalog, cluster } = await openStore(config, log, opened);
  const { nodeName, privileged, allowPlaintextOverlays } = config;
  let listeners: ListenerSet | undefined;
  const control = await Control.open({
    store,
    catalog,
    log,
    nodeName,
    ...(cluster === undefined ? {} : { nodeId: cluster.nodeId, lease: cluster }),
    privileged,
    allowPlaintextOverlays,
    // What is ours, also of a service that has just been removed, is free for another one of ours.
    portProblem: (protocol, port, address) =>
      listeners?.holds(protocol, port, address) === true ? undefined : publishProblem(config, protocol, port, address),
  });
  opened.add('control', () => control.close());
  const { nodeId } = control;
  const plane = await starting;
  plane.post({
    kind: 'upstreams',
    upstreams: config.upstreams,
    routes: config.dnsRoutes,
    cacheBytes: config.dnsCacheBytes,
    sentQuestions: sharedQuestions(),
  });
  const overlay = privileged
    ? openOverlay({ config, nodeId, log, opened }, cluster?.dataAddress, () => containers.isEmpty)
    : undefined;
  if (cluster !== undefined && overlay !== undefined) cluster.moveTunnels = (address) => overlay.moveTunnels(address);
  const mesh = new Mesh({
    nodeId,
    plane,
    log,
    ...(overlay === undefined ? {} : { overlay }),
    onApplied: (_snapshot, changes) => cluster?.inEffect(changes),
  });
  listeners = mesh.listeners;
  opened.add('mesh', () => mesh.close());
  logs.push(startConnectionLog({ catalog, plane, mesh, log, share: config.connectionLog }));
  logs.push(startQueryLog({ catalog, plane, mesh, log, share: config.queryLog }));
  const containers = new Containers(catalog, mesh, overlay);
  opened.add('resolvers in containers', () => containers.giveResolversBack());
  const applied = async () => {
    await mesh.settled();
    await cluster?.confirmed(catalog.snapshot.revision);
  };
  const forTasks = {
    clock: systemClock,
    log,
    registry: control.tasks,
    containers,
    processes: systemProcesses,
    activeConnections: (id: TaskId) => activeConnections(catalog, plane, mesh, id),
    applied,
  };
  const tasks = new ProcessTasks({ ...forTasks, nodeResolvConf });
  const attached = new AttachedTasks({ ...forTasks, namespaces: systemNamespaces, resolvConfOf });
  const monitor: HealthMonitor = new HealthMonitor({
    clock: systemClock,
    random: systemRandom,
    log,
    probe: (id, plan, signal) => probeTask(tasks, mesh, id, plan, signal),
    report: async (id, health) => {
      await control.setTaskHealth(id, health);
    },
  });
  opened.add('health', () => monitor.close());
  const core = {
    nodeId,
    catalog,
    control,
    plane,
    mesh,
    tasks,
    attached,
    containers,
    monitor,
    cluster,
    overlay,
    applied,
    logs,
  };
  if (cluster !== undefined) cluster.applied = () => mesh.appliedRevision ?? catalog.snapshot.revision;
  await takeUp(takeUpOptions(config, log, core, containers));
  await cluster?.join(control, nodeName, opened);
  if (cluster !== undefined && privileged) {
    const bridges = new Bridges({ nodeId, catalog, control, log });
    opened.add('places on networks', () => bridges.close());
  }
  return core;
}

/** The store of this node alone, or that of a cluster. */
async function openStore(
  config: Config,
  log: Log,
  opened: Teardown,
): Promise<{ readonly store: Store; readonly catalog: Catalog; readonly cluster: Cluster | undefined }> {
  if (config.cluster !== undefined) {
    // With what speaks to etcd, a fifth of the whole program.
    const { Cluster } = await import('./agent/cluster.ts');
    const cluster = await Cluster.enter({ config, settings: config.cluster, log, opened });
    return { store: cluster.store, catalog: cluster.catalog, cluster };
  }
  const store = openEmbeddedStore({ directory: join(config.stateDir, 'store'), log });
  opened.add('store', () => store.close());
  const catalog = await Catalog.open(store, { log });
  opened.add('catalog', () => catalog.close());
  return { store, catalog, cluster: undefined };
}

/** What the joint of taking up needs of each room. */
function takeUpOptions(config: Config, log: Log, core: Core, containers: Containers) {
  const { attached, nodeId, tasks } = core;
  const leavers = {
    clock: systemClock,
    isHere: (task: Task) => task.nodeId === nodeId && task.source !== 'static',
    openConnections: (task: Task) => containerConnections(task),
    applied: core.applied,
    stop: ({ id }: Task) => {
      tasks.stop(id, 'it was removed from the mesh');
      attached.removed(id);
    },
  };
  return { ...core, log, dns: config.dns, containers, leavers };
}

/** Containers outlive the agent, and with them all that they need; without any, nothing is left in the kernel. */
function openOverlay(
  { config, nodeId, log, opened }: { config: Config; nodeId: NodeId; log: Log; opened: Teardown },
  dataAddress: IpAddress | undefined,
  unused: () => boolean,
): OverlayDriver {
  const kernel = new LinuxKernel();
  opened.add('kernel', () => kernel.close());
  const { egressSubnet } = config;
  const overlay = new OverlayDriver({
    instance: kernelInstance(nodeId),
    node: { id: nodeId, ...(dataAddress === undefined ? {} : { cluster: { dataAddress } }) },
    kernel,
    log,
    ...(egressSubnet === undefined ? {} : { egressSubnet }),
  });
  opened.add('overlay', () => (unused() ? overlay.removeAll() : overlay.close()));
  return overlay;
}

/** From this node, or from wherever, as far as the task's own namespace shows. */
function activeConnections(catalog: Catalog, plane: DataPlane, mesh: Mesh, id: TaskId): number {
  const task = catalog.snapshot.tasks.get(id);
  const networks = task?.attachments.map((one) => one.networkId) ?? [];
  const own = mesh.publisher.slotsOf(id, networks).reduce((sum, slot) => sum + plane.endpointCounters(slot).active, 0);
  return Math.max(own, task === undefined ? 0 : containerConnections(task));
}

/** A task without a namespace of its own shares the node's tables with everything else there. */
function containerConnections({ pid, attachments }: Task): number {
  if (pid === undefined || attachments.every(({ address }) => isLoopback(address))) return 0;
  return openConnections(pid);
}

/** Resolves when nothing is open any more, or after the deadline. */
async function idle(plane: DataPlane, deadlineMs: number, log: Log): Promise<void> {
  const deadline = systemClock.now() + deadlineMs;
  // Nobody waits for UDP: a flow has no end of its own.
  const open = () => plane.status().reduce((sum, worker) => sum + worker.connections, 0);
  while (open() > 0 && systemClock.now() < deadline) await sleep(systemClock, DRAIN_POLL_MS);
  if (open() > 0) log.warn('connections are still open at the end of the drain time and are reset', { open: open() });
}

function nodeResolvConf(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
