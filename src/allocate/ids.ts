// Object ids, shaped as Docker's: 25 lower-case letters and digits. PURE: the randomness is an argument.

/** Random bytes that an id needs: 128 bits, so that ids made apart never meet. */
export const ID_BYTES = 16;

/** 36^25 is just above 2^128, so 25 digits of base 36 hold every value. */
const ID_LENGTH = 25;

/** The id that stands for the first ID_BYTES of `random`. Throws RangeError when there are fewer. */
export function idFromBytes(random: Uint8Array): string {
  if (random.length < ID_BYTES) throw new RangeError(`an id needs ${ID_BYTES} random bytes, not ${random.length}`);
  let value = 0n;
  for (const byte of random.subarray(0, ID_BYTES)) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(ID_LENGTH, '0');
}
