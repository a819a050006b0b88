// Nodes that command one store at the same time, for simulations.
import { ID_BYTES, idFromBytes } from '../../../src/allocate/ids.ts';
import { Catalog } from '../../../src/catalog/catalog.ts';
import { EMPTY_SNAPSHOT } from '../../../src/catalog/snapshot.ts';
import { Membership } from '../../../src/cluster/membership.ts';
import { Control } from '../../../src/control/control.ts';
import { ControlError } from '../../../src/control/errors.ts';
import type { NetworkId } from '../../../src/model/network.ts';
import type { NodeId, Presence } from '../../../src/model/node.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { SILENT_LOG } from '../../../src/runtime/log.ts';
import { networkSpec, serviceSpec } from '../../control/world.ts';
import * as build from '../../support/builders.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeCluster, FakeLink } from '../../support/fake-store.ts';
import { collisions, danglers } from './invariants.ts';
import { textOf } from './records.ts';
import type { Dice } from './seeds.ts';

/** What all simulations together have gone through. */
export const seen = { done: 0, refused: 0, exhausted: 0, unavailable: 0, leasesEnded: 0 };

export class ControlWorld {
  readonly dice: Dice;
  readonly clock = new FakeClock();
  readonly cluster: FakeCluster;
  readonly nodes: ControlNode[] = [];
  readonly trace: string[] = [];
  /** Of services and networks that were ever in the store: the command that made them. */
  readonly #made = new Set<string>();
  /** Ids of whatever was ever in the store. */
  readonly #ids = new Set<string>();
  #truth: Catalog | undefined;
  #commands = 0;
  #open = 0;
  #problem: string | undefined;

  constructor(dice: Dice) {
    this.dice = dice;
    this.cluster = new FakeCluster({ clock: this.clock, stride: () => dice.between(1, 3) });
  }

  async open(nodes: number): Promise<void> {
    const truth = await Catalog.open(new FakeLink(this.cluster), { clock: this.clock });
    this.#truth = truth;
    truth.subscribe((snapshot, _previous, changes) => {
      const [problem] = collisions(snapshot);
      if (problem !== undefined) this.#problem ??= `at ${snapshot.revision}: ${problem}`;
      for (const { kind, after } of changes) {
        if (after === undefined) continue;
        this.#ids.add(after.id);
        if (kind === 'service' || kind === 'network') this.#made.add(after.spec.labels.command ?? '');
      }
    });
    for (let n = 1; n <= nodes; n++) {
      const opening = ControlNode.open(`node${n}`, this);
      await this.clock.advance(2000);
      this.nodes.push(await opening);
    }
  }

  /** Asks a node for something, and does not wait for it. */
  command(node: ControlNode): void {
    const label = `c${++this.#commands}`;
    const command = randomCommand(this.dice, node, label);
    if (command === undefined) return;
    this.#open++;
    command.then(
      (result) => this.#done(label, result),
      (error: unknown) => this.#refused(label, error),
    );
  }

