// The channel between the main thread and a worker: posted, then announced by the worker's eventfd.
import type { BalancerCommand } from '../balancer/command.ts';
import type { ConnectionPage, PageWanted } from '../balancer/connection-listing.ts';
import type { KeptAnswers } from '../dns/cache-listing.ts';
import type { DnsCommand } from '../dns/command.ts';

export type Command =
  | BalancerCommand
  | DnsCommand
  /** Answered with `applied`: everything posted before this has taken effect. */
  | { readonly kind: 'barrier'; readonly token: number }
  /** Answered with `dns-cache`: what is kept of upstreams' answers about this name and those below it, or about all. */
  | { readonly kind: 'dns-cache-list'; readonly token: number; readonly below?: string; readonly atMost: number }
  /** Answered with `connections`: a page of what is open. */
  | {
      readonly kind: 'connections-list';
      readonly token: number;
      readonly of: 'tcp' | 'udp';
      readonly wanted: PageWanted;
    }
  /** Leave the loop and end the thread. */
  | { readonly kind: 'stop' };

/** What a worker tells the main thread. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'applied'; readonly token: number }
  | { readonly kind: 'dns-cache'; readonly token: number; readonly kept: KeptAnswers }
  | { readonly kind: 'connections'; readonly token: number; readonly page: ConnectionPage }
  /** A command could not be carried out; the worker ends, and its successor must not be given the command again. */
  | { readonly kind: 'refused'; readonly command: Command }
  | {
      readonly kind: 'log';
      readonly level: 'warn' | 'error' | 'info';
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number>>;
    };
