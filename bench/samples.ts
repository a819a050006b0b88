// Repeated measurements, and what is told of them.

/** Contender → one value per round. */
export type Samples = ReadonlyMap<string, readonly number[]>;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** The value below which `share` (0 to 1) of all values lie. Sorts what it is given. */
export function quantile(values: Float64Array, share: number): number {
  values.sort();
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
}

/**
 * Measures every contender once per round, each round beginning with another, so that what changes on the machine meanwhile
 * falls on all of them alike.
 */
export async function alternate<Contender extends { readonly name: string }, Result>(
  contenders: readonly Contender[],
  rounds: number,
  measure: (contender: Contender, round: number) => Promise<Result>,
): Promise<ReadonlyMap<string, readonly Result[]>> {
  const results = new Map(contenders.map(({ name }) => [name, [] as Result[]]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(round + i) % contenders.length] as Contender;
      results.get(contender.name)?.push(await measure(contender, round));
    }
  }
  return results;
}

/** One number of each result. */
export function pick<Result>(
  results: ReadonlyMap<string, readonly Result[]>,
  value: (result: Result) => number,
): Samples {
  return new Map([...results].map(([name, list]) => [name, list.map(value)]));
}
