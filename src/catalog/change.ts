// One committed difference, as the catalog understands it.
import type { Network } from '../model/network.ts';
import type { Bridge, Node, Presence, Suspicion } from '../model/node.ts';
import type { Service } from '../model/service.ts';
import type { Task } from '../model/task.ts';

/** What was (`before`) and what is (`after`); one of them may be absent: created, removed. */
export interface Difference<T> {
  readonly before?: T;
  readonly after?: T;
}

export type Change =
  | ({ readonly kind: 'network' } & Difference<Network>)
  | ({ readonly kind: 'service' } & Difference<Service>)
  | ({ readonly kind: 'task' } & Difference<Task>)
  | ({ readonly kind: 'node' } & Difference<Node>)
  | ({ readonly kind: 'presence' } & Difference<Presence>)
  | ({ readonly kind: 'bridge' } & Difference<Bridge>)
  /** Not committed: what this agent alone has found out. */
  | ({ readonly kind: 'suspicion' } & Difference<Suspicion>);
