// From what was measured to rows of the report's tables.
import type { Measure } from '../report.ts';

/** A row: its title, digits after the point, what it shows of each measurement, and what the worst of that may be, in all columns or by column. */
type Row<T> = (
  title: string,
  digits: number,
  value: (one: T) => number | readonly number[],
  most?: number | ReadonlyMap<string, number>,
) => Measure;

/** For a table whose columns are these, each with one or more measurements. */
export function rowsOf<T>(columns: ReadonlyMap<string, readonly T[]>): Row<T> {
  const inAll = (most: number) => new Map([...columns.keys()].map((column) => [column, most]));
  return (title, digits, value, most) => ({
    title,
    digits,
    samples: new Map([...columns].map(([column, all]) => [column, all.flatMap(value)])),
    ...(most === undefined ? {} : { goal: { kind: 'worst', most: typeof most === 'number' ? inAll(most) : most } }),
  });
}
