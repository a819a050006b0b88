// What can become of a call to etcd, and what it means for the caller. PURE.

export type FailureKind =
  /** The connection could not be made, or broke. */
  | 'unreachable'
  /** The connection had broken before anything was sent. */
  | 'unsent'
  /** No answer in time. */
  | 'silent'
  /** The member knows of no leader: it is cut off, or the members are electing one. It has done nothing. */
  | 'no-leader'
  /** The member has too much to do; it has done nothing. */
  | 'busy'
  /** It answered that it may have done it, or not: its leader changed, or it took too long itself. */
  | 'unsure'
  /** The token is no longer valid: a new one is to be asked for. It has done nothing. */
  | 'token'
  /** The certificate, the user or the rights. */
  | 'refused'
  /** The database has reached its quota. Nothing was kept. */
  | 'full'
  | 'lease-gone'
  | 'lease-exists'
  /** The revision is no longer there. */
  | 'compacted'
  /** More operations, or more bytes, than this etcd takes at once. */
  | 'too-many-operations'
  | 'too-large'
  /** A key that was to be rewritten as it is does not exist. */
  | 'key-missing'
  /** Users and passwords are not in use. */
  | 'no-auth'
  /** The call was given up here. */
  | 'cancelled'
  | 'other';

/** The message says what happened as a clause; it never holds a secret. */
export class CallFailure extends Error {
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CallFailure';
    this.kind = kind;
  }
}

/** True when etcd has certainly done nothing, so that even a commit may be tried again. */
export function didNothing(kind: FailureKind): boolean {
  return kind === 'unsent' || kind === 'no-leader' || kind === 'busy' || kind === 'token';
}

/** True when another attempt, perhaps at another member, may succeed. */
export function mayPass(kind: FailureKind): boolean {
  return didNothing(kind) || kind === 'unreachable' || kind === 'silent' || kind === 'unsure' || kind === 'cancelled';
}

/** What etcd's texts mean (its package rpctypes); they have been the same in every 3.x. */
const TEXTS: readonly (readonly [text: string, kind: FailureKind])[] = [
  ['etcdserver: no leader', 'no-leader'],
  ['etcdserver: too many requests', 'busy'],
  ['etcdserver: invalid auth token', 'token'],
  ['etcdserver: revision of auth store is old', 'token'],
  ['etcdserver: user name is empty', 'token'],
  ['etcdserver: permission denied', 'refused'],
  ['etcdserver: authentication failed', 'refused'],
  ['etcdserver: user name not found', 'refused'],
  ['etcdserver: authentication is not enabled', 'no-auth'],
  ['etcdserver: mvcc: database space exceeded', 'full'],
  ['etcdserver: requested lease not found', 'lease-gone'],
  ['etcdserver: lease already exists', 'lease-exists'],
  ['etcdserver: mvcc: required revision has been compacted', 'compacted'],
  ['etcdserver: too many operations in txn request', 'too-many-operations'],
  ['etcdserver: request is too large', 'too-large'],
  ['received message larger than max', 'too-large'],
  ['etcdserver: key not found', 'key-missing'],
  // `request timed out`, also with `, possibly due to previous leader failure` and the like.
  ['etcdserver: request timed out', 'unsure'],
  ['etcdserver: leader changed', 'unsure'],
  ['etcdserver: server stopped', 'unsure'],
];

/** gRPC's status codes (grpc/doc/statuscodes.md) that are told apart here. */
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** `afterMs`: how long the call was given. */
export function failureOf(code: number, details: string, afterMs: number): CallFailure {
  const known = TEXTS.find(([text]) => details.includes(text));
  if (known?.[1] === 'no-leader') return noLeader();
  if (known !== undefined) return new CallFailure(known[1], details);
  switch (code) {
    case CANCELLED:
      return new CallFailure('cancelled', 'given up');
    case DEADLINE_EXCEEDED:
      return new CallFailure('silent', `no answer within ${afterMs / 1000} s`);
    case UNAVAILABLE:
      return new CallFailure('unreachable', firstLine(details));
    case UNAUTHENTICATED:
      return new CallFailure('token', firstLine(details));
    default:
      return new CallFailure('other', firstLine(details));
  }
}

export function noLeader(): CallFailure {
  return new CallFailure(
    'no-leader',
    'it knows of no leader: most members are down or cut off, or an election goes on',
  );
}

function firstLine(details: string): string {
  return details.split('\n', 1)[0] || 'no reason given';
}
