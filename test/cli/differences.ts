// Two JSON values compared as a reader would: what is only in one of them, and what differs.

/** Fields whose values differ by nature, and what both of them look like. */
const VARYING: Readonly<Record<string, RegExp>> = {
  ID: /^[a-z0-9]{25}$/,
  Id: /^([a-z0-9]{25}|[0-9a-f]{64})$/,
  NetworkID: /^[a-z0-9]{25}$/,
  Target: /^[a-z0-9]{25}$/,
  Index: /^\d+$/,
  CreatedAt: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$/,
  UpdatedAt: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$/,
  Created: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$/,
  Addr: /^\d+\.\d+\.\d+\.\d+(\/\d+)?$/,
  Subnet: /^\d+\.\d+\.\d+\.\d+\/\d+$/,
  PublishedPort: /^\d+$/,
  RunningTasks: /^\d+$/,
  DesiredTasks: /^\d+$/,
};

/** A line for each difference; types count, and so does null against absent. */
export function differences(ours: unknown, docker: unknown, path = ''): readonly string[] {
  if (Array.isArray(ours) && Array.isArray(docker)) return listDifferences(ours, docker, path);
  if (isObject(ours) && isObject(docker)) return objectDifferences(ours, docker, path);
  const pattern = VARYING[path.slice(path.lastIndexOf('.') + 1)];
  const alike = pattern?.test(String(ours)) === true && pattern.test(String(docker));
  if (ours === docker || (alike && typeof ours === typeof docker)) return [];
  return [`${path} ${JSON.stringify(ours)}, Docker: ${JSON.stringify(docker)}`];
}

type JsonObject = Readonly<Record<string, unknown>>;

function objectDifferences(ours: JsonObject, docker: JsonObject, path: string): readonly string[] {
  const missing = Object.keys(docker).filter((key) => !Object.hasOwn(ours, key));
  return [
    ...Object.entries(ours).flatMap(([key, value]) =>
      Object.hasOwn(docker, key) ? differences(value, docker[key], `${path}.${key}`) : [`${path}.${key} only here`],
    ),
    ...(missing.length === 0 ? [] : [`${path} only in Docker: ${missing.join(', ')}`]),
  ];
}

function listDifferences(ours: readonly unknown[], docker: readonly unknown[], path: string): readonly string[] {
  return Array.from({ length: Math.max(ours.length, docker.length) }, (_, n) => {
    if (n >= docker.length) return [`${path}[${n}] only here`];
    if (n >= ours.length) return [`${path}[${n}] only in Docker`];
    return differences(ours[n], docker[n], `${path}[${n}]`);
  }).flat();
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
