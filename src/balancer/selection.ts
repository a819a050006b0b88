// PURE: ways of choosing among the endpoints of a backend: whose turn it is, who has least to do, the less busy one of two, or by the
// client's address. Turns, chance and load come in as arguments. `skip` are slots that are not to be chosen.
import type { BalanceMethod } from '../model/service.ts';
import { roundOf } from './choose-endpoint.ts';
import type { Backend } from './command.ts';

/** Endpoints that are equally good apart from their weight. */
export interface Tier {
  /** Their indices in the backend. The arrays below have one element for each, in the same order. */
  readonly members: readonly number[];
  readonly slots: readonly number[];
  readonly weights: readonly number[];
  /** One round of weighted turns, see roundOf. */
  readonly round: Uint16Array;
  /** By which client addresses are shared out. Made of where the endpoint serves, so all workers and nodes agree. */
  readonly seeds: readonly number[];
}

/** How the connections of a backend are shared out. */
export interface Choice {
  readonly method: BalanceMethod;
  /** How long a client comes back to the same endpoint, in seconds since its last connection; 0: not at all. */
  readonly affinityS: number;
  /** From the next tier nothing is chosen while there is somebody in this one. */
  readonly tiers: readonly Tier[];
  /** Round-robin over all: neither the client nor anybody's load matters. */
  readonly isPlain: boolean;
}

/** Connections and flows that are open to the endpoint with this slot. */
export type Load = (slot: number) => number;

export function choiceOf({ endpoints, method = 'round-robin', affinityMs = 0 }: Backend): Choice {
  const all = [...endpoints.keys()];
  const preferred = all.filter((index) => endpoints[index]?.isPreferred === true);
  const rest = all.filter((index) => endpoints[index]?.isPreferred !== true);
  const tiers = [preferred, rest].filter((members) => members.length > 0).map((members) => tierOf(endpoints, members));
  const affinityS = Math.ceil(affinityMs / 1000);
  return { method, affinityS, tiers, isPlain: method === 'round-robin' && affinityS === 0 && tiers.length <= 1 };
}

function tierOf(endpoints: Backend['endpoints'], members: readonly number[]): Tier {
  const chosen = members.flatMap((index) => endpoints[index] ?? []);
  const weights = chosen.map(({ weight }) => weight);
  return {
    members,
    slots: chosen.map(({ slot }) => slot),
    weights,
    round: roundOf(weights),
    seeds: chosen.map(({ address, portMap }) => hashText([address, ...portMap.map(({ port }) => port)].join())),
  };
}

/**
 * The position of the one with the fewest connections for its weight; -1 when all are to be skipped. Among equals it goes round by
 * weight from `turn` on, so that idle ones get their shares, too.
 */
export function leastLoaded(tier: Tier, turn: number, skip: readonly number[], load: Load): number {
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  const equals: number[] = [];
  for (let position = 0; position < tier.slots.length; position++) {
    const slot = tier.slots[position] as number;
    if (skip.includes(slot)) continue;
    const share = load(slot) / (tier.weights[position] as number);
    if (share > least) continue;
    if (share < least) equals.length = 0;
    equals.push(position);
    best = position;
    least = share;
  }
  return equals.length > 1 ? inTurn(tier, turn, equals) : best;
}

function inTurn({ round }: Tier, turn: number, among: readonly number[]): number {
  for (let step = 0; step < round.length; step++) {
    const position = round[((turn >>> 0) + step) % round.length] as number;
    if (among.includes(position)) return position;
  }
  return -1;
}

/**
 * Of two that are drawn by weight, the less busy one, or the first (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing). `chance`
 * gives any 32-bit integer. -1 when all are to be skipped.
 */
export function betterOfTwo(tier: Tier, chance: () => number, skip: readonly number[], load: Load): number {
  const first = drawn(tier, chance, skip);
  if (first < 0) return -1;
  const second = drawn(tier, chance, [...skip, tier.slots[first] as number]);
  if (second < 0) return first;
  const share = (position: number) => load(tier.slots[position] as number) / (tier.weights[position] as number);
  return share(second) < share(first) ? second : first;
}

function drawn({ round, slots }: Tier, chance: () => number, skip: readonly number[]): number {
  if (round.length === 0) return -1;
  const from = (chance() >>> 0) % round.length;
  for (let step = 0; step < round.length; step++) {
    const position = round[(from + step) % round.length] as number;
    if (!skip.includes(slots[position] as number)) return position;
  }
  return -1;
}

/**
 * The same for a client as long as it is there (rendezvous hashing: Thaler and Ravishankar, Using Name-Based Mappings to Increase Hit
 * Rates): when one of n goes, only its clients move, and when one comes, it takes 1/(n+1) of each. -1 when all are to be skipped.
 */
export function byClient(tier: Tier, client: number, skip: readonly number[]): number {
  let best = -1;
  let most = Number.NEGATIVE_INFINITY;
  for (let position = 0; position < tier.slots.length; position++) {
    if (skip.includes(tier.slots[position] as number)) continue;
    const draw = (mix(client, tier.seeds[position] as number) + 1) / 4_294_967_297;
    // The logarithm makes the chance to be first proportional to the weight.
    const score = -(tier.weights[position] as number) / Math.log(draw);
    if (score <= most) continue;
    best = position;
    most = score;
  }
  return best;
}

/** A client's address, as four words of its IPv6 or IPv4-mapped form, in 32 bits. */
export function hashAddress(first: number, second: number, third: number, fourth: number): number {
  return mix(mix(mix(first, second), third), fourth);
}

/** Two words in one, each bit of which depends on all of both: the finalizer of MurmurHash3 over their combination. */
export function mix(one: number, other: number): number {
  let hash = (Math.imul(one, 0x9e3779b1) ^ Math.imul(other, 0x85ebca77) ^ (other >>> 15)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function hashText(text: string): number {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = mix(hash, text.charCodeAt(i));
  return hash;
}
