// Where an answer came from, and how answers are counted by scope. PURE.
import { BADVERS } from './wire.ts';

/**
 * `failed`: no upstream could say, and nothing stood in; `rejected`: what came was no question that can be answered. The first five
 * are counted over all scopes at TOTAL.dnsAnswersLocal and behind it, in this order.
 */
export const ANSWER_SOURCES = ['local', 'cached', 'forwarded', 'stale', 'refused', 'failed', 'rejected'] as const;
export type AnswerSource = (typeof ANSWER_SOURCES)[number];

/** Indexes of ANSWER_SOURCES: what is counted for every answer is not looked up by name. */
export const SOURCE = { local: 0, cached: 1, forwarded: 2, stale: 3, refused: 4, failed: 5, rejected: 6 } as const;

/** The rcodes that fit a header. */
const RCODES = 16;

/** Numbers that a worker counts for each scope. */
export const SCOPE_COUNTS = ANSWER_SOURCES.length * RCODES;

/** Where answers of this source (an index) with this rcode are counted; extended rcodes as what stands in the header. */
export function placeInScope(source: number, rcode: number): number {
  return source * RCODES + (rcode & (RCODES - 1));
}

/** What was counted at a place. What is rejected is an error, so 0 is BADVERS there, whose low bits it is. */
export function countedAt(place: number): { readonly source: AnswerSource; readonly rcode: number } {
  const source = ANSWER_SOURCES[Math.floor(place / RCODES)] ?? 'rejected';
  const rcode = place % RCODES;
  return { source, rcode: source === 'rejected' && rcode === 0 ? BADVERS : rcode };
}
