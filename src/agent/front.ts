// Where the agent is talked with: API, health and metrics, stack files, containers of a Docker Engine. Loading what that needs takes longer
// than taking up what a former run left, so it is loaded once everything serves.
import { startAdminServer } from '../api/admin.ts';
import type { RuntimeStatus } from '../api/context.ts';
import { startApiServer } from '../api/server.ts';
import type { Config } from '../config.ts';
import { poolWarnings } from '../control/pools.ts';
import { STACK_LABEL } from '../model/name.ts';
import type { Log } from '../runtime/log.ts';
import { createMetrics } from '../runtime/metrics.ts';
import { programVersion } from '../runtime/version.ts';
import { agentFacts, apiContext } from './api-context.ts';
import { registerClusterMetrics } from './cluster-metrics.ts';
import type { Core } from './core.ts';
import { dockerTasks } from './docker.ts';
import { registerMetrics } from './metrics.ts';
import { registerOverlayMetrics } from './overlay-metrics.ts';
import { registerPoolMetrics } from './pool-metrics.ts';
import { registerResolverMetrics, resolverStatus, resolverWarnings } from './resolver-status.ts';
import { registerServiceMetrics } from './service-metrics.ts';
import { StackFiles, type StackFileStatus } from './stack-files.ts';
import type { Teardown } from './teardown.ts';

export interface FrontOptions {
  readonly config: Config;
  readonly log: Log;
  readonly opened: Teardown;
  readonly core: Core;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  state(): RuntimeStatus['state'];
}

export interface Front {
  /** `ADDRESS:PORT` */
  readonly admin: string;
  readonly stackFiles: StackFiles;
}

/** Resolves when the stack files are applied, as far as they can be; at once where the store that they wait for is away. */
export async function openFront({ config, log, opened, core, startedAt, state }: FrontOptions): Promise<Front> {
  const { attached, catalog, control, mesh, monitor, nodeId, plane, tasks } = core;
  const driver = config.privileged ? 'overlay' : 'local';
  const stackFiles = new StackFiles({
    files: config.stacks,
    defaultDriver: driver,
    environment: process.env,
    log,
    apply: async (name, stack) => {
      await control.applyStack(name, stack, { prune: true });
      await mesh.settled();
    },
    now: () => Date.now(),
    exists: (name) => [...catalog.snapshot.services.values()].some(({ spec }) => spec.labels[STACK_LABEL] === name),
  });
  const docker = config.docker && dockerTasks({ ...core, config: config.docker, driver, log });
  const context = apiContext({
    config,
    facts: agentFacts(config, programVersion(), nodeId, startedAt),
    catalog,
    plane,
    mesh,
    monitor,
    commands: control,
    tasks,
    attachments: attached,
    status: () => ({ state: state(), ...runtimeStatus(config, core, stackFiles.status(), docker?.problems ?? []) }),
  });
  const metrics = createMetrics({ processMetrics: true });
  registerMetrics(metrics, { context, plane, mesh, monitor });
  registerServiceMetrics(metrics, { catalog, plane, mesh });
  for (const one of core.logs) one.registerMetrics(metrics);
  registerPoolMetrics(metrics, control, () => catalog.snapshot);
  registerResolverMetrics(metrics, config, plane);
  if (core.cluster !== undefined) registerClusterMetrics(metrics, core.cluster);
  if (core.overlay !== undefined) registerOverlayMetrics(metrics, core.overlay);
  const api = await startApiServer({ socket: config.socket, mode: config.socketMode, context, log });
  opened.add('API', () => api.close());
  // Before the API: sessions that end first leave their tasks to the next agent.
  opened.add('tasks', () => tasks.close());
  opened.add('attached tasks', () => attached.close());
  opened.add('Docker', () => docker?.close());
  const admin = await startAdminServer({
    ...config.admin,
    metrics,
    notReady: () => (state() === 'ready' ? undefined : state()),
  });
  opened.add('admin', () => admin.close());
  opened.add('stack files', () => stackFiles.close());
  const tried = stackFiles.start().then(() => {
    // After them, so that a service that a file declares is not made for a container first.
    if (state() !== 'draining') docker?.start();
  });
  // What the copy holds is served while the files wait for the store.
  if (core.cluster?.servesCopy !== true) await tried;
  return { admin: `${config.admin.address}:${admin.port}`, stackFiles };
}

function runtimeStatus(
  config: Config,
  { catalog, cluster, control, mesh, plane }: Core,
  stacks: readonly StackFileStatus[],
  dockerProblems: readonly string[],
): Omit<RuntimeStatus, 'state'> {
  const dns = resolverStatus(config, plane);
  return {
    appliedRevision: mesh.appliedRevision,
    dns,
    workers: plane.status().map((worker, id) => ({
      ID: id,
      State: worker.alive ? 'running' : 'restarting',
      Connections: worker.connections,
      Flows: worker.flows,
    })),
    stacks: stacks.map(({ name, file, errors }) => ({
      Name: name,
      File: file,
      State: errors.length === 0 ? 'applied' : 'rejected',
      ...(errors.length === 0 ? {} : { Error: errors.join('\n') }),
    })),
    ...(cluster === undefined ? {} : { cluster: cluster.status() }),
    warnings: [
      ...(cluster?.addressProblems ?? []),
      ...resolverWarnings(dns),
      ...catalog.problems,
      ...mesh.overlayProblems,
      ...poolWarnings(control.subnetUses),
      ...dockerProblems,
    ],
  };
}
