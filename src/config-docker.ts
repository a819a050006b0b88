// The settings about a Docker Engine on the same machine. PURE.
import { DOCKER_SELECTIONS, type DockerSelection } from './tasks/docker/wanted-task.ts';

export interface DockerConfig {
  /** Absolute path of the engine's unix socket. */
  readonly socket: string;
  readonly selections: ReadonlySet<DockerSelection>;
}

/** Rows of the table behind `vipmesh agent --help`. */
export const DOCKER_SETTINGS = [
  {
    flag: '--docker <unix:///PATH>',
    help: 'make containers of the Docker Engine at this socket tasks, such as unix:///var/run/docker.sock',
  },
  {
    flag: '--docker-select <LABELS>',
    help: `which containers: those labelled vipmesh.service, and also of ${DOCKER_SELECTIONS.slice(1).join(', ')}; repeatable`,
    defaultText: 'vipmesh',
    repeatable: true,
  },
] as const;

interface Reader {
  one<T>(name: string, parse: (text: string, flag: string) => T): T | undefined;
  many<T>(name: string, parse: (text: string, flag: string) => T): readonly T[];
}

/** What a flag should have been; `flag` is where it was written. */
type Refuse = (flag: string, problem: string) => never;

/** Undefined: no engine is followed. */
export function parseDocker(read: Reader, refuse: Refuse): DockerConfig | undefined {
  const socket = read.one('docker', (text, flag) => {
    const path = text.startsWith('unix://') ? text.slice('unix://'.length) : text;
    if (path.startsWith('/')) return path;
    return refuse(flag, `should be unix:///PATH, such as unix:///var/run/docker.sock, not "${text}"`);
  });
  const selections = read.many('docker-select', (text, flag) => {
    const found = text.split(',').map((word) => DOCKER_SELECTIONS.find((one) => one === word.trim()));
    return found.map((one) => one ?? refuse(flag, `should be of ${DOCKER_SELECTIONS.join(', ')}, not "${text}"`));
  });
  if (socket !== undefined) return { socket, selections: new Set(['vipmesh', ...selections.flat()]) };
  if (selections.length > 0) refuse('--docker-select', 'is of use only with --docker');
  return undefined;
}
