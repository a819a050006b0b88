// What the user should know when a task has changed what its service publishes. PURE.
import { formatPort, type PublishedPort } from '../model/port.ts';
import { formatPlace } from '../model/publish-place.ts';
import type { Service } from '../model/service.ts';
import type { Task } from '../model/task.ts';

/**
 * Whole sentences, for a task that asked for published ports. What one command has written bears one time; the same by chance, and the
 * note says nothing that is not so.
 */
export function publishNotes(service: Service | undefined, task: Task, asked: boolean): readonly string[] {
  if (!asked || service === undefined || service.updatedAt !== task.createdAt) return [];
  const { name } = service.spec;
  const ports = service.ports.map(format).join(', ');
  return service.createdAt === task.createdAt
    ? [`service ${name} is new and publishes ${ports}; it stays when the task ends (vipmesh service rm ${name})`]
    : [
        `service ${name} publishes ${ports} from now on, also when the task has ended (vipmesh service update --publish-rm)`,
      ];
}

function format({ hostAddress, publishedPort, protocol, targetPort }: PublishedPort): string {
  return `${formatPlace(hostAddress ?? '*', publishedPort)}->${formatPort(protocol, targetPort)}`;
}
