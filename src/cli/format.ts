// `--format`: json, table, or text with fields in it such as '{{.Name}} {{.Ports}}', as Docker's commands take them. PURE.
import { CliError } from './shell.ts';
import { formatTable } from './table.ts';

/** One field of a list: its name in templates and JSON, its heading in tables. */
export interface Column {
  readonly field: string;
  readonly heading: string;
  /** What the table shows, where that is not the field alone. */
  readonly cell?: (row: Row) => string;
}

export type Row = Readonly<Record<string, string | boolean>>;

export interface ListOptions {
  readonly format?: string;
  readonly quiet?: boolean;
}

/**
 * A list as text. `columns` are those of the plain table; rows may hold more fields. Quiet: field `ID` alone. JSON is one
 * object a line, keys sorted, as Docker prints it. Throws CliError for a template that names an unknown field.
 */
export function formatList(
  columns: readonly Column[],
  rows: readonly Row[],
  fields: readonly string[],
  options: ListOptions,
): string {
  const { format } = options;
  if (options.quiet === true && format === undefined) return rows.map((row) => `${row.ID ?? ''}\n`).join('');
  if (format === 'json') return rows.map((row) => `${JSON.stringify(sorted(row))}\n`).join('');
  if (format === undefined || format === 'table') {
    return formatTable(
      columns.map(({ heading }) => heading),
      rows.map((row) => columns.map(({ field, cell }) => cell?.(row) ?? String(row[field] ?? ''))),
    );
  }
  return format.startsWith('table ')
    ? templateTable(columns, rows, fields, format)
    : templateLines(rows, fields, format);
}

/** Objects as `inspect` prints them: a JSON array, or a line for each by a template. */
export function formatObjects(objects: readonly unknown[], format: string | undefined): string {
  if (format === undefined) return `${JSON.stringify(objects, null, 4)}\n`;
  if (format === 'json') return `${JSON.stringify(objects)}\n`;
  const render = compile(format, undefined);
  return objects.map((object) => `${render(object)}\n`).join('');
}

/** 12 characters are enough to tell objects apart, and fit a table. */
export function shortId(id: string, noTrunc: boolean | undefined): string {
  return noTrunc === true ? id : id.slice(0, 12);
}

function templateTable(
  columns: readonly Column[],
  rows: readonly Row[],
  fields: readonly string[],
  format: string,
): string {
  const cells = format.slice('table '.length).replaceAll('\\t', '\t').split('\t');
  const headings: Record<string, string> = Object.fromEntries(fields.map((field) => [field, field.toUpperCase()]));
  for (const { field, heading } of columns) headings[field] = heading;
  const renderers = cells.map((cell) => compile(cell, fields));
  return formatTable(
    renderers.map((render) => render(headings)),
    rows.map((row) => renderers.map((render) => render(row))),
  );
}

function templateLines(rows: readonly Row[], fields: readonly string[], format: string): string {
  const render = compile(format, fields);
  return rows.map((row) => `${render(row)}\n`).join('');
}

/** A template's parts: `{{.A.B}}`, `{{json .A}}`, `{{json .}}`, and text. `fields`: the only ones that there are. */
function compile(format: string, fields: readonly string[] | undefined): (value: unknown) => string {
  const text = format.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
  const parts: ((value: unknown) => string)[] = [];
  let at = 0;
  for (const match of text.matchAll(/\{\{\s*(.*?)\s*\}\}/g)) {
    const before = text.slice(at, match.index);
    parts.push(() => before, expression(match[1] ?? '', fields));
    at = match.index + match[0].length;
  }
  const rest = text.slice(at);
  if (parts.length === 0) {
    throw new CliError(
      'USAGE',
      `--format should be json, table or text with fields such as '{{.Name}}', not "${format}"`,
    );
  }
  parts.push(() => rest);
  return (value) => parts.map((part) => part(value)).join('');
}

function expression(text: string, fields: readonly string[] | undefined): (value: unknown) => string {
  const match = /^(json\s+)?\.((?:[A-Za-z_][A-Za-z0-9_]*)?(?:\.[A-Za-z_][A-Za-z0-9_]*)*)$/.exec(text);
  if (match === null) {
    throw new CliError(
      'USAGE',
      `{{${text}}} is not understood; a template has fields such as {{.Name}} and {{json .Name}}`,
    );
  }
  const path = match[2] === '' ? [] : (match[2] ?? '').split('.');
  const [first] = path;
  if (fields !== undefined && first !== undefined && !fields.includes(first)) {
    throw new CliError('USAGE', `there is no field {{.${first}}}; there are ${fields.join(', ')}`);
  }
  const asJson = match[1] !== undefined;
  return (value) => {
    const found = path.reduce<unknown>(member, value);
    return asJson ? JSON.stringify(found ?? null) : plain(found);
  };
}

function member(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return Object.entries(value).find(([name]) => name === key)?.[1];
}

/** As Go's templates print an absent value. */
function plain(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function sorted(row: Row): Row {
  return Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)));
}
