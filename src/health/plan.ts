// Which check a task gets, and where its probe goes. PURE.
import { type IpAddress, formatHostPort } from '../model/address.ts';
import { endpointOf } from '../model/endpoint.ts';
import type { Network, NetworkId } from '../model/network.ts';
import {
  declaredTargets,
  type HealthCheck,
  PROBE_DEFAULTS,
  type ProxyProtocol,
  type Service,
} from '../model/service.ts';
import { cannotRunCheck, isCheckedByEngine, servedPort, type Task } from '../model/task.ts';

export interface CheckPlan {
  readonly check: HealthCheck;
  readonly target: ProbeTarget;
}

export type ProbeTarget =
  /** From the node's own namespace, or (`networkId`) from inside that overlay network. */
  | {
      readonly kind: 'address';
      readonly address: IpAddress;
      readonly port: number;
      readonly networkId?: NetworkId;
      readonly proxyProtocol?: ProxyProtocol;
    }
  /** Inside the task, by the process that runs it. */
  | { readonly kind: 'task' }
  /** The check was asked for, but there is nothing to probe: every probe fails, for this reason. */
  | { readonly kind: 'missing'; readonly reason: string };

/**
 * The check of a task; undefined when it is eligible while it runs. A static endpoint gets a tcp check when it has none: nobody
 * else watches it. So does every task in which the agent cannot run the command that its check is.
 */
export function checkOf(
  service: Service,
  task: Task,
  network: (id: NetworkId) => Network | undefined,
): CheckPlan | undefined {
  const { health } = service.spec;
  if (health === 'none' || isCheckedByEngine(service, task)) return undefined;
  const usable = cannotRunCheck(service, task) ? undefined : health;
  if (usable?.probe.kind === 'exec') return { check: usable, target: { kind: 'task' } };
  if (usable === undefined) {
    const watchedOtherwise = task.source !== 'static' && health === undefined;
    return watchedOtherwise ? undefined : defaultCheck(service, task, network);
  }
  const target = targetOf(service, task, network, usable.probe.port);
  return { check: usable, target: target ?? { kind: 'missing', reason: missingPort(service, task) } };
}

/** `10.64.0.5:8080`, as log lines and `inspect` show it. */
export function formatTarget(target: ProbeTarget): string {
  if (target.kind === 'address') return formatHostPort(target.address, target.port);
  return target.kind === 'task' ? 'inside the task' : 'nowhere';
}

function defaultCheck(
  service: Service,
  task: Task,
  network: (id: NetworkId) => Network | undefined,
): CheckPlan | undefined {
  const target = targetOf(service, task, network, undefined);
  return target && { check: { probe: { kind: 'tcp' }, ...PROBE_DEFAULTS }, target };
}

/** With several target ports, the first declared one stands for the task. Only TCP can tell whether somebody listens. */
function targetOf(
  service: Service,
  task: Task,
  network: (id: NetworkId) => Network | undefined,
  wanted: number | undefined,
): ProbeTarget | undefined {
  const declared = declaredTargets(service.spec);
  const first =
    declared.find((target) => target.protocol === 'tcp')?.port ?? (declared.length === 0 ? task.ownPort : undefined);
  const port = wanted ?? first;
  const place = task.attachments[0];
  const on = place && network(place.networkId);
  const endpoint = on && endpointOf(task, on);
  if (port === undefined || endpoint === undefined) return undefined;
  const inside = endpoint.reach === 'network' ? { networkId: endpoint.networkId } : {};
  // A port that nobody is sent to is the check's alone, where nobody expects it.
  const { proxyProtocol } = declared.length === 0 || declared.some((one) => one.port === port) ? service.spec : {};
  const introduced = proxyProtocol === undefined ? {} : { proxyProtocol };
  return { kind: 'address', address: endpoint.address, port: servedPort(task, port), ...inside, ...introduced };
}

function missingPort(service: Service, task: Task): string {
  if (task.attachments.length === 0) return `task ${task.name} is on no network`;
  return `service ${service.spec.name} declares no TCP port to probe; name one in the check, or expose it`;
}
