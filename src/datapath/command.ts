// The channel between the main thread and a worker: posted, then announced by the worker's eventfd.
import type { BalancerCommand } from '../balancer/command.ts';
import type { DnsCommand } from '../dns/command.ts';

export type Command =
  | BalancerCommand
  | DnsCommand
  /** Answered with `applied`: everything posted before this has taken effect. */
  | { readonly kind: 'barrier'; readonly token: number }
  /** Leave the loop and end the thread. */
  | { readonly kind: 'stop' };

/** What a worker tells the main thread. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'applied'; readonly token: number }
  /** A command could not be carried out; the worker ends, and its successor must not be given the command again. */
  | { readonly kind: 'refused'; readonly command: Command }
  | {
      readonly kind: 'log';
      readonly level: 'warn' | 'error' | 'info';
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number>>;
    };
