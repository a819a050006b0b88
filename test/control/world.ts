// Control with a real store in a temporary directory, and specs of which a test says only what matters.
import { join } from 'node:path';
import type { Test } from 'tap';
import { ID_BYTES, idFromBytes } from '../../src/allocate/ids.ts';
import { Catalog } from '../../src/catalog/catalog.ts';
import { Control, type ControlOptions } from '../../src/control/control.ts';
import type { NetworkSpec } from '../../src/model/network.ts';
import type { NodeId } from '../../src/model/node.ts';
import type { PortNumber, PublishSpec, TargetPort } from '../../src/model/port.ts';
import type { ServiceSpec } from '../../src/model/service.ts';
import type { LogFields } from '../../src/runtime/log.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import type { Store } from '../../src/store/store.ts';
import { FakeClock } from '../support/fake-clock.ts';

export interface World {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly control: Control;
  readonly clock: FakeClock;
  /** What was logged as a warning: the message and its fields. */
  readonly warnings: (readonly [string, LogFields | undefined])[];
  /** Another agent on the same store. */
  second(nodeId: string, nodeName: string): Promise<Control>;
  /** What `list` gives, but for the head: how often anything was written. */
  revision(): Promise<number>;
}

export async function openWorld(t: Test, options: Partial<ControlOptions> = {}): Promise<World> {
  const store = openEmbeddedStore({ directory: join(t.testdir(), 'state') });
  const clock = new FakeClock();
  const warnings: (readonly [string, LogFields | undefined])[] = [];
  const warn = (message: string, fields?: LogFields) => void warnings.push([message, fields]);
  const log = { debug() {}, info() {}, warn, error() {} };
  const catalog = await Catalog.open(store, { clock });
  const common = { store, privileged: true, allowPlaintextOverlays: false, portProblem: () => undefined, log, clock };
  const control = await Control.open({
    ...common,
    catalog,
    nodeName: 'one',
    nodeId: 'node1' as NodeId,
    newId: seededIds(1),
    ...options,
  });
  const catalogs = [catalog];
  t.teardown(async () => {
    for (const one of catalogs) one.close();
    await store.close();
  });
  return {
    store,
    catalog,
    control,
    clock,
    warnings,
    async second(nodeId, nodeName) {
      const other = await Catalog.open(store, { clock });
      catalogs.push(other);
      return Control.open({ ...common, catalog: other, nodeId: nodeId as NodeId, nodeName, newId: seededIds(99) });
    },
    revision: async () => (await store.list('')).revision,
  };
}

function seededIds(seed: number): () => string {
  const random = seededRandom(seed);
  return () => idFromBytes(Uint8Array.from({ length: ID_BYTES }, () => Math.floor(random.unit() * 256)));
}

export function networkSpec(name: string, more: Partial<NetworkSpec> = {}): NetworkSpec {
  return {
    name,
    driver: 'overlay',
    subnets: [],
    ipv6: false,
    internal: false,
    attachable: false,
    labels: {},
    options: {},
    ...more,
  };
}

/** `networks`: names, or `NAME=ALIAS,ALIAS`. `publish`: `80`, `8080:80`, `53:53/udp`. `expose`: `80`, `53/udp`. */
export interface ShortSpec extends Partial<Omit<ServiceSpec, 'networks' | 'publish' | 'expose'>> {
  readonly networks?: readonly string[];
  readonly publish?: readonly (string | PublishSpec)[];
  readonly expose?: readonly string[];
}

export function serviceSpec(
  name: string,
  { networks = [], publish = [], expose = [], ...more }: ShortSpec = {},
): ServiceSpec {
  return {
    name,
    labels: {},
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: networks.map((text) => {
      const [network = '', aliases] = text.split('=');
      return { network, aliases: aliases === undefined ? [] : aliases.split(',') };
    }),
    publish: publish.map((one) => (typeof one === 'string' ? publishSpec(one) : one)),
    expose: expose.map(targetPort),
    endpoints: [],
    drainTimeoutMs: 10_000,
    ...more,
  };
}

export function publishSpec(text: string): PublishSpec {
  const [ports = '', protocol = 'tcp'] = text.split('/');
  const [first, second] = ports.split(':').map((port) => Number(port) as PortNumber);
  const base = { protocol: protocol as 'tcp' | 'udp', mode: 'ingress' } as const;
  if (second === undefined) return { ...base, targetPort: first as PortNumber };
  return { ...base, publishedPort: first as PortNumber, targetPort: second };
}

function targetPort(text: string): TargetPort {
  const [port, protocol = 'tcp'] = text.split('/');
  return { protocol: protocol as 'tcp' | 'udp', port: Number(port) as PortNumber };
}

/** What a command was refused with. */
export async function refusal(command: Promise<unknown>): Promise<string> {
  try {
    await command;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code}: ${message}`;
  }
  return 'done';
}
