// Several nodes on one machine: network namespaces joined by a bridge, each with a process that drives its overlay, and the
// records that all of them see.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Change } from '../../../src/catalog/change.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { Network, NetworkId } from '../../../src/model/network.ts';
import { type Bridge, bridgeId, type NodeId, type Presence } from '../../../src/model/node.ts';
import type { PortNumber } from '../../../src/model/port.ts';
import type { Task, TaskId } from '../../../src/model/task.ts';
import { closeNetns, openNetns } from '../../../src/native/netns.ts';
import type { MacAddress } from '../../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';
import { namespacePrefix } from '../../../src/overlay/names.ts';
import type { ContainerSpec } from '../../../src/overlay/plan.ts';
import { linkAddresses } from '../../../src/overlay/remotes.ts';
import { ip, service } from '../../support/builders.ts';
import type { NodeAnswer, NodeCommand, NodeSettings } from './overlay-node.ts';

const SCRIPT = fileURLToPath(new URL('./overlay-node.js', import.meta.url));

export interface UnderlayOptions {
  /** The nodes' addresses are these with their number at the end. */
  readonly prefix?: string;
  readonly mtu?: number;
}

/** The machines' network, and what is on record about their cluster. */
export class Nodes {
  readonly kernel = new LinuxKernel();
  readonly nodes: OverlayNodeProcess[] = [];
  readonly #records = new Map<string, Change>();
  readonly #prefix: string;
  readonly #mtu: number;
  readonly #netns: number[] = [];

  private constructor({ prefix = '192.0.2.', mtu = 1500 }: UnderlayOptions) {
    this.#prefix = prefix;
    this.#mtu = mtu;
  }

  static async make(t: { teardown(work: () => Promise<void>): void }, count: number, options: UnderlayOptions = {}) {
    const nodes = new Nodes(options);
    t.teardown(() => nodes.close());
    await nodes.kernel.own.apply({ kind: 'add-bridge', name: 'underlay' });
    await nodes.kernel.own.apply({ kind: 'set-link', name: 'underlay', up: true, mtu: nodes.#mtu });
    for (let number = 1; number <= count; number++) await nodes.add(number);
    return nodes;
  }

  /** A machine on the underlay that is no node: its namespace. */
  async machine(number: number): Promise<number> {
    const name = `machine${number}`;
    const namespace = await this.kernel.ensureNamespace(name);
    const mac = `02:00:00:00:00:${number.toString(16).padStart(2, '0')}` as MacAddress;
    const { own } = this.kernel;
    await own.apply({ kind: 'add-veth', name: `port${number}`, peer: { namespace: name, name: 'eth0', mac } });
    const mtu = this.#mtu;
    await own.apply({ kind: 'set-link', name: `port${number}`, up: true, master: 'underlay', mtu });
    await namespace.apply({ kind: 'set-link', name: 'eth0', up: true, mtu });
    const address = {
      address: this.addressOf(number),
      prefixLength: this.#prefix.includes(':') ? 64 : 24,
      deprecated: false,
    };
    await namespace.apply({ kind: 'add-address', link: 'eth0', address });
    return namespace.fd;
  }

  addressOf(number: number): IpAddress {
    return ip(`${this.#prefix}${number}`);
  }

  async add(number: number): Promise<OverlayNodeProcess> {
    await this.machine(number);
    const node = new OverlayNodeProcess(number, this.addressOf(number));
    this.nodes.push(node);
    this.#records.set(`presence ${node.id}`, { kind: 'presence', after: presence(node) });
    return node;
  }

  node(number: number): OverlayNodeProcess {
    const node = this.nodes.find((one) => one.number === number);
    if (node === undefined) throw new RangeError(`there is no node ${number}`);
    return node;
  }

  /** Everything on record so far, as changes from nothing. */
  get all(): readonly Change[] {
    return [...this.#records.values()];
  }

  /** All nodes start, and know of all that was put before. */
  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.tell({ do: 'adopt', changes: this.all, containers: [] })));
  }

  /** Puts changes on record, and tells all nodes that run. */
  async commit(...changes: readonly Change[]): Promise<void> {
    this.put(...changes);
    await Promise.all(this.nodes.filter((node) => node.isRunning).map((node) => node.tell({ do: 'change', changes })));
  }

  put(...changes: readonly Change[]): void {
    for (const change of changes) {
      const id = `${change.kind} ${(change.after ?? change.before)?.id ?? ''}`;
      if (change.after === undefined) this.#records.delete(id);
      else this.#records.set(id, { kind: change.kind, after: change.after } as Change);
    }
  }

  /** Opens the namespace of a container, to be closed with all this. */
  open(path: string): number {
    const fd = openNetns(path);
    this.#netns.push(fd);
    return fd;
  }

  /** What a container on a node would be. */
  specOf(node: OverlayNodeProcess, network: Network, ...addresses: readonly string[]) {
    const task = taskOn(node, network, addresses);
    return { task, spec: specOf(task, network) };
  }

