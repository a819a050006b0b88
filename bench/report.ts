// From samples to tables of Markdown.
import { median, type Samples } from './samples.ts';

export interface Measure {
  readonly title: string;
  readonly samples: Samples;
  /** Digits after the point. */
  readonly digits: number;
  /** What vipmesh is held against. */
  readonly goal?: Goal;
}

export type Goal =
  /** At least this part of the best of these. */
  | { readonly kind: 'ratio'; readonly of: readonly string[]; readonly atLeast: number }
  /** At most this part of the least of these. */
  | { readonly kind: 'least'; readonly of: readonly string[]; readonly atMost: number }
  /** `column`: what is held against it instead of the subject. */
  | { readonly kind: 'most'; readonly value: number; readonly column?: string }
  /** Column → what its worst value may be. */
  | { readonly kind: 'worst'; readonly most: ReadonlyMap<string, number> };

/** One row per measure, one column per contender: median, and the least and most of all rounds. */
export function table(contenders: readonly string[], measures: readonly Measure[], subject: string): string {
  const rows = measures.map((measure) => [
    measure.title,
    ...contenders.map((name) => cell(measure.samples.get(name), measure.digits)),
    verdict(measure, subject),
  ]);
  return [['', ...contenders, 'goal'], ['---', ...contenders.map(() => '--:'), '---'], ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

function cell(values: readonly number[] | undefined, digits: number): string {
  const known = (values ?? []).filter((value) => !Number.isNaN(value));
  if (known.length === 0) return '–';
  const text = (value: number): string =>
    value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const spread = known.length === 1 ? '' : ` (${text(Math.min(...known))}–${text(Math.max(...known))})`;
  return `${text(median(known))}${spread}`;
}

function verdict({ samples, goal }: Measure, subject: string): string {
  if (goal === undefined) return '';
  if (goal.kind === 'worst') return worstVerdict(samples, goal.most);
  const own = median(samples.get((goal.kind === 'most' ? goal.column : undefined) ?? subject) ?? []);
  if (goal.kind === 'most') return `≤ ${goal.value}: ${own <= goal.value ? 'met' : 'missed'}`;
  if (goal.kind === 'least') {
    const share = own / Math.min(...goal.of.map((name) => median(samples.get(name) ?? [])));
    return `${share.toFixed(2)} of ${peerOf(goal.of)}, ≤ ${goal.atMost}: ${share <= goal.atMost ? 'met' : 'missed'}`;
  }
  const best = Math.max(...goal.of.map((name) => median(samples.get(name) ?? [])));
  const ratio = own / best;
  return `${ratio.toFixed(2)} of ${peerOf(goal.of)}, ≥ ${goal.atLeast}: ${ratio >= goal.atLeast ? 'met' : 'missed'}`;
}

function peerOf(names: readonly string[]): string {
  return names.length === 1 ? (names[0] ?? '') : 'the better peer';
}

/** Columns with the same limit are judged together. */
function worstVerdict(samples: Samples, most: ReadonlyMap<string, number>): string {
  const limits = [...new Set(most.values())];
  const parts = limits.map((limit) => {
    const columns = [...most].flatMap(([column, value]) => (value === limit ? [column] : []));
    const values = columns.map((column) => samples.get(column) ?? []);
    // What was never measured is not met.
    const isMet = values.every((all) => all.length > 0 && Math.max(...all) <= limit);
    return `${limits.length === 1 ? '' : `${columns.join(', ')} `}≤ ${limit}: ${isMet ? 'met' : 'missed'}`;
  });
  return parts.join('; ');
}
