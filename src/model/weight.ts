// Weights: how large an endpoint's share of new connections is, beside the others of its service.

/** HAProxy stops at 256; with more places a round of turns would not be smoother, only longer. */
export const MAX_WEIGHT = 256;

/** As the end of a sentence that began with what was given. */
export const WEIGHT_RULE = `should be a whole number from 0 (no new connections) to ${MAX_WEIGHT}`;

/** What has no weight of its own counts once. */
export function weightOf({ weight = 1 }: { readonly weight?: number }): number {
  return weight;
}

export function isWeight(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= MAX_WEIGHT;
}

/** Undefined when the text is no weight. */
export function parseWeight(text: string): number | undefined {
  return /^\d{1,3}$/.test(text) && isWeight(Number(text)) ? Number(text) : undefined;
}
