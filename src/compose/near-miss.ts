// What a misspelt word was probably meant to be. PURE.

/** ` (did you mean "services"?)`, or nothing when no candidate is near. */
export function suggestion(word: string, candidates: Iterable<string>): string {
  const found = nearest(word, candidates);
  return found === undefined ? '' : ` (did you mean "${found}"?)`;
}

/** A file with thousands of services is no place for guesses. */
const MAX_CANDIDATES = 500;

/**
 * The candidate that differs least, when that is at most two slips (one in words of up to four letters); case, `-` and `_` do
 * not count.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  // Nobody misspells a key by making it this long, and the distance costs the product of both lengths.
  if (word.length > 64) return undefined;
  const bare = plain(word);
  let best: { readonly candidate: string; readonly distance: number } | undefined;
  let looks = 0;
  for (const candidate of candidates) {
    // Two lengths that differ by more than hyphens and slips can be no near miss.
    if (Math.abs(candidate.length - word.length) > 5) continue;
    if (++looks > MAX_CANDIDATES) break;
    const distance = editDistance(bare, plain(candidate));
    const allowed = Math.min(bare.length, candidate.length) <= 4 ? 1 : 2;
    if (distance <= allowed && (best === undefined || distance < best.distance)) best = { candidate, distance };
  }
  return best?.candidate;
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[-_]/g, '');
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
