// `healthcheck`: Docker's command checks → HealthCheck.
import { EXEC_PROBE_DEFAULTS, type HealthCheck, type Probe } from '../model/service.ts';
import { quote } from './diagnostics.ts';
import type { Reader } from './reader.ts';
import type { Entry, Tree } from './tree.ts';

const KEYS = {
  path: 'services.*.healthcheck',
  used: ['test', 'interval', 'timeout', 'retries', 'start_period', 'disable'],
  unused: ['start_interval'],
} as const;

/** `none`: switched off. Undefined: nothing to check by, or an error that was reported. */
export function readHealthcheck(reader: Reader, tree: Tree, what: string): HealthCheck | 'none' | undefined {
  const fields = reader.fields(tree, what, KEYS);
  if (fields === undefined) return undefined;
  const timing = readTiming(reader, fields, what, EXEC_PROBE_DEFAULTS);
  const test = fields.get('test')?.value;
  const probe = test === undefined ? undefined : readTest(reader, test, `${what}.test`);
  const disable = fields.get('disable')?.value;
  if (disable !== undefined && reader.boolean(disable, `${what}.disable`) === true) {
    if (typeof probe === 'object')
      reader.diagnostics.error(disable.place, `${what}: "disable: true" and "test" contradict each other`);
    return 'none';
  }
  if (test === undefined) {
    reader.diagnostics.warn(
      tree.place,
      `${what} has no "test" (an image's own check is not known here), so nothing is checked`,
    );
    return undefined;
  }
  return typeof probe === 'object' ? { probe, ...timing } : probe;
}

export type Timing = Omit<HealthCheck, 'probe'>;

/** `interval`, `timeout`, `retries`, `start_period`; 0 means the default, as in Docker. */
export function readTiming(reader: Reader, fields: ReadonlyMap<string, Entry>, what: string, defaults: Timing): Timing {
  const duration = (key: string, fallback: number): number => {
    const value = fields.get(key)?.value;
    return (value === undefined ? undefined : reader.duration(value, `${what}.${key}`)) || fallback;
  };
  const retries = fields.get('retries')?.value;
  return {
    intervalMs: duration('interval', defaults.intervalMs),
    timeoutMs: duration('timeout', defaults.timeoutMs),
    retries: (retries === undefined ? undefined : reader.integer(retries, `${what}.retries`, 1000)) || defaults.retries,
    startPeriodMs: duration('start_period', defaults.startPeriodMs),
  };
}

function readTest(reader: Reader, tree: Tree, what: string): Probe | 'none' | undefined {
  if (tree.kind === 'scalar') {
    const command = reader.text(tree, what);
    if (command === undefined) return undefined;
    if (command.trim() === '') return fail(reader, tree, `${what} is empty`);
    return { kind: 'exec', command: [command], shell: true };
  }
  const items = reader.list(tree, what)?.items;
  const words = items?.map((item) => reader.text(item, what));
  if (words === undefined || !words.every((word) => word !== undefined)) return undefined;
  const [kind, ...command] = words;
  if (kind === 'NONE') return 'none';
  if (kind !== 'CMD' && kind !== 'CMD-SHELL') {
    return fail(reader, tree, `${what} begins with "CMD", "CMD-SHELL" or "NONE", not ${quote(kind ?? '')}`);
  }
  if (command.length === 0) return fail(reader, tree, `${what} has no command behind "${kind}"`);
  return { kind: 'exec', command: kind === 'CMD' ? command : [command.join(' ')], shell: kind === 'CMD-SHELL' };
}

function fail(reader: Reader, tree: Tree, message: string): undefined {
  reader.diagnostics.error(tree.place, message);
  return undefined;
}
