// VXLAN network identifiers for overlay networks. PURE.
import { AllocationError } from './allocation-error.ts';
import { nextNumber } from './free-number.ts';

/** From 4096, as Swarm: what lies below is what switches use for VLANs. 24 bits (RFC 7348 section 5). */
export const VNI_RANGE = { first: 4096, last: 2 ** 24 - 1 } as const;

/**
 * The next VNI behind `last` that is not taken: one that was freed rests, because another node may not have heard yet. Throws
 * AllocationError `vnis-exhausted`.
 */
export function nextVni(taken: ReadonlySet<number>, last?: number): number {
  const vni = nextNumber(VNI_RANGE, taken, last);
  if (vni !== undefined) return vni;
  const message = `all ${VNI_RANGE.last - VNI_RANGE.first + 1} VNIs are used by overlay networks; remove networks that are not needed`;
  throw new AllocationError('vnis-exhausted', message);
}
