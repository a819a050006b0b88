// JSON with a few things wrong: bytes that were flipped, or values of another kind in some place.
import type { Random } from '../../../src/runtime/random.ts';

/** What no field expects, or one that expects something like it does not. */
const ODD: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1.5,
  65_536,
  1e300,
  '',
  'x',
  'tcp',
  '127.0.0.1',
  '999.1.1.1',
  '::',
  '0.0.0.0/0',
  '*',
  '.',
  'a'.repeat(300),
  '\u0000',
  '__proto__',
  [],
  {},
  [[]],
];

/** Often no JSON any more. */
export function flipBytes(text: string, random: Random): string {
  const bytes = Buffer.from(text);
  for (let flips = 1 + draw(random, 3); flips > 0; flips--) {
    const at = draw(random, bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << draw(random, 8));
  }
  return bytes.toString();
}

/** Always JSON: one place of it holds something odd, something from another place, twice the same, or nothing. */
export function disturb(text: string, random: Random): string {
  const value: unknown = JSON.parse(text);
  const places = placesOf(value);
  if (places.length === 0) return text;
  const pick = () => places[draw(random, places.length)] as Place;
  const { holder, name } = pick();
  const other = pick();
  switch (draw(random, 4)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(name), 1);
      else delete holder[name];
      break;
    case 1:
      (holder as Record<string, unknown>)[name] = structuredClone(
        (other.holder as Record<string, unknown>)[other.name],
      );
      break;
    case 2:
      if (Array.isArray(holder)) holder.push(structuredClone(holder[Number(name)]));
      else holder[`${name}x`] = structuredClone(holder[name]);
      break;
    default:
      (holder as Record<string, unknown>)[name] = ODD[draw(random, ODD.length)];
  }
  return JSON.stringify(value);
}

interface Place {
  readonly holder: Record<string, unknown> | unknown[];
  readonly name: string;
}

function placesOf(value: unknown): readonly Place[] {
  if (value === null || typeof value !== 'object') return [];
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((name) => [{ holder, name }, ...placesOf(holder[name])]);
}

function draw(random: Random, below: number): number {
  return Math.floor(random.unit() * below);
}
