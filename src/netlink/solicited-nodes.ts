// Whether the kernel listens already for those who look for an IPv6 address of its own.
//
// It acknowledges a new address before it has joined the address's solicited-node group (RFC 4291 section 2.7.1), which a worker of the
// kernel does a moment later. Who asks for the address in between is not heard, and asks again only after a second (RFC 4861,
// RETRANS_TIMER).
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type IpAddress, ipToBytes } from '../model/address.ts';
import type { Fd } from '../native/libc.ts';
import { inNetns } from '../native/netns.ts';

const GROUP_PREFIX = 'ff0200000000000000000001ff';
/** The low bytes of the address that are in the group's. */
const OWN_BYTES = 3;
/** Longer than the kernel ever takes; an address that has gone meanwhile is not waited for any longer. */
const ATTEMPTS = 100;
const POLL_MS = 2;

/** Resolves when the link has joined the group of this IPv6 address, or does not within 200 ms. */
export async function untilJoined(netns: Fd, link: string, address: IpAddress): Promise<void> {
  const group = GROUP_PREFIX + Buffer.from(ipToBytes(address).subarray(-OWN_BYTES)).toString('hex');
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const groups = inNetns(netns, () => readFileSync('/proc/thread-self/net/igmp6', 'latin1'));
    if (groups.split('\n').some((line) => line.split(/\s+/)[1] === link && line.includes(group))) return;
    await pause(POLL_MS);
  }
}
