// Keeps one good connection to some member of the cluster: looks for it, asks each second how it is, and looks for another one
// when it breaks, falls silent or knows of no leader.
import { type Clock, sleep, systemClock } from '../../runtime/clock.ts';
import type { Log } from '../../runtime/log.ts';
import type { Random } from '../../runtime/random.ts';
import { StoreError } from '../errors.ts';
import { type Endpoint, type EtcdAddress, endpointText } from './address.ts';
import { Connection, type TlsMaterial } from './connection.ts';
import { CallFailure, noLeader } from './failure.ts';
import { knock } from './knock.ts';
import { AUTHENTICATE, STATUS, type StatusResponse } from './protocol.ts';

/** What is known of the store's reachability. */
export interface EtcdState {
  readonly connected: boolean;
  /** Milliseconds since the epoch: how long `connected` is as it is. */
  readonly since: number;
  /** The member that is used, as HOST:PORT. */
  readonly endpoint?: string;
  /** The leader's member id, hexadecimal, as etcdctl prints it. */
  readonly leader?: string;
  /** Why there is no connection, for each endpoint. */
  readonly lastError?: string;
  /** No endpoint takes connections at all, so that waiting a little longer helps only if an etcd is just being started. */
  readonly absent?: true;
}

export interface LinkOptions {
  readonly address: EtcdAddress;
  /** Asked for each connection, so that renewed files are used. */
  readonly tls: () => TlsMaterial | undefined;
  readonly password: () => string | undefined;
  readonly log: Log;
  readonly random: Random;
}

interface Waiter {
  /** The number of searches that had begun when it came. */
  readonly search: number;
  resolve(connection: Connection): void;
  reject(error: StoreError): void;
}

/** How long a member is given for each step of a search; all steps of one that is well take milliseconds. */
const STEP_MS = 1500;
/** Members are tried at the same time, each a little later than the one before, in an order of chance: so agents spread. */
const STAGGER_MS = 30;
/** Between questions how the member is. An agent more costs the members one small answer a second. */
const PROBE_EVERY_MS = 1000;
const PROBE_MS = 2000;
/** For a member that has just failed to answer something else. */
const DOUBT_MS = 500;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 2000;
/** bcrypt keeps a member busy for about 0.1 s. */
const AUTHENTICATE_MS = 2000;

