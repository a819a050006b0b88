// `2.0.64.10.in-addr.arpa` → 10.64.0.2. PURE.
import { type IpAddress, ipFromBytes, parseIp } from '../model/address.ts';

const NIBBLES = 32;

/** Undefined when it is no reverse name of one whole address (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function addressOfReverseName(name: string): IpAddress | undefined {
  const [, reversed = '', tree] = /^(.+)\.(in-addr|ip6)\.arpa$/.exec(name.toLowerCase()) ?? [];
  const digits = reversed.split('.').reverse();
  if (tree === 'in-addr') return digits.length === 4 ? parseIp(digits.join('.')) : undefined;
  if (tree !== 'ip6' || digits.length !== NIBBLES || digits.some((digit) => !/^[0-9a-f]$/.test(digit)))
    return undefined;
  return ipFromBytes(Uint8Array.from(Buffer.from(digits.join(''), 'hex')));
}
