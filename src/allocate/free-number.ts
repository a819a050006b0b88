// The next free number of a range, in a circle behind the last one. PURE.

export interface NumberRange {
  readonly first: number;
  readonly last: number;
}

/** What is not to be had, as a set says it. */
export interface TakenNumbers {
  has(number: number): boolean;
}

/** Undefined when all are taken. Never more steps than there are taken ones, and one. */
export function nextNumber(range: NumberRange, taken: TakenNumbers, last?: number): number | undefined {
  const size = range.last - range.first + 1;
  const inside = last !== undefined && last >= range.first && last <= range.last;
  let candidate = inside ? last + 1 : range.first;
  for (let step = 0; step < size; step++, candidate++) {
    if (candidate > range.last) candidate = range.first;
    if (!taken.has(candidate)) return candidate;
  }
  return undefined;
}
