// Which ports a service's names stand for, as SRV tells them. PURE.
import type { TargetPort } from '../model/port.ts';
import { portNames, type Service } from '../model/service.ts';
import { servedPort, type Task, targetPorts } from '../model/task.ts';
import type { ServicePort } from './command.ts';

export interface ServicePorts {
  /** The VIP, on the target ports. */
  readonly ofVip: readonly ServicePort[];
  /** Each endpoint, where it really serves them. */
  readonly ofEndpoints: readonly ServicePort[];
}

/** `inUse`: those of the service's tasks that are to be named. */
export function servicePorts(service: Service, tasks: readonly Task[], inUse: readonly Task[]): ServicePorts {
  const all = targetPorts(service, tasks);
  const ports = all.map((target) => ({ target, protocol: target.protocol, labels: labelsOf(service, target, all) }));
  const name = service.spec.name.toLowerCase();
  return {
    ofVip: ports.map(({ target, ...port }) => ({ ...port, targets: [{ name, port: target.port }] })),
    ofEndpoints: ports.map(({ target, ...port }) => ({
      ...port,
      targets: inUse.map((task) => ({
        name: task.name.toLowerCase(),
        port: task.ownPort ?? servedPort(task, target.port),
      })),
    })),
  };
}

/** The port's number, its names, and the ports under which it is published, unless that number is another target port. */
function labelsOf(service: Service, { protocol, port }: TargetPort, all: readonly TargetPort[]): readonly string[] {
  const isTarget = (number: number) => all.some((other) => other.protocol === protocol && other.port === number);
  const published = service.ports
    .filter((one) => one.protocol === protocol && one.targetPort === port && !isTarget(one.publishedPort))
    .map((one) => String(one.publishedPort));
  const named = portNames(service.spec, { protocol, port }).map((name) => name.toLowerCase());
  return [...new Set([String(port), ...named, ...published])];
}
