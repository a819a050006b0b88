// Another node, as this one's probes find it.
import type { Answer } from './asks.ts';
import type { Place } from './probe-socket.ts';
import type { PeerWatch } from './suspicion.ts';

export interface PeerView extends Place {
  readonly suspected: boolean;
  /** Clock.now(); absent before the first. */
  readonly lastAnswerAt?: number;
  /** Smoothed milliseconds from probe to answer. */
  readonly rttMs?: number;
  /** The last one. */
  readonly answer?: Answer;
}

export interface Peer {
  readonly place: Place;
  watch: PeerWatch;
  lastAnswerAt?: number;
  answer?: Answer;
}

export function viewOf({ place, watch, lastAnswerAt, answer }: Peer): PeerView {
  return {
    ...place,
    suspected: watch.suspected,
    ...(lastAnswerAt === undefined ? {} : { lastAnswerAt }),
    ...(watch.rttMs === undefined ? {} : { rttMs: watch.rttMs }),
    ...(answer === undefined ? {} : { answer }),
  };
}