  check(): void {
    for (const node of this.nodes) this.#problem ??= node.problem;
    if (this.#problem !== undefined) throw new Error(this.#problem);
  }

  /** After everything has been healed and has had time. */
  compare(): void {
    this.check();
    if (this.#open > 0) throw new Error(`${this.#open} commands were never answered`);
    const truth = this.#truth?.snapshot ?? EMPTY_SNAPSHOT;
    const [dangler] = danglers(truth);
    if (dangler !== undefined) throw new Error(`in the end ${dangler}`);
    for (const node of this.nodes) {
      const { snapshot } = node.catalog;
      if (textOf(snapshot) !== textOf(truth)) throw new Error(`${node.name} shows something else than the store holds`);
    }
  }

  #done(label: string, result: unknown): void {
    this.#open--;
    seen.done++;
    const { id } = (result ?? {}) as { readonly id?: string };
    this.trace.push(`${this.clock.now()} ${label} ${id ?? 'done'}`);
    if (id !== undefined && !this.#ids.has(id)) this.#problem ??= `${label} gave ${id}, which was never in the store`;
  }

  #refused(label: string, error: unknown): void {
    this.#open--;
    this.trace.push(`${this.clock.now()} ${label} ${String(error)}`);
    if (!(error instanceof ControlError) || !/^.{20,}$/.test(error.message)) {
      this.#problem ??= `${label} was refused with ${String(error)}`;
      return;
    }
    seen.refused++;
    if (error.code === 'exhausted') seen.exhausted++;
    // The store may have done it, and only its answer been lost.
    if (error.code === 'unavailable') seen.unavailable++;
    else if (this.#made.has(label)) this.#problem ??= `${label} was refused, and done: ${error.message}`;
  }
}

export class ControlNode {
  readonly name: string;
  readonly link: FakeLink;
  readonly catalog: Catalog;
  readonly control: Control;
  problem: string | undefined;

  /** As an agent enters its cluster. */
  static async open(name: string, world: ControlWorld): Promise<ControlNode> {
    const { cluster, clock, dice } = world;
    const link = new FakeLink(cluster, () => dice.pick([0, 1, 5, 30]));
    const catalog = await Catalog.open(link, { clock });
    let membership: Membership | undefined;
    const lease = {
      get current() {
        return membership?.current;
      },
      renew: async () => membership?.renew(),
    };
    const control = await Control.open({
      store: link,
      catalog,
      nodeName: name,
      nodeId: name as NodeId,
      privileged: true,
      allowPlaintextOverlays: false,
      portProblem: () => undefined,
      lease,
      clock,
      newId: () => idFromBytes(Uint8Array.from({ length: ID_BYTES }, () => dice.below(256))),
    });
    membership = memberOf(name as NodeId, link, catalog, control, clock);
    await membership.join();
    return new ControlNode(name, link, catalog, control, clock);
  }

  private constructor(name: string, link: FakeLink, catalog: Catalog, control: Control, clock: Clock) {
    this.name = name;
    this.link = link;
    this.catalog = catalog;
    this.control = control;
    catalog.subscribe((snapshot, previous) => {
      if (snapshot.revision < previous.revision) this.problem ??= `${name} goes back to ${snapshot.revision}`;
      for (const { networkId, nodeId } of previous.bridges.values())
        if (nodeId === name && !snapshot.networks.has(networkId)) this.#release(networkId, clock);
    });
  }

  /** As the agent does. */
  #release(networkId: NetworkId, clock: Clock): void {
    this.control.releaseBridge(networkId).catch(() => clock.schedule(5000, () => this.#release(networkId, clock)));
  }
}

function memberOf(id: NodeId, store: FakeLink, catalog: Catalog, control: Control, clock: Clock): Membership {
  const address = build.ip(`10.0.0.${id.slice(4)}`);
  const membership = new Membership({
    store,
    clock,
    log: SILENT_LOG,
    presence: () => ({
      id,
      instance: '0123456789abcdef',
      address,
      dataAddress: address,
      probePort: 7981 as Presence['probePort'],
      version: '0.1.0',
      startedAt: 0,
    }),
    announce: async (presence, lease) => {
      if (catalog.snapshot.nodes.get(id)?.name !== id) await control.register(id);
      return control.announce(presence, lease);
    },
    hasUnsaid: () => control.hasUnsaid,
  });
  catalog.keepOwn(id, () => {
    seen.leasesEnded++;
    membership.lost();
  });
  return membership;
}

/** Undefined: there is nothing that it could be done to. */
function randomCommand(
  dice: Dice,
  { control, catalog, name }: ControlNode,
  label: string,
): Promise<unknown> | undefined {
  const labels = { command: label };
  const { snapshot } = catalog;
  const networks = [...snapshot.networks.values()].map(({ spec }) => spec.name);
  const networkName = networks[dice.below(networks.length)];
  const services = [...snapshot.services.values()].map(({ spec }) => spec.name);
  const serviceName = services[dice.below(services.length)];
  const happening = dice.below(100);
  if (happening < 15) {
    const n = dice.below(6);
    // Some have room for a few addresses only.
    const subnets = dice.chance(0.6) ? [build.subnet(`10.9.${n}.0/29`)] : [];
    const driver = dice.chance(0.8) ? 'overlay' : 'local';
    return control.createNetwork(networkSpec(`n${n}`, { driver, subnets: driver === 'local' ? [] : subnets, labels }));
  }
  if (networkName === undefined) return undefined;
  const spec = (service: string) =>
    serviceSpec(service, {
      networks: [networkName],
      publish: dice.pick([[], ['80'], ['80'], [`${8000 + dice.below(4)}:80`]]),
      endpoints: dice.chance(0.3) ? [{ address: build.ip(`10.1.1.${dice.between(1, 3)}`) }] : [],
      labels,
    });
  if (happening < 43) return control.createService(spec(`s${dice.below(20)}`));
  if (happening < 48) return control.removeNetwork(networkName);
  if (serviceName === undefined) return undefined;
  if (happening < 58) return control.updateService(serviceName, spec(serviceName));
  if (happening < 68) return control.removeService(serviceName);
  if (happening < 82) return control.addTask({ service: serviceName });
  if (happening < 86) return control.claimBridge(snapshot.networkByName.get(networkName) as never);
  if (happening < 88) {
    const nodes = [...snapshot.nodes.values()].map((node) => node.name);
    return control.removeNode(nodes[dice.below(nodes.length)] ?? name);
  }
  const own = [...snapshot.tasks.values()].filter((task) => task.nodeId === name && task.source === 'process');
  const task = own[dice.below(own.length)]?.id;
  if (task === undefined) return undefined;
  if (happening < 92) return control.setTaskState(task, 'running');
  if (happening < 96) return control.setTaskHealth(task, dice.chance(0.5) ? 'healthy' : 'unhealthy');
  return control.removeTask(task);
}
