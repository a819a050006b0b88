// Why a command was refused. A command that is refused changes nothing.

export type ControlErrorCode =
  /** No object of that name. */
  | 'not-found'
  /** The name may mean several. */
  | 'ambiguous'
  /** Another object, another agent or another program has what was asked for; or the object has changed meanwhile. */
  | 'conflict'
  /** What was asked for cannot be. */
  | 'invalid'
  /** Something else needs what was to be removed. */
  | 'in-use'
  /** A pool of addresses, numbers or ports is empty. */
  | 'exhausted'
  /** This agent may not do that. */
  | 'forbidden'
  /** The store does not take it now. */
  | 'unavailable';

/** The message names the object, says why in all likelihood, and what to do. */
export class ControlError extends Error {
  readonly code: ControlErrorCode;

  constructor(code: ControlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ControlError';
    this.code = code;
  }
}

/** Another room's error, told as one of this room. */
export function causedBy(cause: unknown, code: ControlErrorCode, message: string): ControlError {
  return new ControlError(code, message, { cause });
}
