// One gRPC connection to one member of etcd. When it breaks it stays broken: whoever uses it makes another.
// The only importer of @grpc/grpc-js.
import { setMaxListeners } from 'node:events';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  connectivityState,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { type Endpoint, endpointText } from './address.ts';
import { CallFailure, failureOf } from './failure.ts';
import type { Method } from './protocol.ts';

/** PEM, as read from files. Without `ca` the system's authorities are trusted. */
export interface TlsMaterial {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export interface StreamHandlers<Response> {
  onMessage(response: Response): void;
  /** Once; afterwards nothing comes. Also when etcd ends the stream without an error, and after `cancel`. */
  onEnd(failure: CallFailure): void;
}

export interface Stream<Request> {
  send(request: Request): void;
  cancel(): void;
}

/**
 * etcd closes connections that ping more often than every 5 s (`--grpc-keepalive-min-time`). These pings are the second
 * line: the link asks each second how the member is.
 */
const PING_EVERY_MS = 10_000;
const PING_TIMEOUT_MS = 2000;

/** What grpc-js would do by itself and is done here instead, or is not wanted: retries, proxies, lookups of settings in DNS. */
const OPTIONS: ClientOptions = {
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.keepalive_time_ms': PING_EVERY_MS,
  'grpc.keepalive_timeout_ms': PING_TIMEOUT_MS,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
};

export class Connection {
  readonly #client: Client;
  readonly #lost = new AbortController();
  #token: string | undefined;

  /** Throws when the TLS material is none. */
  constructor(endpoint: Endpoint, tls: TlsMaterial | undefined) {
    // Each call in flight listens.
    setMaxListeners(0, this.#lost.signal);
    this.#client = new Client(target(endpoint), channelCredentials(endpoint, tls), {
      ...OPTIONS,
      // Node.js warns of server names that are addresses; the certificate is checked against the address all the same.
      ...(tls !== undefined && isIP(endpoint.host) ? { 'grpc.ssl_target_name_override': 'etcd' } : {}),
    });
  }

  /** Aborted when the connection breaks or is closed; calls in flight then fail. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Sent along with every call from now on. */
  set token(token: string) {
    this.#token = token;
  }

  /** Resolves when calls can be made. Rejects with CallFailure. */
  ready(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(Date.now() + timeoutMs, (error) => {
        if (error !== undefined) return reject(new CallFailure('unreachable', error.message, { cause: error }));
        this.#followState();
        resolve();
      });
    });
  }

  /** Rejects with CallFailure. */
  call<Request, Response>(method: Method<Request, Response>, request: Request, timeoutMs: number): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.lost.aborted) return reject(connectionLost('unsent'));
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.encode,
        method.decode,
        request,
        this.#metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          this.lost.removeEventListener('abort', giveUp);
          if (error !== null) reject(this.#failure(error, timeoutMs));
          else resolve(response as Response);
        },
      );
      const giveUp = () => call.cancel();
      this.lost.addEventListener('abort', giveUp);
    });
  }

  stream<Request, Response>(
    method: Method<Request, Response>,
    handlers: StreamHandlers<Response>,
    timeoutMs?: number,
  ): Stream<Request> {
    const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      method.encode,
      method.decode,
      this.#metadata(),
      options,
    );
    const giveUp = () => call.cancel();
    let ended = false;
    const end = (failure: CallFailure) => {
      if (ended) return;
      ended = true;
      this.lost.removeEventListener('abort', giveUp);
      handlers.onEnd(failure);
    };
    call.on('data', (response: Response) => {
      if (!ended) handlers.onMessage(response);
    });
    call.on('error', (error: ServiceError) => end(this.#failure(error, timeoutMs ?? 0)));
    call.on('end', () => end(new CallFailure('unreachable', 'the stream ended')));
    if (this.lost.aborted) giveUp();
    else this.lost.addEventListener('abort', giveUp);
    return {
      send: (request) => void call.write(request),
      cancel: giveUp,
    };
  }

  close(): void {
    if (this.lost.aborted) return;
    this.#lost.abort();
    this.#client.close();
  }

  /** A channel that is no longer ready would connect again by itself, unnoticed; here it is closed instead. */
  #followState(): void {
    const channel = this.#client.getChannel();
    if (this.lost.aborted) return;
    if (channel.getConnectivityState(false) !== connectivityState.READY) this.close();
    else channel.watchConnectivityState(connectivityState.READY, Number.POSITIVE_INFINITY, () => this.close());
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    // Without it a member that is cut off from the others would keep silent instead of saying so.
    metadata.set('hasleader', 'true');
    if (this.#token !== undefined) metadata.set('token', this.#token);
    return metadata;
  }

  #failure(error: ServiceError, timeoutMs: number): CallFailure {
    const failure = failureOf(error.code, error.details, timeoutMs);
    return failure.kind === 'cancelled' && this.lost.aborted ? connectionLost('unreachable') : failure;
  }
}

function connectionLost(kind: 'unsent' | 'unreachable'): CallFailure {
  return new CallFailure(kind, 'the connection broke');
}

function target({ host, port }: Endpoint): string {
  const version = isIP(host);
  return version === 0 ? `dns:${host}:${port}` : `ipv${version}:${endpointText({ host, port })}`;
}

function channelCredentials({ host }: Endpoint, tls: TlsMaterial | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  return credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null, {
    checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate as never),
  });
}
