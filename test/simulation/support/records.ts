// What is written in simulations of the catalog. Some records always change together, so that a reader who sees half of a commit
// is found out.
import type { Snapshot } from '../../../src/catalog/snapshot.ts';
import type { NodeId, Presence } from '../../../src/model/node.ts';
import type { Service, ServiceId } from '../../../src/model/service.ts';
import { encodeRecord, HEAD_KEY, recordKey } from '../../../src/store/record.ts';
import type { LeaseId, Write } from '../../../src/store/store.ts';
import * as build from '../../support/builders.ts';
import type { Dice } from './seeds.ts';

const PAIRS = 4;

/** A random commit; `stamp` is new each time. */
export function randomWrites(dice: Dice, stamp: number): readonly Write[] {
  const writes = pairOfServices(dice.below(PAIRS), dice.chance(0.75) ? stamp : undefined);
  return dice.pick<() => readonly Write[]>([
    () => writes,
    () => [...writes, { key: HEAD_KEY, value: String(stamp) }],
    () => [service(`single${dice.below(6)}`, stamp)],
    () => [{ key: recordKey('service', `single${dice.below(6)}`), value: null }],
    () => [network(dice.below(3), stamp), { key: HEAD_KEY, value: String(stamp) }],
    () => [{ key: 'another-noun/of-a-newer-version', value: '{}' }],
    () => [{ key: recordKey('service', 'unreadable'), value: dice.chance(0.5) ? '{"no service":1}' : null }],
  ])();
}

/** Under a lease: they come together, and go together when it ends. */
export function pairOfPresences(pair: number, lease: LeaseId): readonly Write[] {
  return ['one', 'two'].map((side) => {
    const id = `${side}${pair}` as NodeId;
    const value: Presence = {
      id,
      instance: '0123456789abcdef',
      address: build.ip(`10.0.0.${pair + 1}`),
      dataAddress: build.ip(`10.0.0.${pair + 1}`),
      probePort: 7981 as Presence['probePort'],
      version: '0.1.0',
      startedAt: 0,
    };
    return { ...encodeRecord({ kind: 'presence', value }), lease };
  });
}

/** Which half of a commit a snapshot shows without the other; undefined: none. */
export function halfOfCommit(snapshot: Snapshot): string | undefined {
  for (let pair = 0; pair < PAIRS; pair++) {
    const [left, right] = ['left', 'right'].map(
      (side) => snapshot.services.get(`${side}${pair}` as ServiceId)?.spec.labels.stamp,
    );
    if (left !== right) return `left${pair} is ${left}, right${pair} is ${right}`;
  }
  for (const id of snapshot.presences.keys()) {
    const other = id.startsWith('one') ? `two${id.slice(3)}` : `one${id.slice(3)}`;
    if (!snapshot.presences.has(other as NodeId)) return `${id} is there without ${other}`;
  }
  return undefined;
}

/** Everything in a snapshot but its revision, in one order. */
export function textOf(snapshot: Snapshot): string {
  const { networks, services, tasks, nodes, presences, bridges } = snapshot;
  return [networks, services, tasks, nodes, presences, bridges]
    .flatMap((nouns) => [...nouns.values()].map((noun) => JSON.stringify(noun)).sort())
    .join('\n');
}

function pairOfServices(pair: number, stamp: number | undefined): readonly Write[] {
  return ['left', 'right'].map((side) =>
    stamp === undefined
      ? { key: recordKey('service', `${side}${pair}`), value: null }
      : service(`${side}${pair}`, stamp),
  );
}

function service(id: string, stamp: number): Write {
  const made = build.service(id, { labels: { stamp: String(stamp) } });
  const value: Service = { ...made, id: id as ServiceId, updatedAt: stamp };
  return encodeRecord({ kind: 'service', value });
}

function network(number: number, stamp: number): Write {
  const id = `network${number}`;
  const value = { ...build.network(id, 'overlay', [`10.64.${number}.0/24`]), id: id as never, updatedAt: stamp };
  return encodeRecord({ kind: 'network', value });
}
