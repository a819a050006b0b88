// The store on etcd, opened for a test and closed with it, and what tests ask of it.
import { type Log, type LogFields, SILENT_LOG } from '../../src/runtime/log.ts';
import { parseEtcdUrl } from '../../src/store/etcd/address.ts';
import type { EtcdState } from '../../src/store/etcd/link.ts';
import { type EtcdStore, type EtcdStoreOptions, openEtcdStore } from '../../src/store/etcd/store.ts';
import type { CommitEvent, Revision } from '../../src/store/store.ts';
import type { EtcdServer } from './etcd.ts';

export interface StoreAtOptions extends Partial<Omit<EtcdStoreOptions, 'address'>> {
  readonly prefix?: string;
  /** `user:password`. */
  readonly login?: string;
}

/** The part of a tap test that is used here. */
interface Owner {
  teardown(action: () => unknown): void;
  ok(value: unknown, message: string): unknown;
  match(value: unknown, pattern: object, message: string): unknown;
  fail(message: string): unknown;
}

/** Every call has rejected after 3 s; a machine that does other things too may take longer. */
export const IN_TIME_MS = 10_000;

export function openStoreAt(
  t: Pick<Owner, 'teardown'>,
  servers: readonly Pick<EtcdServer, 'endpoint'>[],
  { prefix = '/vipmesh', login, ...options }: StoreAtOptions = {},
): EtcdStore {
  const hosts = servers.map(({ endpoint }) => endpoint).join(',');
  const address = parseEtcdUrl(`etcd://${login === undefined ? '' : `${login}@`}${hosts}${prefix}`);
  if (typeof address === 'string') throw new Error(address);
  const store = openEtcdStore({ log: SILENT_LOG, ...options, address });
  t.teardown(() => store.close());
  return store;
}

/** The message with which the call rejects, in time and as unavailable. */
export async function inTime(t: Owner, what: string, call: Promise<unknown>, expected: RegExp): Promise<string> {
  const begun = performance.now();
  const error = await call.then(
    () => new Error('it did not reject'),
    (reason: Error) => reason,
  );
  const took = performance.now() - begun;
  t.match(error, { name: 'StoreError', code: 'unavailable', message: expected }, what);
  t.ok(took < IN_TIME_MS, `${what}: after ${Math.round(took)} ms`);
  return error.message;
}

/** Tries again as long as the store is unavailable. */
export async function retried<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if ((error as { code?: string }).code !== 'unavailable') throw error;
    }
  }
}

export function connected(store: EtcdStore, wanted: boolean): Promise<EtcdState> {
  return reached(store, (state) => state.connected === wanted);
}

/** Resolves as soon as the state of the connection is as wanted. */
export function reached(store: EtcdStore, isWanted: (state: EtcdState) => boolean): Promise<EtcdState> {
  return new Promise((resolve) => {
    const look = (state: EtcdState) => {
      if (!isWanted(state)) return;
      stop();
      resolve(state);
    };
    const stop = store.onState(look);
    look(store.state);
  });
}

/** A watcher that keeps what it sees, and fails at what cannot be. */
export function follow(t: Owner, store: EtcdStore, after: Revision) {
  const seen: CommitEvent[] = [];
  let wake = () => {};
  let tellGap = () => {};
  const gap = new Promise<void>((resolve) => {
    tellGap = resolve;
  });
  const watch = store.watch(after, {
    onCommit(event) {
      if (event.revision <= (seen.at(-1)?.revision ?? after)) t.fail(`revision ${event.revision} came again`);
      seen.push(event);
      wake();
    },
    onGap: tellGap,
  });
  t.teardown(() => watch.close());
  return {
    gap,
    revisions: () => seen.map(({ revision }) => revision as number),
    async until(revision: number): Promise<readonly CommitEvent[]> {
      while ((seen.at(-1)?.revision ?? 0) < revision) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return seen;
    },
  };
}

/** A log that keeps its lines as text. */
export function recordingLog(): { readonly log: Log; readonly lines: readonly string[] } {
  const lines: string[] = [];
  const keep = (message: string, fields?: LogFields) => {
    const values = Object.values(fields ?? {}).map((value) =>
      value instanceof Error ? value.stack : JSON.stringify(value),
    );
    lines.push([message, ...values].join(' '));
  };
  return { log: { debug: keep, info: keep, warn: keep, error: keep }, lines };
}
