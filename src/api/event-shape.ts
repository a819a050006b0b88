// PURE: what a commit changed, as events of Docker's shape. Of tasks Docker has no events; here they have, since there are no
// containers whose events would tell the same.
import { nodeState } from '../catalog/standing.ts';
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { ServiceMode } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import { ApiError } from './errors.ts';
import type { Filters } from './filters.ts';
import { serviceName } from './lookup.ts';
import type { DockerEvent } from './requests.ts';

/** An event without its time. */
export type Happening = Omit<DockerEvent, 'time' | 'timeNano'>;

/**
 * What one commit does has no order of its own, so it is told as one would do it by hand: what comes, each thing after what it
 * needs; then what goes, the other way round; by name among equals. `after` and `before` give names of what a change refers to.
 */
export function happenings(changes: readonly Change[], after: Snapshot, before: Snapshot): readonly Happening[] {
  const told = changes.map((change) => ({ rank: rankOf(change), events: happeningsOf(change, after, before) }));
  const name = ({ events }: (typeof told)[number]) => events[0]?.Actor.Attributes.name ?? '';
  told.sort((a, b) => a.rank - b.rank || (name(a) < name(b) ? -1 : 1));
  return told.flatMap(({ events }) => events);
}

const NEEDS_IN_ORDER: readonly Change['kind'][] = [
  'node',
  'presence',
  'suspicion',
  'network',
  'bridge',
  'service',
  'task',
];

function rankOf({ kind, after }: Change): number {
  const rank = NEEDS_IN_ORDER.indexOf(kind);
  return after === undefined ? 2 * NEEDS_IN_ORDER.length - rank : rank;
}

function happeningsOf(change: Change, after: Snapshot, before: Snapshot): readonly Happening[] {
  switch (change.kind) {
    case 'service':
      return serviceHappening(change);
    case 'network':
      return networkHappening(change);
    case 'node':
      return nodeHappening(change);
    case 'task':
      return taskHappenings(change, after, before);
    case 'presence':
    case 'suspicion':
      return nodeStateHappening(change, after, before);
    case 'bridge':
      return [];
  }
}

type ChangeOf<Kind extends Change['kind']> = Extract<Change, { readonly kind: Kind }>;

function serviceHappening({ before, after }: ChangeOf<'service'>): readonly Happening[] {
  const service = after ?? before;
  if (service === undefined) return [];
  const was = before && replicas(before.spec.mode);
  const is = after && replicas(after.spec.mode);
  const scaled: Readonly<Record<string, string>> =
    was !== undefined && is !== undefined && was !== is ? { 'replicas.new': is, 'replicas.old': was } : {};
  return [happening('service', actionOf(before, after, 'remove'), service.id, { name: service.spec.name, ...scaled })];
}

function replicas(mode: ServiceMode): string | undefined {
  return mode.kind === 'replicated' ? String(mode.replicas) : undefined;
}

/** A network of this node alone is destroyed, one of the cluster is removed: Docker has both words. */
function networkHappening({ before, after }: ChangeOf<'network'>): readonly Happening[] {
  const network = after ?? before;
  if (network === undefined) return [];
  const { name, driver } = network.spec;
  const local = driver === 'local';
  const action = actionOf(before, after, local ? 'destroy' : 'remove');
  return [{ ...happening('network', action, network.id, { name, type: driver }), scope: local ? 'local' : 'swarm' }];
}

function nodeHappening({ before, after }: ChangeOf<'node'>): readonly Happening[] {
  const node = after ?? before;
  if (node === undefined) return [];
  const moved: Readonly<Record<string, string>> =
    before !== undefined && after !== undefined && before.availability !== after.availability
      ? { 'availability.new': after.availability, 'availability.old': before.availability }
      : {};
  return [happening('node', actionOf(before, after, 'remove'), node.id, { name: node.name, ...moved })];
}

/** As Docker tells it: the node's state is a part of the node. */
function nodeStateHappening(
  { before, after }: ChangeOf<'presence'> | ChangeOf<'suspicion'>,
  now: Snapshot,
  then: Snapshot,
): readonly Happening[] {
  const id = (after ?? before)?.id;
  if (id === undefined) return [];
  const [old, state] = [nodeState(then, id), nodeState(now, id)];
  if (old === state) return [];
  const name = (now.nodes.get(id) ?? then.nodes.get(id))?.name ?? id;
  return [happening('node', 'update', id, { name, 'state.new': state, 'state.old': old })];
}

