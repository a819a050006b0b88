// A neighbour that is known to be there is not asked for by the kernel, so it is not lost where its answers would be.
import { inOwnNetns } from '../support/own-netns.ts';
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { connectUdp } from '../../src/native/datagram-socket.ts';
import { close, send } from '../../src/native/libc.ts';
import { Neighbours } from '../../src/native/neighbours.ts';
import { createNetns, deleteNetns } from '../../src/native/netns.ts';
import { needsPrograms, needsRoot } from '../support/requirements.ts';

const BYTE = Buffer.alloc(1);
/** Refuses questions for addresses, and lets everything else in. */
const DEAF = `table arp deaf { chain input { type filter hook input priority 0; drop; }; }; table ip6 deaf { chain input { type filter hook input priority 0; icmpv6 type nd-neighbor-solicit drop; }; }`;
/** The kernel asks for the neighbour, or has done so in vain. */
const ASKED_FOR = ['PROBE', 'INCOMPLETE', 'FAILED'];

async function states(): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await promisify(execFile)('ip', ['-j', 'neighbour', 'show', 'dev', 'here']);
  const entries = JSON.parse(stdout) as { dst: string; state: string[] }[];
  return new Map(entries.map(({ dst, state }) => [dst, state.join()]));
}

/** The name of a namespace with these addresses. Entries for them grow old here within four seconds. */
function neighbour(t: Test, addresses: readonly string[]): string {
  const name = `vipmesh-neighbour-${process.pid}`;
  createNetns(`/run/netns/${name}`);
  t.teardown(() => deleteNetns(`/run/netns/${name}`));
  const ip = (...words: string[]) => execFileSync('ip', words);
  const withLength = (one: string) => (one.includes(':') ? [`${one}/64`, 'nodad'] : [`${one}/24`]);
  ip('link', 'add', 'here', 'type', 'veth', 'peer', 'name', 'there', 'netns', name);
  for (const family of ['ipv4', 'ipv6']) {
    writeFileSync(`/proc/sys/net/${family}/neigh/here/base_reachable_time_ms`, '500');
    writeFileSync(`/proc/sys/net/${family}/neigh/here/delay_first_probe_time`, '3');
  }
  for (const one of ['198.18.0.1', 'fd00:18::1']) ip('address', 'add', 'dev', 'here', ...withLength(one));
  ip('link', 'set', 'here', 'up');
  for (const one of addresses) ip('-n', name, 'address', 'add', 'dev', 'there', ...withLength(one));
  ip('-n', name, 'link', 'set', 'there', 'up');
  return name;
}

t.test('what answers is not asked for', async (t) => {
  if (!needsRoot(t, 'it makes network namespaces') || !t.ok(inOwnNetns)) return;
  if (!needsPrograms(t, 'nft', 'ip')) return;
  const known = ['198.18.0.2', 'fd00:18::2'];
  const others = ['198.18.0.3', 'fd00:18::3'];
  const all = [...known, ...others];
  const peer = neighbour(t, all);
  const neighbours = new Neighbours();
  t.teardown(() => neighbours.close());
  const sockets = all.map((address) => connectUdp(address, 9));
  t.teardown(() => sockets.forEach(close));
  let confirmed: readonly string[] = known;
  const traffic = setInterval(() => {
    for (const one of sockets) send(one, BYTE, BYTE.length, 0);
    for (const one of confirmed) neighbours.confirm(one);
  }, 20);
  t.teardown(() => clearInterval(traffic));
  const isFound = (state = 'INCOMPLETE') => !ASKED_FOR.includes(state);
  for (let seen = await states(); !all.every((one) => isFound(seen.get(one))); ) seen = await states();
  // Not in one go: who is known is to be confirmed meanwhile.
  await promisify(execFile)('ip', ['netns', 'exec', peer, 'nft', DEAF]);

  const asked = new Set<string>();
  const watch = async (until: readonly string[]) => {
    while (!until.every((one) => asked.has(one))) {
      const seen = await states();
      for (const one of all) if (!isFound(seen.get(one))) asked.add(one);
    }
  };
  await watch(others);
  t.same([...asked].sort(), others, 'only for what does not answer');
  confirmed = [];
  await watch(all);
  t.pass('and for the others as soon as they are not confirmed any more');
  neighbours.confirm('203.0.113.1');
  t.pass('no route: nothing happens');
});
