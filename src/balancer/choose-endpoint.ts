// PURE: which endpoint gets a connection. The turn, a counter that all workers of a node share, comes in as an argument.

/** Longest order: beyond it weights are rounded, each endpoint keeping at least one place. */
const MOST_PLACES = 4096;

/**
 * One round: the index of an endpoint for each turn, in which every endpoint has as many places as its weight, spread as
 * evenly as they go (smooth weighted round-robin as in nginx: of `weights` 1 and 2 the order is 1 0 1, never 1 1 0). Empty
 * without endpoints.
 */
export function roundOf(weights: readonly number[]): Uint16Array {
  const shares = reduce(weights);
  const total = shares.reduce((sum, share) => sum + share, 0);
  const round = new Uint16Array(total);
  const credit = new Array<number>(shares.length).fill(0);
  for (let turn = 0; turn < total; turn++) {
    let best = 0;
    for (let i = 0; i < shares.length; i++) {
      credit[i] = (credit[i] as number) + (shares[i] as number);
      if ((credit[i] as number) > (credit[best] as number)) best = i;
    }
    credit[best] = (credit[best] as number) - total;
    round[turn] = best;
  }
  return round;
}

/** Index of the endpoint whose turn it is; -1 when there is none. `turn` is any 32-bit integer, negative ones included. */
export function chooseEndpoint(round: Uint16Array, turn: number): number {
  return round.length === 0 ? -1 : (round[(turn >>> 0) % round.length] as number);
}

/**
 * For another attempt: the first endpoint from this turn on whose slot was not tried yet; -1 when all were. Endpoints may have
 * come and gone since the attempt before, hence slots and not indexes.
 */
export function chooseAnother(
  round: Uint16Array,
  slots: readonly number[],
  turn: number,
  tried: readonly number[],
): number {
  for (let step = 0; step < round.length; step++) {
    const index = round[((turn >>> 0) + step) % round.length] as number;
    if (!tried.includes(slots[index] as number)) return index;
  }
  return -1;
}

/** The same proportions in the smallest whole numbers. */
function reduce(weights: readonly number[]): number[] {
  const divisor = weights.reduce(greatestCommonDivisor, 0);
  const shares = weights.map((weight) => weight / divisor);
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (total <= Math.max(MOST_PLACES, weights.length)) return shares;
  return shares.map((share) => Math.max(1, Math.round((share * MOST_PLACES) / total)));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