export class Link {
  readonly #options: LinkOptions;
  readonly #clock: Clock = systemClock;
  readonly #closed = new AbortController();
  readonly #listeners = new Set<(state: EtcdState) => void>();
  readonly #waiters = new Set<Waiter>();
  /** Of every endpoint that was tried last without success. */
  readonly #problems = new Map<string, CallFailure>();
  readonly #doubted = new Set<Connection>();
  readonly #renewals = new Map<Connection, Promise<void>>();
  readonly #running: Promise<void>;
  #current: Connection | undefined;
  #searches = 0;
  #state: EtcdState;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#state = { connected: false, since: this.#clock.wallTime() };
    this.#running = this.#run();
  }

  get state(): EtcdState {
    return this.#state;
  }

  /** Called after each change of `connected`, endpoint or leader. Returns how to stop. */
  onState(listener: (state: EtcdState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * A connection that was good a moment ago. Rejects with StoreError: `unavailable` after `timeoutMs`, `refused` as soon as
   * a search that began after this call found nothing but refusals and silence.
   */
  connection(timeoutMs: number): Promise<Connection> {
    if (this.#current !== undefined && !this.#current.lost.aborted) return Promise.resolve(this.#current);
    return new Promise((resolve, reject) => {
      const settle = () => {
        timer.cancel();
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        search: this.#searches,
        resolve: (connection) => {
          settle();
          resolve(connection);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const timer = this.#clock.schedule(timeoutMs, () => waiter.reject(this.#unavailable()));
      if (this.#closed.signal.aborted) waiter.reject(new StoreError('closed', 'the store has been closed'));
      else this.#waiters.add(waiter);
    });
  }

  /** Something got no answer: the connection is given up unless the member answers now. */
  async doubt(connection: Connection): Promise<void> {
    if (connection !== this.#current || this.#doubted.has(connection)) return;
    this.#doubted.add(connection);
    await this.#probe(connection, DOUBT_MS);
    this.#doubted.delete(connection);
  }

  /** The member cannot be used; another search begins. */
  drop(connection: Connection, failure: CallFailure): void {
    if (connection !== this.#current) return;
    this.#problems.set(this.#state.endpoint ?? '', failure);
    connection.close();
  }

  /** Asks for a new token; calls at the same time ask once. Rejects with CallFailure. */
  renewToken(connection: Connection): Promise<void> {
    const pending = this.#renewals.get(connection);
    if (pending !== undefined) return pending;
    const renewal = this.#authenticate(connection).finally(() => this.#renewals.delete(connection));
    this.#renewals.set(connection, renewal);
    return renewal;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#current?.close();
    for (const waiter of [...this.#waiters]) waiter.reject(new StoreError('closed', 'the store has been closed'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const closed = this.#closed.signal;
    let failures = 0;
    while (!closed.aborted) {
      const begun = this.#clock.now();
      const found = await this.#search();
      if (closed.aborted) return found?.connection.close();
      if (found === undefined) this.#notFound();
      else await this.#hold(found);
      // One that breaks as soon as it is made must not be made a thousand times a second.
      failures = this.#clock.now() - begun > BACKOFF_MAX_MS && found !== undefined ? 0 : failures + 1;
      if (failures > 0) await sleep(this.#clock, this.#backoff(failures), closed);
    }
  }

  #backoff(failures: number): number {
    const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(10, failures - 1));
    return Math.max(BACKOFF_MIN_MS, most * (0.5 + this.#options.random.unit() / 2));
  }

  /** The first member that answers and knows a leader. */
  async #search(): Promise<Found | undefined> {
    this.#searches++;
    const order = shuffled(this.#options.address.endpoints, this.#options.random);
    const over = new AbortController();
    const stop = () => over.abort();
    this.#closed.signal.addEventListener('abort', stop);
    const attempts = order.map((endpoint, place) => this.#try(endpoint, place * STAGGER_MS, over.signal));
    const winner = await Promise.any(attempts).catch(() => undefined);
    this.#closed.signal.removeEventListener('abort', stop);
    over.abort();
    for (const attempt of attempts) {
      attempt.then(
        (found) => found !== winner && found.connection.close(),
        () => {},
      );
    }
    return winner;
  }

  async #try(endpoint: Endpoint, delayMs: number, over: AbortSignal): Promise<Found> {
    await sleep(this.#clock, delayMs, over);
    if (over.aborted) throw new CallFailure('cancelled', 'another member was quicker');
    const name = endpointText(endpoint);
    let connection: Connection | undefined;
    const stop = () => connection?.close();
    over.addEventListener('abort', stop);
    try {
      const tls = this.#options.tls();
      await knock(endpoint, tls, STEP_MS, over);
      connection = new Connection(endpoint, tls);
      await connection.ready(STEP_MS);
      await this.#authenticate(connection);
      const status = serves(await connection.call(STATUS, {}, STEP_MS));
      this.#problems.delete(name);
      return { connection, endpoint: name, status };
    } catch (error) {
      connection?.close();
      const failure = error instanceof CallFailure ? error : new CallFailure('refused', (error as Error).message);
      if (!over.aborted) this.#problems.set(name, failure);
      throw failure;
    } finally {
      over.removeEventListener('abort', stop);
    }
  }

  async #authenticate(connection: Connection): Promise<void> {
    const { user } = this.#options.address;
    const password = this.#options.password();
    if (user === undefined || password === undefined) return;
    try {
      const { token } = await connection.call(AUTHENTICATE, { name: user, password }, AUTHENTICATE_MS);
      connection.token = token;
    } catch (error) {
      const { kind } = error as CallFailure;
      // As long as it asks nobody for a password, everybody may come in; the user is there for the day when it does.
      if (kind === 'no-auth') return;
      if (kind !== 'refused') throw error;
      throw wrongPassword(user, error);
    }
  }

  /** Until the connection is lost. */
  async #hold({ connection, endpoint, status }: Found): Promise<void> {
    this.#current = connection;
    const leader = memberId(status.leader);
    this.#setState({ connected: true, since: this.#clock.wallTime(), endpoint, leader });
    this.#options.log.info('store connected', { endpoint, leader, version: status.version });
    for (const waiter of [...this.#waiters]) waiter.resolve(connection);
    while (!connection.lost.aborted) {
      await sleep(this.#clock, PROBE_EVERY_MS, connection.lost);
      if (!connection.lost.aborted) await this.#probe(connection, PROBE_MS);
    }
    this.#current = undefined;
    if (this.#closed.signal.aborted) return;
    const failure = this.#problems.get(endpoint) ?? new CallFailure('unreachable', 'the connection broke');
    this.#problems.set(endpoint, failure);
    this.#setState({ connected: false, since: this.#clock.wallTime(), lastError: this.#reasons() });
    this.#options.log.warn('store connection lost', { endpoint, error: failure.message });
  }

  async #probe(connection: Connection, timeoutMs: number): Promise<void> {
    try {
      const leader = memberId(serves(await connection.call(STATUS, {}, timeoutMs)).leader);
      if (connection === this.#current && leader !== this.#state.leader) this.#setState({ ...this.#state, leader });
    } catch (error) {
      this.drop(connection, error as CallFailure);
    }
  }

  #notFound(): void {
    const lastError = this.#reasons();
    if (this.#state.lastError === undefined) this.#options.log.warn('store not reachable', { error: lastError });
    const kinds = [...this.#problems.values()].map(({ kind }) => kind);
    if (this.#state.lastError !== lastError) {
      const { absent: _, ...state } = this.#state;
      const absent = kinds.every((kind) => kind === 'unreachable');
      this.#setState({ ...state, lastError, ...(absent ? { absent } : {}) });
    }
    const refused = kinds.includes('refused');
    if (!refused) return;
    const error = new StoreError('refused', `etcd does not let this agent in: ${lastError}`);
    for (const waiter of [...this.#waiters]) if (waiter.search < this.#searches) waiter.reject(error);
  }

  #unavailable(): StoreError {
    return new StoreError('unavailable', `etcd does not answer: ${this.#reasons()}`, { nothingDone: true });
  }

  #reasons(): string {
    const names = this.#options.address.endpoints.map(endpointText);
    return names.map((name) => `${name}: ${this.#problems.get(name)?.message ?? 'no answer yet'}`).join('; ');
  }

  #setState(state: EtcdState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) {
      try {
        listener(state);
      } catch (error) {
        this.#options.log.error('listener of the store connection failed', { error });
      }
    }
  }
}

interface Found {
  readonly connection: Connection;
  readonly endpoint: string;
  readonly status: StatusResponse;
}

/** Throws CallFailure when the member can do nothing for us. */
function serves(status: StatusResponse): StatusResponse {
  if (status.isLearner) throw new CallFailure('unreachable', 'it is still learning and takes no calls');
  if (String(status.leader) !== '0') return status;
  throw noLeader();
}

function wrongPassword(user: string, cause: unknown): CallFailure {
  return new CallFailure('refused', `it does not take the password of user ${user}, or has no such user`, { cause });
}

function memberId(leader: StatusResponse['leader']): string {
  return BigInt(leader).toString(16);
}

function shuffled<T>(list: readonly T[], random: Random): readonly T[] {
  return list
    .map((item) => ({ item, draw: random.unit() }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ item }) => item);
}
