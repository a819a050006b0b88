// Who else answers DNS where a container looks for the embedded resolver. Docker's own one is not on port 53: it listens on
// another port of the same address, and a NAT rule in the container leads there, past whoever has bound port 53.
import { readFileSync } from 'node:fs';
import type { Fd } from '../native/libc.ts';
import { inNetns } from '../native/netns.ts';

/** 127.0.0.11 as /proc/net/udp and tcp write it: the four bytes as one number of the machine, which is little-endian here. */
const RESOLVER_HEX = '0B00007F';

/**
 * Some other program in the namespace listens at 127.0.0.11. UDP tells: who answers DNS does so over UDP, and the table of TCP takes
 * 6 to 10 ms to read, because the kernel walks the connections of the whole machine for it.
 */
export function hasOtherResolver(netns: Fd): boolean {
  return listensAtResolver(inNetns(netns, () => readFileSync('/proc/thread-self/net/udp', 'latin1')));
}

/** Of the sockets of /proc/net/udp, which is written as proc_net_tcp(5) says, one waits at the address. */
export function listensAtResolver(table: string): boolean {
  return table
    .split('\n')
    .slice(1)
    .some((line) => {
      const [, local = '', remote = ''] = line.trim().split(/\s+/);
      return local.startsWith(`${RESOLVER_HEX}:`) && remote === '00000000:0000';
    });
}
