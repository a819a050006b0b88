// What can go wrong between a client and the agent, and the HTTP status that says so.

export type ApiErrorCode =
  | 'BAD_REQUEST'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'CONFLICT'
  /** The object has changed since the version that the client has seen. */
  | 'OUT_OF_SEQUENCE'
  | 'NOT_SUPPORTED'
  | 'UNAVAILABLE'
  | 'INTERNAL'
  | 'SOCKET_IN_USE'
  | 'SOCKET_UNUSABLE'
  | 'AGENT_NOT_RUNNING'
  | 'AGENT_INCOMPATIBLE';

/** Names the object and the likely cause, in one sentence that may be shown to a user as it is. */
export class ApiError extends Error {
  readonly code: ApiErrorCode;
  /** The mistakes one by one, where the message has several lines of them. */
  readonly errors: readonly string[] | undefined;
  constructor(
    code: ApiErrorCode,
    message: string,
    { errors, ...options }: ErrorOptions & { readonly errors?: readonly string[] } = {},
  ) {
    super(message, options);
    this.name = 'ApiError';
    this.code = code;
    this.errors = errors;
  }
}

const STATUS: Readonly<Record<ApiErrorCode, number>> = {
  BAD_REQUEST: 400,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  // Docker's answer; its clients know it by the words "update out of sequence" and not by the status.
  OUT_OF_SEQUENCE: 500,
  NOT_SUPPORTED: 501,
  UNAVAILABLE: 503,
  INTERNAL: 500,
  SOCKET_IN_USE: 500,
  SOCKET_UNUSABLE: 500,
  AGENT_NOT_RUNNING: 503,
  AGENT_INCOMPATIBLE: 500,
};

export function httpStatus(code: ApiErrorCode): number {
  return STATUS[code];
}

const OUT_OF_SEQUENCE = 'rpc error: code = Unknown desc = update out of sequence';

/** In Docker's words, because its clients look for them. */
export function outOfSequence(what: string, cause?: unknown): ApiError {
  return new ApiError('OUT_OF_SEQUENCE', `${OUT_OF_SEQUENCE}: ${what}`, { cause });
}

/** The inverse, for the client: what an answer's status and message mean. */
export function codeOfAnswer(status: number, message: string): ApiErrorCode {
  if (message.startsWith(OUT_OF_SEQUENCE)) return 'OUT_OF_SEQUENCE';
  if (status === 403) return 'FORBIDDEN';
  if (status === 404) return 'NOT_FOUND';
  if (status === 409) return 'CONFLICT';
  if (status === 501) return 'NOT_SUPPORTED';
  if (status === 503) return 'UNAVAILABLE';
  return status < 500 ? 'BAD_REQUEST' : 'INTERNAL';
}
