// Why an allocation was refused.

export type AllocationErrorCode =
  /** Every address of a subnet is in use. */
  | 'subnet-full'
  /** A wanted address: not in the subnet, kept back, or in use. */
  | 'address-outside'
  | 'address-reserved'
  | 'address-taken'
  /** No range is left for another network. */
  | 'subnets-exhausted'
  | 'vnis-exhausted'
  | 'published-ports-exhausted';

/** The message names the pool, says how full it is and what to do. */
export class AllocationError extends Error {
  readonly code: AllocationErrorCode;

  constructor(code: AllocationErrorCode, message: string) {
    super(message);
    this.name = 'AllocationError';
    this.code = code;
  }
}
