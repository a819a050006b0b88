// Which service a container belongs to, and how, by its labels. PURE.
import { parsePlace } from '../../model/publish-place.ts';
import { aliasProblem, nameProblem, STACK_LABEL, stackName } from '../../model/name.ts';
import { parsePort, type PortNumber, type Protocol, type PublishSpec, type TargetPort } from '../../model/port.ts';
import { parseWeight, WEIGHT_RULE } from '../../model/weight.ts';
import {
  type ContainerDetails,
  containerName,
  parseSignal,
  SHORT_ID_LENGTH,
  stopSignal,
  userNetworks,
} from './container-details.ts';

/** Whose labels name the service besides `vipmesh.service`, which always does. */
export const DOCKER_SELECTIONS = ['vipmesh', 'compose', 'swarm'] as const;
export type DockerSelection = (typeof DOCKER_SELECTIONS)[number];

const LABEL = {
  service: 'vipmesh.service',
  network: 'vipmesh.network',
  port: 'vipmesh.port',
  publish: 'vipmesh.publish',
  alias: 'vipmesh.alias',
  weight: 'vipmesh.weight',
  stop: 'vipmesh.stop-signal',
} as const;
const COMPOSE = { project: 'com.docker.compose.project', service: 'com.docker.compose.service' } as const;
const SWARM_SERVICE = 'com.docker.swarm.service.name';

/** What a container is to be. */
export interface WantedTask {
  readonly service: string;
  /** The stack that the service and its networks are of, when they are made for it. */
  readonly stack?: string;
  /** As its label says; undefined: all of the service's. */
  readonly networks?: readonly string[];
  /** Where a service that is made for it is. Empty: where services go that name none. */
  readonly networksOfService: readonly string[];
  /** Where it listens, when its label says so. */
  readonly port?: PortNumber;
  /** Its share of new connections, when its label says so. */
  readonly weight?: number;
  /** The signal that it is sent when it has been stopped and nothing is open to it any more, when its label says so. */
  readonly endSignal?: number;
  readonly publish: readonly PublishSpec[];
  readonly expose: readonly TargetPort[];
  readonly name: string;
  readonly hostname?: string;
  readonly aliases: readonly string[];
}

/** Undefined: it is nobody's. Text: its labels are wrong, as the end of a sentence that began with the container. */
export function wantedTask(
  details: ContainerDetails,
  selections: ReadonlySet<DockerSelection>,
): WantedTask | string | undefined {
  const labels = details.Config.Labels ?? {};
  const chosen = serviceOf(labels, selections);
  if (chosen === undefined) return undefined;
  const problem = nameProblem(chosen.service);
  if (problem !== undefined) return `belongs to a service whose name ${JSON.stringify(chosen.service)} ${problem}`;
  if (details.NetworkSettings.Networks?.host !== undefined)
    return "is on the node's own network (--network host) and needs no attaching: add what listens there with vipmesh endpoint add";
  const networks = words(labels[LABEL.network]);
  const publish = readPublish(labels[LABEL.publish]);
  if (typeof publish === 'string') return `has the label ${LABEL.publish}, where ${publish}`;
  const port = labels[LABEL.port] === undefined ? undefined : parsePort(labels[LABEL.port]?.trim() ?? '');
  if (labels[LABEL.port] !== undefined && port === undefined)
    return `has the label ${LABEL.port}=${labels[LABEL.port]}, which is no port from 1 to 65535`;
  const weight = labels[LABEL.weight] === undefined ? undefined : parseWeight(labels[LABEL.weight]?.trim() ?? '');
  if (labels[LABEL.weight] !== undefined && weight === undefined)
    return `has the label ${LABEL.weight}=${labels[LABEL.weight]}, which ${WEIGHT_RULE}`;
  const endSignal = readEndSignal(labels[LABEL.stop], details);
  if (typeof endSignal === 'string') return `has the label ${LABEL.stop}=${labels[LABEL.stop]}, ${endSignal}`;
  const own = userNetworks(details).map(([name]) => name);
  return {
    ...chosen,
    ...(networks.length === 0 ? {} : { networks }),
    networksOfService: networks.length > 0 ? networks : own.filter((name) => nameProblem(name) === undefined),
    ...(port === undefined ? {} : { port }),
    ...(weight === undefined ? {} : { weight }),
    ...(endSignal === undefined ? {} : { endSignal }),
    publish,
    expose: exposedTargets(details, port, publish),
    ...namesOf(details, chosen.service),
  };
}

