// One call to etcd, whatever becomes of the members meanwhile: an answer or a StoreError within 3 s.
import { StoreError } from '../errors.ts';
import type { EtcdAddress } from './address.ts';
import type { Connection } from './connection.ts';
import { CallFailure, didNothing, mayPass } from './failure.ts';
import type { Link } from './link.ts';
import type { Method } from './protocol.ts';

/** All attempts of a call together, waiting for a connection included. */
export const CALL_MS = 3000;
/** One attempt: within it, a member that is well answers even while it is being loaded. */
export const ATTEMPT_MS = 2000;

export interface CallOptions {
  /** Doing it twice does no harm. Otherwise it is only tried again when etcd has said that it did nothing. */
  readonly repeatable: boolean;
}

export class Calls {
  readonly #link: Link;
  readonly #address: EtcdAddress;

  constructor(link: Link, address: EtcdAddress) {
    this.#link = link;
    this.#address = address;
  }

  /** Rejects with StoreError, or with CallFailure for what only the caller can put into words. */
  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return this.#attempts((connection, timeoutMs) => connection.call(method, request, timeoutMs), options);
  }

  /** One question and its answer on a stream of its own. */
  exchange<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return this.#attempts((connection, timeoutMs) => exchange(connection, method, request, timeoutMs), options);
  }

  async #attempts<T>(
    attempt: (connection: Connection, timeoutMs: number) => Promise<T>,
    { repeatable }: CallOptions,
  ): Promise<T> {
    const deadline = performance.now() + CALL_MS;
    const left = () => deadline - performance.now();
    let renewed = false;
    for (;;) {
      const connection = await this.#link.connection(Math.max(1, left()));
      try {
        return await attempt(connection, Math.max(1, Math.min(ATTEMPT_MS, left())));
      } catch (error) {
        if (!(error instanceof CallFailure)) throw error;
        if (error.kind === 'token') {
          if (renewed || this.#address.user === undefined) throw this.#refused(error);
          renewed = true;
          await this.#renew(connection);
          continue;
        }
        this.#report(connection, error);
        if (error.kind === 'refused') throw this.#refused(error);
        if (!mayPass(error.kind)) throw error;
        const again = (repeatable || didNothing(error.kind)) && left() > 0;
        if (!again) throw this.#unavailable(error, repeatable);
        if (error.kind === 'busy' || error.kind === 'unsure') await pause(Math.min(200, Math.max(0, left())));
      }
    }
  }

  #report(connection: Connection, failure: CallFailure): void {
    if (failure.kind === 'silent') void this.#link.doubt(connection);
    if (failure.kind === 'no-leader' || failure.kind === 'unreachable') this.#link.drop(connection, failure);
  }

  async #renew(connection: Connection): Promise<void> {
    try {
      await this.#link.renewToken(connection);
    } catch (error) {
      const failure = error as CallFailure;
      throw failure.kind === 'refused' ? this.#refused(failure) : this.#unavailable(failure, true);
    }
  }

  #refused(failure: CallFailure): StoreError {
    const { user, prefix } = this.#address;
    const what =
      failure.kind === 'token' && user === undefined
        ? 'it asks for a user and a password; write them into the address (etcd://USER:PASSWORD@...)'
        : failure.message.includes('permission denied')
          ? `${user === undefined ? 'this agent' : `user ${user}`} may not use ${prefix}/; grant its role that: etcdctl role grant-permission ROLE readwrite --prefix=true ${prefix}/`
          : failure.message;
    return new StoreError('refused', `etcd does not let this agent in: ${what}`, { cause: failure });
  }

  #unavailable(failure: CallFailure, repeatable: boolean): StoreError {
    const { endpoint, lastError } = this.#link.state;
    const names = this.#address.endpoints.map(({ host, port }) => `${host}:${port}`).join(', ');
    const where = endpoint === undefined ? names : `${endpoint} (of ${names})`;
    const nothingDone = didNothing(failure.kind);
    const outcome =
      repeatable || nothingDone ? '' : '. Whether the commit was done is not known: look before trying again';
    const more = lastError === undefined ? '' : ` (${lastError})`;
    const message = `etcd at ${where}: ${failure.message}${more}${outcome}`;
    return new StoreError('unavailable', message, { cause: failure, nothingDone });
  }
}

function exchange<Request, Response>(
  connection: Connection,
  method: Method<Request, Response>,
  request: Request,
  timeoutMs: number,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const stream = connection.stream<Request, Response>(
      method,
      {
        onMessage: (response) => {
          resolve(response);
          stream.cancel();
        },
        onEnd: reject,
      },
      timeoutMs,
    );
    stream.send(request);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
