// How long clients may keep what they were told about names.
import type { Network } from './network.ts';

/**
 * Seconds. An hour, because all that time clients go on connecting to endpoints that went: Docker's 600 is what its users
 * complain about.
 */
export const MAX_DNS_TTL_S = 3600;

/** The option of a network (`driver_opts`, `--opt`) that sets it for all its names. */
export const DNS_TTL_OPTION = 'dns_ttl';

/** `30` or `30s`: whole seconds from 0 to MAX_DNS_TTL_S; undefined when it is none. */
export function parseDnsTtl(text: string): number | undefined {
  const digits = /^(\d{1,4})s?$/.exec(text)?.[1];
  return digits === undefined || !isDnsTtl(Number(digits)) ? undefined : Number(digits);
}

export function isDnsTtl(seconds: number): boolean {
  return Number.isInteger(seconds) && seconds >= 0 && seconds <= MAX_DNS_TTL_S;
}

/** Undefined: the resolver's own. */
export function networkDnsTtl({ spec }: Network): number | undefined {
  return parseDnsTtl(spec.options[DNS_TTL_OPTION] ?? '');
}
