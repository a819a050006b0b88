// What a resolver keeps of its upstreams' answers, as people read it. PURE.
import type { CacheListing } from './answer-cache.ts';
import { rcodeName, typeName } from './code-names.ts';
import { nameOfKey, typeOfKey, wireNameOfKey } from './cache-key.ts';
import { isAtOrBelow } from './reply-records.ts';
import { encodeLabels } from './wire.ts';

export interface KeptAnswer {
  /** Without the final dot; the root is `.`. */
  readonly name: string;
  /** `A`, `AAAA`, …, `TYPE65280`. */
  readonly type: string;
  readonly state: CacheListing['state'];
  /** Seconds until it ends or, of a failure, until it is asked again; negative when its time is over. */
  readonly leftS: number;
  readonly rcode: string;
  /** Records in its answer section. */
  readonly answers: number;
  readonly bytes: number;
}

export interface KeptAnswers {
  /** The newest first; no more than were asked for. */
  readonly entries: readonly KeptAnswer[];
  /** How many there are. */
  readonly total: number;
}

/** Those of `below` and the names below it (absent: all), at most so many of them. */
export function listKept(listings: Iterable<CacheListing>, below: string | undefined, atMost: number): KeptAnswers {
  const fits = isBelow(below);
  const entries: KeptAnswer[] = [];
  let total = 0;
  for (const { key, state, leftS, rcode, answers, bytes } of listings) {
    if (!fits(key) || ++total > atMost) continue;
    const type = typeName(typeOfKey(key));
    entries.push({ name: nameOfKey(key), type, state, leftS, rcode: rcodeName(rcode), answers, bytes });
  }
  return { entries, total };
}

/** Whether a key's name is this one or below it; any, when there is none to be below of; none, when that is no name. */
export function isBelow(below: string | undefined): (key: string) => boolean {
  if (below === undefined || below === '.') return () => true;
  const labels = encodeLabels(below.replace(/\.$/, ''));
  if (labels === undefined) return () => false;
  const above = `${Buffer.from(labels).toString('latin1')}\0`;
  return (key) => isAtOrBelow(wireNameOfKey(key), above);
}
