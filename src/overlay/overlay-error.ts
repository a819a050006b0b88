// The errors of this room that are not the kernel's.
export type OverlayErrorCode =
  /** A setting cannot be used. */
  | 'bad-setting'
  /** This node has no address of its own on the network. */
  | 'no-address'
  /** The network still has containers. */
  | 'in-use'
  /** The egress subnet is routed to somewhere else already. */
  | 'egress-clash'
  /** Every address of the egress subnet is taken. */
  | 'egress-full'
  /** A container that something else made has a link or a route that is in the way. */
  | 'container-clash'
  /** The namespace of a container is the node's, a network's or another container's. */
  | 'namespace-taken'
  /** There is no namespace at the container's path. */
  | 'container-not-found'
  /** The driver was closed. */
  | 'closed';

export class OverlayError extends Error {
  override readonly name = 'OverlayError';
  readonly code: OverlayErrorCode;

  constructor(code: OverlayErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
