// What can go wrong between a client and the agent, and the HTTP status that says so.

export type ApiErrorCode =
  | 'BAD_REQUEST'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'CONFLICT'
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
  constructor(code: ApiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ApiError';
    this.code = code;
  }
}

const STATUS: Readonly<Record<ApiErrorCode, number>> = {
  BAD_REQUEST: 400,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
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

/** The inverse, for the client: what an answer's status means. */
export function codeOfStatus(status: number): ApiErrorCode {
  if (status === 403) return 'FORBIDDEN';
  if (status === 404) return 'NOT_FOUND';
  if (status === 409) return 'CONFLICT';
  if (status === 501) return 'NOT_SUPPORTED';
  if (status === 503) return 'UNAVAILABLE';
  return status < 500 ? 'BAD_REQUEST' : 'INTERNAL';
}
