// When a node that does not answer is suspected, and when it is asked. PURE: one value per peer, times are Clock.now() milliseconds.
//
// A peer is asked every 0.5 s. When a probe stays without an answer it is asked again and again, every 50 ms, until it answers or
// has been silent for 2 s; then it is suspected, and asked every 0.5 s until its first answer ends that.
//
// Why so often: where each way loses 20 % of the packets, a probe fails with 1 - 0.8² = 0.36. Four in a row, which is what 2 s of
// ordinary probes are, fail once in 60 attempts. Suspicion therefore needs ENOUGH_PROBES = 27 probes without any answer between
// them: 0.36^27 = 1.05e-12. Such a row can begin after every answered probe, at most once in 0.5 s: 1,200 times in 10 minutes
// for each of the 25 × 24 pairs of 25 nodes, 720,000 times in all. So 25 nodes that lose 20 % each way suspect one of them
// falsely once in 1.3 million such periods of 10 minutes (7.6e-7), and a node of its 24 others in 33 million.
//
// Why soon enough: a peer that died just after an answer is asked at 500 ms, then from 550 to 650 ms on (as its round trips
// were) every 50 ms; the 27th probe leaves by 1,900 ms, and is given its round trip: suspected 2.0 to 2.1 s after its last answer.
//
// What is our own doing is no sign of the other's death. A timer that fired more than STALL_MS late means that this process did
// not run, so that time is not counted. For smaller delays the probes that were missed are sent together, and since 27 of them
// are needed, a slow prober takes longer to suspect, never shorter.

/** One agent's view of another. */
export interface PeerWatch {
  readonly suspected: boolean;
  /** Since the last answer, or since it is watched; later when this process has stood still. */
  readonly silentSince: number;
  /** Probes since then. Any answer, to whichever of them, makes it 0. */
  readonly unanswered: number;
  /** When the probe was sent that made them enough. */
  readonly enoughAt?: number;
  readonly lastProbeAt?: number;
  readonly nextProbeAt: number;
  /** Smoothed milliseconds from probe to answer, and their mean deviation, as RFC 6298 section 2; absent before the first answer. */
  readonly rttMs?: number;
  readonly rttDeviationMs?: number;
}

/** Between probes of a peer that answers, and of one that is suspected. */
export const PROBE_INTERVAL_MS = 500;
/** Between probes of a peer that should have answered. */
export const FAST_INTERVAL_MS = 50;
/** Of silence, and then it is suspected, when it was asked often enough. */
export const SILENCE_MS = 2000;
/** See above: of 27 independent probes one is answered, but for once in 9.5e11, where 36 % of them fail. */
export const ENOUGH_PROBES = 27;
/** A timer that was later than this tells of a process that did not run. */
export const STALL_MS = 500;

/** `phase` in [0, 1) spreads the probes of many peers over the interval. */
export function beginWatch(now: number, phase: number): PeerWatch {
  return { suspected: false, silentSince: now, unanswered: 0, nextProbeAt: now + phase * PROBE_INTERVAL_MS };
}

/** When something is due. */
export function nextStep(watch: PeerWatch): number {
  return Math.min(watch.nextProbeAt, silentAt(watch));
}

/** How many probes must leave now, and the watch as it is when they have left: several when the caller comes late. */
export function dueProbes(watch: PeerWatch, now: number): { readonly watch: PeerWatch; readonly probes: number } {
  if (watch.nextProbeAt > now) return { watch, probes: 0 };
  if (watch.suspected) {
    return { watch: { ...watch, lastProbeAt: now, nextProbeAt: now + PROBE_INTERVAL_MS }, probes: 1 };
  }
  let [probes, next, unanswered] = [0, watch.nextProbeAt, watch.unanswered];
  let enoughAt = watch.enoughAt;
  while (next <= now && probes < MAX_AT_ONCE) {
    next += unanswered === 0 ? patience(watch) : FAST_INTERVAL_MS;
    probes++;
    unanswered++;
    if (unanswered === ENOUGH_PROBES) enoughAt = now;
  }
  const nextProbeAt = next > now ? next : now + FAST_INTERVAL_MS;
  const sent = { ...watch, unanswered, lastProbeAt: now, nextProbeAt };
  return { watch: enoughAt === undefined ? sent : { ...sent, enoughAt }, probes };
}

/** An answer ends silence and suspicion. `rttMs`: since the very probe that it answers. */
export function answered(watch: PeerWatch, now: number, rttMs: number): PeerWatch {
  const { rttMs: smoothed, rttDeviationMs: deviation = 0 } = watch;
  return {
    suspected: false,
    silentSince: now,
    unanswered: 0,
    nextProbeAt: (watch.lastProbeAt ?? now) + PROBE_INTERVAL_MS,
    ...(watch.lastProbeAt === undefined ? {} : { lastProbeAt: watch.lastProbeAt }),
    rttMs: smoothed === undefined ? rttMs : smoothed + (rttMs - smoothed) / 8,
    rttDeviationMs: smoothed === undefined ? rttMs / 2 : deviation + (Math.abs(rttMs - smoothed) - deviation) / 4,
  };
}

/** This process did not run for that long, until now: neither silence nor missed probes of that time are held against anybody. */
export function excuse(watch: PeerWatch, now: number, stalledMs: number): PeerWatch {
  return {
    ...watch,
    silentSince: Math.min(now, watch.silentSince + stalledMs),
    nextProbeAt: Math.max(watch.nextProbeAt, now),
    ...(watch.enoughAt === undefined ? {} : { enoughAt: Math.min(now, watch.enoughAt + stalledMs) }),
  };
}

/** The peer itself asked us something, so it may be back: a suspected one is asked at once. */
export function heard(watch: PeerWatch, now: number): PeerWatch {
  if (!watch.suspected) return watch;
  const soonest = Math.max(now, (watch.lastProbeAt ?? now) + FAST_INTERVAL_MS);
  return soonest < watch.nextProbeAt ? { ...watch, nextProbeAt: soonest } : watch;
}

/** Whether it is to be suspected, unless an answer has already arrived and is only to be read. */
export function isSilent(watch: PeerWatch, now: number): boolean {
  return now >= silentAt(watch);
}

export function suspect(watch: PeerWatch, now: number): PeerWatch {
  return { ...watch, suspected: true, nextProbeAt: (watch.lastProbeAt ?? now) + PROBE_INTERVAL_MS };
}

/** What one caller that is as late as can be, without having stood still, has missed. */
const MAX_AT_ONCE = STALL_MS / FAST_INTERVAL_MS;
/** More, and too few probes would fit into the silence that is left. */
const MAX_PATIENCE_MS = 150;

/** When the peer becomes suspect, as things are. */
function silentAt(watch: PeerWatch): number {
  if (watch.suspected || watch.enoughAt === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(watch.silentSince + SILENCE_MS, watch.enoughAt + patience(watch));
}

/** After which a probe counts as lost: RFC 6298's retransmission timeout, within what the promise allows. */
function patience({ rttMs, rttDeviationMs = 0 }: PeerWatch): number {
  if (rttMs === undefined) return MAX_PATIENCE_MS;
  return Math.min(MAX_PATIENCE_MS, Math.max(FAST_INTERVAL_MS, rttMs + 4 * rttDeviationMs));
}
