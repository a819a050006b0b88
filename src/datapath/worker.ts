// The worker thread: one event loop that carries the TCP proxy, the UDP proxy and the resolver. Started by plane.ts, which
// posts commands and writes the eventfd; while the loop runs nothing else of Node's does (no promise, no timer, no console).
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { TcpProxy } from '../balancer/tcp-proxy.ts';
import { UdpProxy } from '../balancer/udp-proxy.ts';
import { DnsServer } from '../dns/server.ts';
import { EventLoop } from '../native/event-loop.ts';
import type { Fd } from '../native/libc.ts';
import { systemRandom } from '../runtime/random.ts';
import type { WorkerEnv } from '../runtime/worker-env.ts';
import type { Command, Report } from './command.ts';
import { type CounterBuffers, viewCounters } from './counters.ts';

/** What plane.ts starts a worker with. */
export interface WorkerStart {
  readonly port: MessagePort;
  readonly wakeFd: Fd;
  readonly counters: CounterBuffers;
  /** A byte per descriptor: what this worker has open. */
  readonly descriptors: SharedArrayBuffer;
  /** What its predecessor knew, or what is known at the start. */
  readonly commands: readonly Command[];
}

const start = workerData as WorkerStart;
const loop = new EventLoop({ wakeFd: start.wakeFd, descriptors: new Uint8Array(start.descriptors) });
const env: WorkerEnv = {
  counters: viewCounters(start.counters),
  random: systemRandom,
  report: (level, message, fields) => tell({ kind: 'log', level, message, fields }),
};
const tcp = new TcpProxy(loop, env);
const udp = new UdpProxy(loop, env);
const dns = new DnsServer(loop, env);

for (const command of start.commands) apply(command);
loop.onWake(() => {
  for (;;) {
    const received = receiveMessageOnPort(start.port);
    if (received === undefined) return;
    apply(received.message as Command);
  }
});
tell({ kind: 'ready' });
loop.run();
loop.destroy();
start.port.close();

function tell(report: Report): void {
  start.port.postMessage(report);
}

/** What a command leaves half done nobody can tell, so this thread ends, and a new one starts without the command. */
function apply(command: Command): void {
  try {
    carryOut(command);
  } catch (error) {
    tell({ kind: 'refused', command });
    throw error;
  }
}

function carryOut(command: Command): void {
  switch (command.kind) {
    case 'barrier':
      tell({ kind: 'applied', token: command.token });
      return;
    case 'dns-cache-list':
      tell({ kind: 'dns-cache', token: command.token, kept: dns.kept(command.below, command.atMost) });
      return;
    case 'connections-list': {
      const page = (command.of === 'tcp' ? tcp : udp).list(command.wanted);
      tell({ kind: 'connections', token: command.token, page });
      return;
    }
    case 'stop':
      tcp.close();
      loop.stop();
      return;
    case 'backend-set':
    case 'backend-remove':
    case 'frontend-add':
    case 'frontend-remove':
    case 'vip-set':
    case 'endpoint-close':
    case 'connection-log':
      tcp.handle(command);
      udp.handle(command);
      return;
    case 'zone-add':
    case 'zone-remove':
    case 'zone-update':
    case 'scope-set':
    case 'scope-remove':
    case 'dns-socket-add':
    case 'dns-socket-remove':
    case 'upstreams':
    case 'dns-cache-flush':
    case 'dns-query-log':
      dns.handle(command);
      return;
  }
}