function serviceOf(
  labels: Readonly<Record<string, string>>,
  selections: ReadonlySet<DockerSelection>,
): Pick<WantedTask, 'service' | 'stack'> | undefined {
  const project = labels[COMPOSE.project];
  const own = labels[LABEL.service];
  // An empty one takes the container out of what is chosen otherwise.
  if (own !== undefined) return own.trim() === '' ? undefined : { service: own.trim() };
  const swarm = labels[SWARM_SERVICE];
  const stack = labels[STACK_LABEL];
  if (selections.has('swarm') && swarm !== undefined)
    return { service: swarm, ...(stack === undefined ? {} : { stack }) };
  const service = labels[COMPOSE.service];
  if (!selections.has('compose') || project === undefined || service === undefined) return undefined;
  return { service: stackName(project, service), stack: project };
}

/** The names that Docker gives it, but for those that are its service's. */
function namesOf(details: ContainerDetails, service: string): Pick<WantedTask, 'name' | 'hostname' | 'aliases'> {
  const { Id, Config } = details;
  const name = containerName(details);
  const labels = Config.Labels ?? {};
  const ofService = new Set([service, labels[COMPOSE.service] ?? service].map((one) => one.toLowerCase()));
  const given = userNetworks(details).flatMap(([, network]) => network.Aliases ?? []);
  const aliases = [Id.slice(0, SHORT_ID_LENGTH), ...words(labels[LABEL.alias]), ...given].filter(
    (alias) => alias !== name && !ofService.has(alias.toLowerCase()) && aliasProblem(alias) === undefined,
  );
  const { Hostname } = Config;
  const isOwn = Hostname !== undefined && Hostname !== null && Hostname !== '' && aliasProblem(Hostname) === undefined;
  return { name, ...(isOwn ? { hostname: Hostname } : {}), aliases: [...new Set(aliases)] };
}

/** A port of the container's own is another place for the one target port that is published, else a target port itself. */
function exposedTargets(
  details: ContainerDetails,
  port: PortNumber | undefined,
  publish: readonly PublishSpec[],
): readonly TargetPort[] {
  if (port === undefined) return exposedPorts(details);
  const isAnothers = new Set(publish.map(({ targetPort }) => targetPort)).size === 1;
  return isAnothers ? [] : [{ protocol: 'tcp', port }];
}

/** Of the image and `--expose`: `80/tcp`. */
function exposedPorts({ Config }: ContainerDetails): readonly TargetPort[] {
  return Object.keys(Config.ExposedPorts ?? {}).flatMap((text) => readTarget(text) ?? []);
}

/** Or what is wrong, as the end of a sentence. */
function readEndSignal(text: string | undefined, details: ContainerDetails): number | string | undefined {
  if (text === undefined) return undefined;
  const signal = parseSignal(text);
  if (signal === undefined) return 'which is no signal that ends a program';
  // Docker's own is to be one that the program does not mind.
  if (signal === stopSignal(details))
    return 'which docker stop sends it at once; start it with --stop-signal SIGCONT and a --stop-timeout';
  return signal;
}

/** `80`, `8080:80`, `127.0.0.1:8080:80`, `%eth1:8080:80`, `53:53/udp`, several with commas; or what is wrong, as the end of a sentence. */
function readPublish(text: string | undefined): readonly PublishSpec[] | string {
  const specs: PublishSpec[] = [];
  for (const word of words(text)) {
    const [, address, published, rest = ''] =
      /^(?:(?:\[?([0-9a-fA-F.:]+|%[^:]+)\]?:)?(\d+):)?([^:]+)$/.exec(word) ?? [];
    const target = readTarget(rest);
    const hostAddress = address === undefined ? undefined : parsePlace(address);
    const publishedPort = published === undefined ? undefined : parsePort(published);
    const isWrong = (given: unknown, read: unknown) => given !== undefined && read === undefined;
    if (target === undefined || isWrong(address, hostAddress) || isWrong(published, publishedPort))
      return `"${word}" is not [[ADDRESS:]PUBLISHED:]TARGET[/tcp|/udp]`;
    specs.push({
      protocol: target.protocol,
      targetPort: target.port,
      mode: 'ingress',
      ...(publishedPort === undefined ? {} : { publishedPort }),
      ...(hostAddress === undefined ? {} : { hostAddress }),
    });
  }
  return specs;
}

function readTarget(text: string): TargetPort | undefined {
  const [, number = '', protocol = 'tcp'] = /^(\d+)(?:\/(tcp|udp))?$/.exec(text) ?? [];
  const port = parsePort(number);
  return port === undefined ? undefined : { protocol: protocol as Protocol, port };
}

function words(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
