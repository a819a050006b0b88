// PURE: Docker's `filters` parameter: JSON of lists, `{"name":["web"],"label":["tier=front"]}`. Values of one key are
// alternatives (labels: all must hold), keys must all hold.
import type { Snapshot } from '../catalog/snapshot.ts';
import type { Network } from '../model/network.ts';
import type { Node } from '../model/node.ts';
import type { Service } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import { ApiError } from './errors.ts';

export type Filters = ReadonlyMap<string, readonly string[]>;

/** Docker's filters of a prune: labels that must or must not be there, and the time (seconds) before which it was made. */
export function isPruned(network: Network, filters: Filters): boolean {
  const { labels } = network.spec;
  return holds(filters, {
    label: (value) => hasLabel(labels, value),
    'label!': (value) => !hasLabel(labels, value),
    until: (value) => network.createdAt <= pruneTime(value) * 1000,
  });
}

function pruneTime(value: string): number {
  if (/^\d{1,11}(\.\d{1,9})?$/.test(value)) return Number(value);
  throw new ApiError('BAD_REQUEST', `filter until=${value} should be seconds since the epoch`);
}

/** Both of Docker's spellings: `{"name":["a"]}` and the older `{"name":{"a":true}}`. Throws ApiError BAD_REQUEST. */
export function parseFilters(text: string | undefined): Filters {
  if (text === undefined || text === '') return new Map();
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw malformed(cause);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw malformed();
  return new Map(Object.entries(parsed).map(([key, value]) => [key, filterValues(value)]));
}

export function serviceMatches(service: Service, filters: Filters): boolean {
  const { spec } = service;
  return holds(filters, {
    id: (value) => service.id.startsWith(value),
    name: (value) => spec.name.startsWith(value),
    mode: (value) => spec.mode.kind === value,
    runtime: (value) => value === 'container',
    label: (value) => hasLabel(spec.labels, value),
  });
}

export function taskMatches(task: Task, filters: Filters, snapshot: Snapshot): boolean {
  const service = snapshot.services.get(task.serviceId);
  return holds(filters, {
    id: (value) => task.id.startsWith(value),
    name: (value) => task.name.startsWith(value),
    service: (value) => task.serviceId.startsWith(value) || service?.spec.name === value,
    node: (value) => task.nodeId.startsWith(value) || snapshot.nodes.get(task.nodeId)?.name === value,
    'desired-state': (value) => (task.state === 'draining' ? 'shutdown' : 'running') === value,
    runtime: (value) => value === 'container',
    // Docker's client asks for tasks of the newest spec while it waits for an update; here all are.
    '_up-to-date': (value) => value === 'true' || value === '1',
    label: (value) => hasLabel(service?.spec.labels ?? {}, value),
  });
}

export function networkMatches(network: Network, filters: Filters, snapshot: Snapshot): boolean {
  const { spec } = network;
  return holds(filters, {
    id: (value) => network.id.startsWith(value),
    name: (value) => spec.name.includes(value),
    driver: (value) => spec.driver === value,
    scope: (value) => (spec.driver === 'overlay' ? 'swarm' : 'local') === value,
    type: (value) => value === 'custom',
    dangling: (value) => ['true', '1'].includes(value) !== snapshot.servicesByNetwork.has(network.id),
    label: (value) => hasLabel(spec.labels, value),
  });
}

export function nodeMatches(node: Node, filters: Filters): boolean {
  return holds(filters, {
    id: (value) => node.id.startsWith(value),
    name: (value) => node.name.startsWith(value),
    role: (value) => value === 'manager',
    membership: (value) => value === 'accepted',
    'node.label': (value) => hasLabel(node.labels, value),
    label: (value) => hasLabel(node.labels, value),
  });
}

type Tests = Readonly<Record<string, (value: string) => boolean>>;

/** Throws ApiError BAD_REQUEST when a filter is none of the tests. */
export function holds(filters: Filters, tests: Tests): boolean {
  for (const [key, values] of filters) {
    const test = Object.hasOwn(tests, key) ? tests[key] : undefined;
    if (test === undefined) {
      throw new ApiError('BAD_REQUEST', `invalid filter '${key}'; known ones are ${Object.keys(tests).join(', ')}`);
    }
    if (values.length === 0) continue;
    const matches = /label!?$/.test(key) ? values.every(test) : values.some(test);
    if (!matches) return false;
  }
  return true;
}

export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  if (equals < 0) return Object.hasOwn(labels, wanted);
  return labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
}

function filterValues(value: unknown): readonly string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed();
  return Object.entries(value).flatMap(([key, on]) => (on === true ? [key] : []));
}

function malformed(cause?: unknown): ApiError {
  return new ApiError('BAD_REQUEST', 'filters should be a JSON object of lists, like {"name":["web"]}', { cause });
}
