// `--weight N`, as several commands take it.
import { InvalidArgumentError } from 'commander';
import { parseWeight, WEIGHT_RULE } from '../model/weight.ts';

export const WEIGHT_HELP = 'share of new connections beside the others (default: 1; 0: none)';

/** Throws InvalidArgumentError, which commander reports with the flag. */
export function readWeight(text: string): number {
  const weight = parseWeight(text);
  if (weight === undefined) throw new InvalidArgumentError(`It ${WEIGHT_RULE}.`);
  return weight;
}