  /** A container on a node, on record and in the kernel: its namespace. */
  async run(number: number, network: Network, ...addresses: readonly string[]): Promise<RunningContainer> {
    const node = this.node(number);
    const task = taskOn(node, network, addresses);
    await this.commit({ kind: 'task', after: task });
    const path = await node.tell({ do: 'attach', spec: specOf(task, network) });
    return { task, spec: specOf(task, network), path: String(path), netns: this.open(String(path)) };
  }

  /** Ends a container, on record and in the kernel. */
  async stop({ task, netns }: RunningContainer): Promise<void> {
    this.#netns.splice(this.#netns.indexOf(netns), 1);
    closeNetns(netns);
    await this.commit({ kind: 'task', before: task });
    const node = this.nodes.find(({ id }) => id === task.nodeId);
    await node?.tell({ do: 'detach', taskId: task.id });
  }

  async close(): Promise<void> {
    for (const fd of this.#netns) closeNetns(fd);
    for (const node of this.nodes) await node.end();
    for (const name of this.kernel.listNamespaces('')) this.kernel.deleteNamespace(name);
    for (const { number } of this.nodes) await this.kernel.own.apply({ kind: 'remove-link', name: `port${number}` });
    await this.kernel.own.apply({ kind: 'remove-link', name: 'underlay' });
    this.kernel.close();
  }
}

export interface RunningContainer {
  readonly task: Task;
  readonly spec: ContainerSpec;
  readonly path: string;
  readonly netns: number;
}

/** One node's process. */
export class OverlayNodeProcess {
  readonly number: number;
  readonly id: NodeId;
  readonly address: IpAddress;
  readonly instance: string;
  #process: ChildProcess | undefined;
  #last = 0;

  constructor(number: number, address: IpAddress) {
    this.number = number;
    this.id = `node${number}`.padEnd(25, 'x') as NodeId;
    this.address = address;
    this.instance = `lab00${number}`;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Namespaces that the node made begin so. */
  get prefix(): string {
    return namespacePrefix(this.instance);
  }

  /** Starts the process with the first command. Rejects with what the node could not do. */
  async tell(command: NodeCommand): Promise<unknown> {
    const child = this.#process ?? this.#start();
    const id = ++this.#last;
    child.send({ id, command });
    for (;;) {
      const [answer] = (await Promise.race([once(child, 'message'), ended(child)])) as [NodeAnswer];
      if (answer.id !== id) continue;
      if (answer.error !== undefined) throw new Error(`node ${this.number}: ${answer.error}`);
      return answer.value;
    }
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  /** Removes all that it has in the kernel. */
  async end(): Promise<void> {
    if (this.#process !== undefined) await this.tell({ do: 'removeAll' });
    await this.kill();
  }

  #start(): ChildProcess {
    const settings: NodeSettings = {
      instance: this.instance,
      node: { id: this.id, cluster: { dataAddress: this.address } },
    };
    const net = `--net=/run/netns/machine${this.number}`;
    const child = spawn('nsenter', [net, process.execPath, SCRIPT, JSON.stringify(settings)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.setMaxListeners(0);
    this.#process = child;
    return child;
  }
}

async function ended(child: ChildProcess): Promise<never> {
  await once(child, 'exit');
  throw new Error('the node has ended');
}

export function presence({ id, address }: OverlayNodeProcess, more: Partial<Presence> = {}): Presence {
  const probePort = 7946 as PortNumber;
  return {
    id,
    instance: '0'.repeat(16),
    address,
    dataAddress: address,
    probePort,
    version: '0',
    startedAt: 0,
    ...more,
  };
}

export function bridgeOn({ id }: OverlayNodeProcess, network: Network, ...addresses: readonly string[]): Bridge {
  return { id: bridgeId(network.id, id), networkId: network.id, nodeId: id, addresses: addresses.map(ip) };
}

let tasks = 0;

/** A task of the network's service, which `serviceOn` makes. */
export function taskOn({ id }: OverlayNodeProcess, network: Network, addresses: readonly string[]): Task {
  const [address = '', ...moreAddresses] = addresses;
  const slot = ++tasks;
  return {
    id: `t${slot.toString().padStart(7, '0')}`.padEnd(25, 'x') as TaskId,
    serviceId: serviceOn(network).id,
    slot,
    name: `${network.spec.name}.${slot}`,
    nodeId: id,
    source: 'process',
    state: 'running',
    health: 'none',
    attachments: [{ networkId: network.id, address: ip(address), moreAddresses: moreAddresses.map(ip), aliases: [] }],
    portMap: [],
    createdAt: 0,
    updatedAt: 0,
  };
}

export function serviceOn(network: Network, vip?: string) {
  return service(`svc-${network.spec.name}`, { on: [{ network, ...(vip === undefined ? {} : { vip }) }] });
}

function specOf({ id, attachments }: Task, network: Network): ContainerSpec {
  return { taskId: id, attachments: attachments.map((one) => ({ network, addresses: linkAddresses(one) })) };
}

/** A network with an identifier of the usual length and a number. */
export function overlay(base: Network, name: string, vni: number): Network {
  return { ...base, id: name.padEnd(25, 'x') as NetworkId, vni };
}
