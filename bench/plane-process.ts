// The data plane with one worker in a process of its own, told what an agent would tell it.
import type { BackendEndpoint } from '../src/balancer/command.ts';
import { DataPlane } from '../src/datapath/plane.ts';
import { bindUdp } from '../src/native/datagram-socket.ts';
import { listenTcp } from '../src/native/stream-socket.ts';
import { createLog } from '../src/runtime/log.ts';

export interface PlaneOptions {
  /** A published TCP port, and the endpoint's port on 127.0.0.1. */
  readonly tcp: { readonly port: number; readonly endpoint: number };
  readonly udp: { readonly port: number; readonly endpoint: number };
  readonly dns: {
    readonly port: number;
    readonly names: readonly { readonly name: string; readonly address: string }[];
  };
}

const TARGET_PORT = 80;
const NETWORK = 0;

async function run(options: PlaneOptions): Promise<void> {
  const plane = await DataPlane.start({ workers: 1, log: createLog({ level: 'info', format: 'json' }) });
  const endpoint = (slot: number, port: number): BackendEndpoint => ({
    slot,
    address: '127.0.0.1',
    portMap: [{ targetPort: TARGET_PORT, port }],
    netns: 0,
    weight: 1,
  });
  for (const [id, { endpoint: port }] of [options.tcp, options.udp].entries()) {
    plane.post({ kind: 'backend-set', backend: { id, roundRobinSlot: id, endpoints: [endpoint(id, port)] } });
  }
  const tcp = listenTcp('::', options.tcp.port, { reusePort: true });
  const udp = bindUdp('::', options.udp.port, { reusePort: true, packetInfo: true });
  for (const [id, [protocol, fd]] of (
    [
      ['tcp', tcp],
      ['udp', udp],
    ] as const
  ).entries()) {
    const target = { kind: 'port', backend: id, targetPort: TARGET_PORT } as const;
    plane.postTo(0, { kind: 'frontend-add', frontend: { id, protocol, fd, target } });
  }
  publishNames(plane, options.dns);
  await plane.barrier();
}

function publishNames(plane: DataPlane, dns: PlaneOptions['dns']): void {
  plane.post({ kind: 'zone-add', network: NETWORK, name: 'bench', subnets: ['10.64.0.0/16'] });
  plane.post({
    kind: 'zone-update',
    update: {
      network: NETWORK,
      names: dns.names.map(({ name, address }) => ({ name, addresses: [address], exists: true })),
      pointers: [],
    },
  });
  plane.post({ kind: 'scope-set', scope: { id: 0, networks: [NETWORK], forward: false } });
  const fd = bindUdp('127.0.0.1', dns.port, { reusePort: true });
  plane.postTo(0, { kind: 'dns-socket-add', fd, protocol: 'udp', scope: 0 });
}

await run(JSON.parse(process.argv[2] ?? '{}') as PlaneOptions);