function taskHappenings({ before, after }: ChangeOf<'task'>, now: Snapshot, then: Snapshot): readonly Happening[] {
  const task = after ?? before;
  if (task === undefined) return [];
  const one = (action: string) => happening('task', action, task.id, taskAttributes(task, now, then));
  if (after === undefined) return [one('remove')];
  const actions: string[] = before === undefined ? ['create'] : [];
  if (after.state !== before?.state && after.state === 'running') actions.push('start');
  if (after.state !== before?.state && after.state === 'draining') actions.push('drain');
  if (after.health !== before?.health && (after.health === 'healthy' || after.health === 'unhealthy'))
    actions.push(`health_status: ${after.health}`);
  return (actions.length === 0 ? ['update'] : actions).map(one);
}

/** As Docker names them on the containers of a service. */
function taskAttributes(task: Task, now: Snapshot, then: Snapshot): Readonly<Record<string, string>> {
  const snapshot = now.services.has(task.serviceId) ? now : then;
  const networks = task.attachments.map(({ networkId }) => networkId).join(',');
  return {
    name: task.name,
    'com.docker.swarm.node.id': task.nodeId,
    'com.docker.swarm.service.id': task.serviceId,
    'com.docker.swarm.service.name': serviceName(snapshot, task.serviceId),
    ...(networks === '' ? {} : { networks }),
  };
}

function actionOf(before: unknown, after: unknown, gone: string): string {
  if (after === undefined) return gone;
  return before === undefined ? 'create' : 'update';
}

function happening(
  Type: DockerEvent['Type'],
  Action: string,
  ID: string,
  Attributes: Readonly<Record<string, string>>,
): Happening {
  return { Type, Action, Actor: { ID, Attributes: { ...Attributes } }, scope: 'swarm' };
}

type EventTest = (event: Happening, value: string) => boolean;

/** Of an event about that object; tasks also count to their service, node and networks. */
function about(
  type: DockerEvent['Type'],
  ofTask: (attributes: Readonly<Record<string, string>>) => readonly (string | undefined)[],
): EventTest {
  return ({ Type, Actor }, value) => {
    if (Type === type) return Actor.Attributes.name === value || (value !== '' && Actor.ID.startsWith(value));
    return Type === 'task' && ofTask(Actor.Attributes).includes(value);
  };
}

const NEVER: EventTest = () => false;

/** Docker's filters of events. Those for what is not here are known and let nothing through. */
const EVENT_TESTS: Readonly<Record<string, EventTest>> = {
  type: ({ Type }, value) => Type === value,
  event: ({ Action }, value) => Action === value || Action.startsWith(`${value}:`),
  scope: ({ scope }, value) => scope === value,
  service: about('service', (task) => [task['com.docker.swarm.service.name'], task['com.docker.swarm.service.id']]),
  network: about('network', (task) => task.networks?.split(',') ?? []),
  node: about('node', (task) => [task['com.docker.swarm.node.id']]),
  task: about('task', () => []),
  label: ({ Actor }, value) => {
    const [key = '', wanted] = value.split(/=(.*)/s);
    return wanted === undefined ? Object.hasOwn(Actor.Attributes, key) : Actor.Attributes[key] === wanted;
  },
  container: NEVER,
  config: NEVER,
  daemon: NEVER,
  image: NEVER,
  plugin: NEVER,
  secret: NEVER,
  volume: NEVER,
};

/** Throws ApiError BAD_REQUEST when a filter is none of Docker's. */
export function refuseUnknownEventFilters(filters: Filters): void {
  for (const key of filters.keys()) {
    if (!Object.hasOwn(EVENT_TESTS, key))
      throw new ApiError(
        'BAD_REQUEST',
        `invalid filter '${key}'; known ones are ${Object.keys(EVENT_TESTS).join(', ')}`,
      );
  }
}

export function eventMatches(event: Happening, filters: Filters): boolean {
  return [...filters].every(([key, values]) => {
    const test = EVENT_TESTS[key] ?? NEVER;
    return values.length === 0 || values.some((value) => test(event, value));
  });
}
