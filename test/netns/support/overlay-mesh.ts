// What tests of overlay networks across nodes begin with and ask again and again.
import { setTimeout as later } from 'node:timers/promises';
import type { Network } from '../../../src/model/network.ts';
import { close } from '../../../src/native/libc.ts';
import { bridgeOn, Nodes, type RunningContainer, serviceOn, type UnderlayOptions } from './nodes.ts';

/** Who waits this long waits for ever. */
const PATIENCE_MS = 20_000;

interface Test {
  teardown(work: () => Promise<void> | void): void;
}

/** Nodes on which these networks are, each with a service and with the node's number at the end of its own addresses. */
export async function meshOf(
  t: Test,
  count: number,
  networks: readonly Network[],
  { vip, ...underlay }: UnderlayOptions & { readonly vip?: string } = {},
): Promise<Nodes> {
  const nodes = await Nodes.make(t, count, underlay);
  for (const network of networks) {
    const service = vip === undefined ? serviceOn(network) : serviceOn(network, vip);
    nodes.put({ kind: 'network', after: network }, { kind: 'service', after: service });
    for (const node of nodes.nodes) {
      const end = 250 + node.number;
      nodes.put({ kind: 'bridge', after: bridgeOn(node, network, `10.64.0.${end}`, `fd00:64::${end}`) });
    }
  }
  await nodes.start();
  return nodes;
}

/** A server in a container, until the test ends. */
export function serverIn(
  t: Test,
  make: (netns: number, port: number) => number,
  { netns }: RunningContainer,
  port: number,
): number {
  const fd = make(netns, port);
  t.teardown(() => void close(fd));
  return fd;
}

/** Asks until the answer is this; resolves with the last one. */
export async function eventually<T>(wanted: T, ask: () => T | Promise<T>): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer === wanted || Date.now() > end) return answer;
    await later(20);
  }
}
