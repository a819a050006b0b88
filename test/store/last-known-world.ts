// A store that can be away, and one node's disk with the copy of its last known state, for tests of both.
import type { Test } from 'tap';
import type { LogFields } from '../../src/runtime/log.ts';
import { LastKnownStore } from '../../src/store/last-known.ts';
import { encodeRecord } from '../../src/store/record.ts';
import type { CommitEvent, Revision, Write } from '../../src/store/store.ts';
import * as build from '../support/builders.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeCluster, FakeLink, type Latency } from '../support/fake-store.ts';
import { MemoryDisk } from '../support/memory-disk.ts';

const IDENTITY = 'etcd://one:2379/vipmesh';
export const put = (key: string, value: string): Write => ({ key, value });

export function openCopy(link: FakeLink, clock: FakeClock, disk: MemoryDisk): LastKnownStore {
  return new LastKnownStore(link, { disk, identity: IDENTITY, clock });
}

/** A store, and one node's disk. */
export function world() {
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock });
  const disk = new MemoryDisk();
  const open = (
    options: { readonly latency?: Latency; readonly identity?: string; readonly absence?: Promise<string> } = {},
  ) => {
    const { latency, ...settings } = options;
    const link = new FakeLink(cluster, latency);
    const logged: (readonly [string, string, LogFields | undefined])[] = [];
    const at = (level: string) => (message: string, fields?: LogFields) => void logged.push([level, message, fields]);
    const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
    const store = new LastKnownStore(link, { disk, identity: IDENTITY, clock, log, ...settings });
    return { link, store, logged };
  };
  return {
    clock,
    cluster,
    disk,
    open,
    /** An agent that starts, lists everything and ends. */
    async once() {
      const { store } = open();
      await store.list('');
      await store.close();
    },
  };
}

export function watch(store: LastKnownStore, after: Revision) {
  const seen = { commits: [] as CommitEvent[], gaps: 0 };
  store.watch(after, { onCommit: (event) => void seen.commits.push(event), onGap: () => void seen.gaps++ });
  return seen;
}

export async function rejects(
  t: Test,
  clock: FakeClock,
  call: Promise<unknown>,
  code: string,
  message: RegExp | string = '',
) {
  const check = t.rejects(call, { code, ...(typeof message === 'string' ? {} : { message }) });
  await clock.advance(3000);
  await check;
}

export function service(name: string): Write {
  return encodeRecord({ kind: 'service', value: { ...build.service(name), id: `svc${name}` as never } });
}
