// `KEY=VALUE,KEY=VALUE`, the long form of Docker's flags, and the labels and options that are one such pair. PURE.
import { CliError } from './shell.ts';

/**
 * Each field's values, in order. A value may stand in double quotes to hold a comma, as in CSV. Throws CliError for a field
 * that is not one of `known`, and for one without a value.
 */
export function parseFields<Field extends string>(
  flag: string,
  text: string,
  known: readonly Field[],
): ReadonlyMap<Field, readonly string[]> {
  const fields = new Map<Field, readonly string[]>();
  for (const part of text.match(/(?:"(?:[^"]|"")*"|[^,"])+/g) ?? []) {
    const plain = part.replaceAll(/"((?:[^"]|"")*)"/g, (_, quoted: string) => quoted.replaceAll('""', '"'));
    const equals = plain.indexOf('=');
    const key = known.find((field) => field === plain.slice(0, Math.max(equals, 0)).trim().toLowerCase());
    if (key === undefined) {
      const field = equals < 0 ? plain : plain.slice(0, equals);
      throw new CliError('USAGE', `${flag} "${text}": there is no field "${field}"; there are ${known.join(', ')}`);
    }
    const value = plain.slice(equals + 1).trim();
    if (value === '') throw new CliError('USAGE', `${flag} "${text}": ${key} has no value`);
    fields.set(key, [...(fields.get(key) ?? []), value]);
  }
  return fields;
}

/** `tier=front` and `canary` (whose value is empty), given any number of times; of equal keys the last counts. Throws CliError. */
export function parseLabels(flag: string, labels: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(
    (labels ?? []).map((label) => {
      const equals = label.indexOf('=');
      const key = (equals < 0 ? label : label.slice(0, equals)).trim();
      if (key === '') throw new CliError('USAGE', `${flag} should be KEY=VALUE, such as tier=front, not "${label}"`);
      return [key, equals < 0 ? '' : label.slice(equals + 1)];
    }),
  );
}

/** Labels after `--label-rm` and then `--label-add`; one that is to go and is not there is no error, as in Docker. */
export function changeLabels(
  labels: Readonly<Record<string, string>>,
  changes: { readonly labelAdd?: readonly string[]; readonly labelRm?: readonly string[] },
): Record<string, string> {
  const kept = Object.entries(labels).filter(([key]) => changes.labelRm?.includes(key) !== true);
  return { ...Object.fromEntries(kept), ...parseLabels('--label-add', changes.labelAdd) };
}
