// The worker thread behind dns-worker.ts: an event loop with a resolver and nothing else.
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { DnsCommand } from '../../src/dns/command.ts';
import { DnsServer } from '../../src/dns/server.ts';
import { TCP_LIMITS, type TcpLimits } from '../../src/dns/tcp-server.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { systemRandom } from '../../src/runtime/random.ts';

export interface ThreadData {
  readonly port: MessagePort;
  readonly wakeFd: number;
  readonly totals: Float64Array;
  readonly tcp: Partial<TcpLimits>;
}

export type ThreadCommand = DnsCommand | { readonly kind: 'barrier' } | { readonly kind: 'stop' };

const { port, wakeFd, totals, tcp } = workerData as ThreadData;
const loop = new EventLoop({ wakeFd });
const empty = new Float64Array(0);
const counters = {
  totals,
  frontends: empty,
  endpoints: empty,
  services: empty,
  allEndpoints: [],
  affinity: new SharedArrayBuffer(0),
  roundRobin: new Int32Array(0),
  openConnections: new SharedArrayBuffer(0),
  ownOpenConnections: new SharedArrayBuffer(0),
};
const server = new DnsServer(loop, { counters, random: systemRandom }, { ...TCP_LIMITS, ...tcp });

loop.onWake(() => {
  for (;;) {
    const received = receiveMessageOnPort(port);
    if (received === undefined) return;
    const command = received.message as ThreadCommand;
    if (command.kind === 'stop') loop.stop();
    else if (command.kind === 'barrier') port.postMessage('applied');
    else if (!server.handle(command)) throw new Error('a command that nobody handles');
  }
});
loop.run();
loop.destroy();
port.close();
