// The addresses by which other nodes know this one: found among what the machine has, and watched. One that was given stays what it
// is, and it is told when it is not on the machine; one that was found is followed when the machine gets another.
import { reachableAddress } from '../config-cluster.ts';
import type { IpAddress } from '../model/address.ts';
import { ipVersion, prefixLength } from '../model/address.ts';
import type { Namespace, Observed } from '../netlink/kernel.ts';
import type { Log } from '../runtime/log.ts';
import { isOfAgents } from './node-network.ts';

export interface GivenAddresses {
  readonly advertise?: IpAddress;
  readonly dataAddress?: IpAddress;
}

export interface OwnAddressOptions {
  /** The node's own. */
  readonly namespace: Pick<Namespace, 'observe' | 'routed' | 'watchLinks'>;
  readonly given: GivenAddresses;
  readonly log: Log;
  /** The machine has no longer the address that was found, but this one. Called again by and by when it rejects. */
  readonly moved: (address: IpAddress) => Promise<void>;
}

/** An address that is renewed or renumbered goes and comes within moments. */
const SETTLE_MS = 500;
const RETRY_MS = 2000;

/** The one to be told others by, of a machine where none was given. Rejects with KernelError. */
export async function findAddress(namespace: OwnAddressOptions['namespace']): Promise<IpAddress | undefined> {
  const { addresses } = await namespace.observe();
  return (await bestAddress(namespace, addresses, undefined)) ?? reachableAddress(own(addresses).map(byAddress));
}

export class OwnAddress {
  readonly #options: OwnAddressOptions;
  #current: IpAddress;
  /** Where it was when it was last seen. */
  #link: string | undefined;
  #missing: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #stop: (() => void) | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: OwnAddressOptions, current: IpAddress) {
    this.#options = options;
    this.#current = current;
  }

  /** What is not as others are told, as whole sentences. */
  get problems(): readonly string[] {
    return this.#missing;
  }

  /** Looks now, and whenever links or addresses have changed. Never rejects. */
  async start(): Promise<void> {
    this.#stop = this.#options.namespace.watchLinks(() => this.#lookSoon(SETTLE_MS));
    await this.#look();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop?.();
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #lookSoon(delayMs: number): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#look();
    }, delayMs).unref();
  }

  #look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#isClosed) return;
      try {
        await this.#compare();
      } catch (error) {
        this.#options.log.warn('cannot follow the addresses of this machine; trying again', { error });
        this.#lookSoon(RETRY_MS);
      }
    });
    return this.#looking;
  }

  async #compare(): Promise<void> {
    const { given, namespace, log, moved } = this.#options;
    const { addresses } = await namespace.observe();
    const there = addresses.find(({ address }) => address === this.#current);
    if (there !== undefined) this.#link = there.link;
    else if (given.advertise === undefined) {
      const next = await bestAddress(namespace, addresses, this.#link);
      if (next !== undefined) {
        const former = this.#current;
        await moved(next);
        this.#current = next;
        this.#link = addresses.find(({ address }) => address === next)?.link;
        log.warn('this machine has another address, and other nodes are told', { address: next, former });
      }
    }
    this.#tell(missingAmong(addresses, given, this.#current));
  }

  #tell(missing: readonly string[]): void {
    for (const problem of missing) if (!this.#missing.includes(problem)) this.#options.log.error(problem);
    if (missing.length === 0 && this.#missing.length > 0)
      this.#options.log.info('this machine has the addresses again by which other nodes know it');
    this.#missing = missing;
  }
}

function missingAmong(
  addresses: Observed['addresses'],
  { advertise, dataAddress }: GivenAddresses,
  current: IpAddress,
): readonly string[] {
  const there = new Set(addresses.map(byAddress));
  // All of 127.0.0.0/8 is the machine's.
  const isMissing = (address: IpAddress): boolean => !there.has(address) && !address.startsWith('127.');
  const text = (address: IpAddress, from: string, remedy: string) =>
    `${address}, ${from}, is not on this machine: other nodes do not reach it; ${remedy}`;
  return [
    ...(isMissing(current)
      ? [
          advertise === undefined
            ? text(current, 'at which other nodes know this one', 'no link has another that leads to them')
            : text(
                current,
                'given by --advertise',
                'give it back to one of its links, or start the agent with another',
              ),
        ]
      : []),
    ...(dataAddress !== undefined && dataAddress !== current && isMissing(dataAddress)
      ? [
          text(
            dataAddress,
            'given by --data-address',
            'give it back to one of its links, or start the agent with another',
          ),
        ]
      : []),
  ];
}

/**
 * One on the link that had the last, else on one that leads everywhere: other links are those of containers as often as not. Undefined
 * when there is none.
 */
async function bestAddress(
  namespace: OwnAddressOptions['namespace'],
  addresses: Observed['addresses'],
  link: string | undefined,
): Promise<IpAddress | undefined> {
  const on = (links: ReadonlySet<string>) =>
    reachableAddress(
      own(addresses)
        .filter((one) => links.has(one.link))
        .map(byAddress),
    );
  const same = link === undefined ? undefined : on(new Set([link]));
  if (same !== undefined) return same;
  const routes = await namespace.routed();
  for (const version of [4, 6] as const) {
    const leading = routes.filter(
      ({ destination }) =>
        prefixLength(destination) === 0 && ipVersion(destination.split('/')[0] as IpAddress) === version,
    );
    const found = on(new Set(leading.map((one) => one.link)));
    if (found !== undefined) return found;
  }
  return undefined;
}

function own(addresses: Observed['addresses']): Observed['addresses'] {
  return addresses.filter(({ link, deprecated }) => !isOfAgents(link) && !deprecated);
}

function byAddress({ address }: { readonly address: IpAddress }): IpAddress {
  return address;
}
