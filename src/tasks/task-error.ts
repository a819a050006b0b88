// What can go wrong with tasks that `vipmesh run` runs, and with containers that are attached.

/** As the API's errors: nobody knows it, it cannot be now, not on this machine or with these words, something is in its way. */
export type TaskErrorCode =
  | 'NOT_FOUND'
  | 'UNAVAILABLE'
  | 'COMMAND_NOT_FOUND'
  | 'COMMAND_NOT_EXECUTABLE'
  | 'RESOLVER_TAKEN';

/** Names the task or command and the likely cause, in one sentence that may be shown to a user as it is. */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly code: TaskErrorCode;

  constructor(code: TaskErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
