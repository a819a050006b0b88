// Published ports for `-p TARGET` without one. PURE.
import { type PortNumber, type Protocol, PUBLISHED_PORT_RANGE } from '../model/port.ts';
import { AllocationError } from './allocation-error.ts';
import { nextNumber, type TakenNumbers } from './free-number.ts';

/**
 * The next of PUBLISHED_PORT_RANGE behind `last` that is not taken. `taken` holds the published ports of this protocol, on
 * whatever address. Throws AllocationError `published-ports-exhausted`.
 */
export function nextPublishedPort(protocol: Protocol, taken: TakenNumbers, last?: number): PortNumber {
  const port = nextNumber(PUBLISHED_PORT_RANGE, taken, last);
  if (port !== undefined) return port as PortNumber;
  const { first, last: end } = PUBLISHED_PORT_RANGE;
  throw new AllocationError(
    'published-ports-exhausted',
    `all ${protocol} ports from ${first} to ${end} are published; name a published port yourself (-p PUBLISHED:TARGET)`,
  );
}
