// What readers that stall cost: they ask for a long answer and read nothing of it, so everybody behind them is full.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Contender, MEBIBYTE } from '../contenders.ts';
import type { Bench } from '../measures.ts';
import type { Measure } from '../report.ts';
import { alternate, pick } from '../samples.ts';

/** Each fills what the kernel gives it on the way, which is a megabyte at the most. */
const READERS = 500;
/** Nothing moves any more after this: each answer is as long as one round of the kernel's largest windows. */
const SETTLE_MS = 1500;
const MOST_KIB = 32;

/** Each proxy is started anew for every round. */
export async function measureStalled(
  { extent, say }: Pick<Bench, 'say'> & { readonly extent: Pick<Bench['extent'], 'idleRounds'> },
  start: readonly { readonly name: string; readonly start: () => Promise<Contender> }[],
): Promise<readonly Measure[]> {
  say(`memory of ${READERS} stalled readers …\n`);
  const results = await alternate(start, extent.idleRounds, async (one) => {
    const contender = await one.start();
    const bytes = await bytesPerReader(contender);
    await contender.process?.stop();
    return bytes;
  });
  return [
    {
      title: `resident, more per connection with ${READERS} stalled readers of 1 MiB, KiB`,
      samples: pick(results, (bytes) => bytes / 1024),
      digits: 1,
      goal: { kind: 'most', value: MOST_KIB },
    },
  ];
}

async function bytesPerReader({ port, process }: Contender): Promise<number> {
  const sockets: Socket[] = [];
  try {
    const rest = process?.rssBytes() ?? Number.NaN;
    for (let i = 0; i < READERS; i++) {
      const socket = connect(port, '127.0.0.1');
      // Before it is connected: a paused socket of Node's is never read from.
      socket.pause();
      socket.on('error', () => {});
      sockets.push(socket);
      await once(socket, 'connect');
      socket.write(`GET ${MEBIBYTE} HTTP/1.1\r\nHost: bench\r\n\r\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    return ((process?.rssBytes() ?? Number.NaN) - rest) / READERS;
  } finally {
    for (const socket of sockets) socket.resetAndDestroy();
  }
}
