// What a user means by a name: a whole name, an id, a name within any stack, or the beginning of an id. PURE.
import { suggestion } from '../compose/near-miss.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { shortName } from '../model/name.ts';
import type { Network } from '../model/network.ts';
import type { Node } from '../model/node.ts';
import type { Service } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import { ControlError } from './errors.ts';

/** Throws ControlError `not-found` or `ambiguous`. */
export function findService(snapshot: Snapshot, text: string): Service {
  const id = snapshot.serviceByName.get(text);
  const named = id === undefined ? undefined : snapshot.services.get(id);
  const found = named ?? snapshot.services.get(text as Service['id']);
  return found ?? find('service', text, [...snapshot.services.values()].map(candidateOf));
}

/** Throws ControlError `not-found` or `ambiguous`. */
export function findNetwork(snapshot: Snapshot, text: string): Network {
  const id = snapshot.networkByName.get(text);
  const named = id === undefined ? undefined : snapshot.networks.get(id);
  const found = named ?? snapshot.networks.get(text as Network['id']);
  return found ?? find('network', text, [...snapshot.networks.values()].map(candidateOf));
}

/** Throws ControlError `not-found` or `ambiguous`. `SERVICE.SLOT` is taken too. */
export function findTask(snapshot: Snapshot, text: string): Task {
  // Programs use whole ids, and there may be tens of thousands of tasks. Nobody calls a task by 25 letters of another one's.
  const found = snapshot.tasks.get(text as Task['id']);
  if (found !== undefined) return found;
  const candidates = [...snapshot.tasks.values()].map((task) => {
    const service = snapshot.services.get(task.serviceId);
    return { value: task, id: task.id, name: task.name, short: service && `${service.spec.name}.${task.slot}` };
  });
  return find('task', text, candidates);
}

/** Throws ControlError `not-found` or `ambiguous`. */
export function findNode(snapshot: Snapshot, text: string): Node {
  const candidates = [...snapshot.nodes.values()].map((node) => ({
    value: node,
    id: node.id,
    name: node.name,
    short: undefined,
  }));
  return find('node', text, candidates);
}

interface Candidate<T> {
  readonly value: T;
  readonly id: string;
  readonly name: string;
  readonly short: string | undefined;
}

function candidateOf<T extends Service | Network>(value: T): Candidate<T> {
  return { value, id: value.id, name: value.spec.name, short: shortName(value.spec.name, value.spec.labels) };
}

/** A name goes before the beginning of an id: ids are made of letters too, and nobody chose them. */
function find<T>(what: string, text: string, candidates: readonly Candidate<T>[]): T {
  const rules: readonly ((candidate: Candidate<T>) => boolean)[] = [
    ({ name }) => name === text,
    ({ id }) => id === text,
    ({ short }) => short === text,
    ({ id }) => text.length > 0 && id.startsWith(text),
  ];
  for (const rule of rules) {
    const [first, ...more] = candidates.filter(rule);
    if (first !== undefined && more.length === 0) return first.value;
    if (first !== undefined) throw ambiguous(what, text, [first, ...more]);
  }
  const names = candidates.flatMap(({ name, short }) => (short === undefined ? [name] : [name, short]));
  throw new ControlError('not-found', `no ${what} is called ${JSON.stringify(text)}${suggestion(text, names)}`);
}

function ambiguous<T>(what: string, text: string, found: readonly Candidate<T>[]): ControlError {
  const names = found.map(({ name, id }) => `${name} (${id.slice(0, 12)})`).sort();
  const listed = names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ');
  return new ControlError('ambiguous', `${what} ${JSON.stringify(text)} may mean ${listed}; write the whole name`);
}
