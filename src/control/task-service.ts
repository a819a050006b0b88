// The service of a new task: the one that there is, or with `publish` a new one; it publishes what the task asks for. PURE.
import { formatPort, type PublishSpec } from '../model/port.ts';
import { DEFAULT_DRAIN_TIMEOUT_MS, type Service, type ServiceSpec } from '../model/service.ts';
import type { Draft } from './draft.ts';
import { causedBy, ControlError } from './errors.ts';
import { findService } from './lookup.ts';
import { portsCollide } from './service-spec.ts';
import { createService, updateService } from './services.ts';

export interface TaskService {
  /** As the user wrote it. */
  readonly service: string;
  /** As the user wrote them: where a new service is; absent: where `service create` puts it. */
  readonly networks?: readonly string[];
  /**
   * Ports that the service publishes from now on, also when the task has ended. What it publishes already stays as it is; a
   * service that does not exist is made for them, and only for them: without, a name may be a slip.
   */
  readonly publish?: readonly PublishSpec[];
}

/** Throws ControlError as `service create` and `service update` do. */
export function serviceOfTask(draft: Draft, wanted: TaskService): Service {
  const { publish = [] } = wanted;
  const found = existing(draft, wanted.service, publish.length > 0);
  if (found === undefined) return createService(draft, newSpec(wanted, publish));
  const missing = publish.filter((one) => !found.spec.publish.some((other) => fulfils(other, one)));
  if (missing.length === 0) return found;
  refuseTaken(found, missing);
  return updateService(draft, found, { ...found.spec, publish: [...found.spec.publish, ...missing] }, undefined);
}

function existing(draft: Draft, text: string, mayBeNew: boolean): Service | undefined {
  try {
    return findService(draft.snapshot, text);
  } catch (error) {
    if (!(error instanceof ControlError && error.code === 'not-found')) throw error;
    if (mayBeNew) return undefined;
    const next =
      'make it first (vipmesh service create NAME, or --publish with this command), or see what there is (vipmesh service ls)';
    throw causedBy(error, error.code, `${error.message}; ${next}`);
  }
}

function refuseTaken({ spec, ports }: Service, wanted: readonly PublishSpec[]): void {
  const holder = ports.find((port) => wanted.some((one) => portsCollide(one, port)));
  if (holder === undefined) return;
  const { protocol, publishedPort, targetPort, mode, name } = holder;
  const how = `target port ${targetPort}, mode ${mode}, ${name === undefined ? 'no name' : `name ${name}`}`;
  throw new ControlError(
    'conflict',
    `service ${spec.name} publishes port ${formatPort(protocol, publishedPort)} already, otherwise (${how}); choose another port, or take that one back (vipmesh service update --publish-rm ${formatPort(protocol, targetPort)} ${spec.name})`,
  );
}

/** Whoever does not say which port it is to be is content with any, and likewise with any name. */
function fulfils(has: PublishSpec, wanted: PublishSpec): boolean {
  return (
    has.protocol === wanted.protocol &&
    has.targetPort === wanted.targetPort &&
    has.mode === wanted.mode &&
    has.hostAddress === wanted.hostAddress &&
    (wanted.publishedPort === undefined || has.publishedPort === wanted.publishedPort) &&
    (wanted.name === undefined || has.name === wanted.name)
  );
}

/** What `service create --publish …` makes with no other flag. */
function newSpec({ service, networks = [] }: TaskService, publish: readonly PublishSpec[]): ServiceSpec {
  return {
    name: service,
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: [...new Set(networks)].map((network) => ({ network, aliases: [] })),
    publish,
    expose: [],
    endpoints: [],
    drainTimeoutMs: DEFAULT_DRAIN_TIMEOUT_MS,
  };
}
