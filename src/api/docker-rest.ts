// PURE: the parts of Docker's ServiceSpec that have no meaning here. They are kept in their own places and shown again.
import { ApiError } from './errors.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** As much as etcd takes in one record, with room for the rest of the service, twice (the spec before is kept too). */
const MAX_KEPT_BYTES = 256 * 1024;
/** Docker's own specs are 6 deep; walking what is nested without end would exhaust the stack. */
const MAX_DEPTH = 32;

/** What is read or fixed here, by place; the rest is kept. */
const MEANT = {
  spec: ['Name', 'Labels', 'Mode', 'Networks', 'Vipmesh', 'TaskTemplate', 'EndpointSpec'],
  template: ['Networks', 'Runtime', 'ContainerSpec'],
  container: ['Healthcheck'],
  health: ['Test', 'Interval', 'Timeout', 'Retries', 'StartPeriod'],
  endpoint: ['Mode', 'Ports'],
} as const;

/** Undefined: nothing is left. Throws ApiError BAD_REQUEST when it is too much. */
export function keptOfSpec(request: JsonObject): JsonObject | undefined {
  const given = objectOf(request.TaskTemplate);
  const containerSpec = objectOf(given.ContainerSpec);
  const health = objectOf(containerSpec.Healthcheck);
  // Without a test it is the timing of one that is in the image.
  const isTest = Array.isArray(health.Test) && health.Test.length > 0;
  const container = {
    ...without(containerSpec, MEANT.container),
    ...unlessEmpty('Healthcheck', without(health, isTest ? MEANT.health : ['Test'])),
  };
  const template = { ...without(given, MEANT.template), ...unlessEmpty('ContainerSpec', container) };
  const endpoint = without(objectOf(request.EndpointSpec), MEANT.endpoint);
  // What every client sends, and every answer has, whether or not somebody meant it.
  if (template.ForceUpdate === 0) template.ForceUpdate = undefined;
  const rest = {
    ...without(request, MEANT.spec),
    ...unlessEmpty('TaskTemplate', without(template, [])),
    ...unlessEmpty('EndpointSpec', endpoint),
  };
  const kept = withoutNulls(rest, 0) as JsonObject;
  if (JSON.stringify(kept).length > MAX_KEPT_BYTES) {
    throw new ApiError(
      'BAD_REQUEST',
      `the service spec is larger than ${MAX_KEPT_BYTES / 1024} KiB without what vipmesh reads of it; leave out what is not about the network`,
    );
  }
  return Object.keys(kept).length === 0 ? undefined : kept;
}

export interface KeptParts {
  readonly spec: JsonObject;
  readonly template: JsonObject;
  readonly container: JsonObject;
  readonly health: JsonObject;
  readonly endpoint: JsonObject;
}

/** The same parts, to be laid around what is read. */
export function keptParts(kept: JsonObject = {}): KeptParts {
  const template = objectOf(kept.TaskTemplate);
  const container = objectOf(template.ContainerSpec);
  return {
    spec: without(kept, MEANT.spec),
    template: without(template, MEANT.template),
    container: without(container, MEANT.container),
    health: objectOf(container.Healthcheck),
    endpoint: without(objectOf(kept.EndpointSpec), MEANT.endpoint),
  };
}

function without(object: JsonObject, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).filter(([key, value]) => value !== undefined && !keys.includes(key)),
  );
}

function unlessEmpty(name: string, object: JsonObject): JsonObject {
  return Object.keys(object).length === 0 ? {} : { [name]: object };
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

/** Docker's clients write an empty field as null or not at all, which should not make two specs differ. */
function withoutNulls(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_DEPTH) throw new ApiError('BAD_REQUEST', `the service spec is nested more than ${MAX_DEPTH} deep`);
  if (Array.isArray(value)) return value.map((item) => withoutNulls(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== null && field !== undefined)
      .map(([key, field]) => [key, withoutNulls(field, depth + 1)]),
  );
}
