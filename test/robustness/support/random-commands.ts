// Random commands of a few dozen objects' names, so that they meet: most change something, many are refused.
import { ControlError } from '../../../src/control/errors.ts';
import type { IpAddress, Subnet } from '../../../src/model/address.ts';
import { STACK_LABEL, stackName } from '../../../src/model/name.ts';
import type { NetworkDriver, NetworkSpec } from '../../../src/model/network.ts';
import type { PortNumber, PublishSpec } from '../../../src/model/port.ts';
import type { ServiceSpec, StaticEndpoint } from '../../../src/model/service.ts';
import type { Task, TaskState } from '../../../src/model/task.ts';
import type { Random } from '../../../src/runtime/random.ts';
import type { MeshWorld } from './mesh-world.ts';

export interface CommandOptions {
  readonly driver: NetworkDriver;
  /** Each random network has one of these. */
  readonly subnets: readonly Subnet[];
  /** Addresses that static endpoints have: nothing needs to be there. */
  readonly endpoints: readonly IpAddress[];
  /** The name of a network and of a service that are left alone. */
  readonly spared?: string;
  readonly random: Random;
}

export interface Tally {
  done: number;
  readonly refused: Map<string, number>;
}

const SERVICES = 40;
const STACKS = 4;
/** Not used by anything else here; below the range of ports that the kernel gives to clients. */
const FIRST_PORT = 21_000;
const PORTS = 60;

export class RandomCommands {
  readonly tally: Tally = { done: 0, refused: new Map() };
  readonly #world: MeshWorld;
  readonly #options: CommandOptions;

  constructor(world: MeshWorld, options: CommandOptions) {
    this.#world = world;
    this.#options = options;
  }

  /** A network that leads outside, and a task on it. */
  async begin(): Promise<void> {
    await this.#world.control.createNetwork({ ...this.#network(), internal: false });
    await this.#world.control.createService({ ...this.#service('first'), endpoints: [] });
    await this.#addTask('first');
  }

  /** One command. Rejects with everything but a refusal. */
  async step(): Promise<void> {
    const { control } = this.#world;
    const commands: readonly (readonly [weight: number, () => Promise<unknown>])[] = [
      [4, () => control.createNetwork(this.#network())],
      [3, () => control.removeNetwork(this.#pick(this.#networkNames()))],
      [18, () => control.createService(this.#service(this.#serviceName()))],
      [14, () => this.#update()],
      [2, () => control.rollbackService(this.#serviceName())],
      [12, () => control.removeService(this.#serviceName())],
      [8, () => control.addEndpoint(this.#serviceName(), this.#endpoint())],
      [5, () => this.#removeEndpoint()],
      [8, () => this.#addTask(this.#serviceName())],
      [5, () => this.#onTask((task) => control.removeTask(task.id))],
      [6, () => this.#onTask((task) => control.setTaskState(task.id, this.#pick<TaskState>(['running', 'draining'])))],
      [12, () => this.#onTask((task) => control.setTaskHealth(task.id, this.#pick(['healthy', 'unhealthy', 'none'])))],
      [2, () => this.#stack()],
      [1, () => control.removeStack(this.#stackName())],
    ];
    let at = this.#draw(commands.reduce((sum, [weight]) => sum + weight, 0));
    const chosen = commands.find(([weight]) => {
      at -= weight;
      return at < 0;
    });
    await this.#tried(chosen?.[1]);
  }

  /** Removes everything there is but what is spared, by the commands that users have. */
  async removeAll(): Promise<void> {
    const { catalog, control } = this.#world;
    for (const service of [...catalog.snapshot.services.values()]) {
      if (service.spec.name === this.#options.spared) continue;
      await control.removeService(service.id);
    }
    for (const { id, spec } of [...catalog.snapshot.networks.values()])
      if (spec.name !== this.#options.spared) await control.removeNetwork(id);
    // That they have been applied is all that is left of the stacks.
    for (let i = 0; i < STACKS; i++) await this.#tried(() => control.removeStack(`stack${i}`));
  }

  async #tried(command: (() => Promise<unknown>) | undefined): Promise<void> {
    try {
      await command?.();
      this.tally.done++;
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      this.tally.refused.set(error.code, (this.tally.refused.get(error.code) ?? 0) + 1);
    }
  }

  async #update(): Promise<void> {
    const name = this.#serviceName();
    const id = this.#world.catalog.snapshot.serviceByName.get(name);
    const labels = (id && this.#world.catalog.snapshot.services.get(id)?.spec.labels) ?? {};
    await this.#world.control.updateService(name, { ...this.#service(name), labels });
  }

  async #removeEndpoint(): Promise<void> {
    await this.#world.control.removeEndpointsAt(this.#serviceName(), this.#pick(this.#options.endpoints));
  }

  /** As `vipmesh run` does, but for the command. */
  async #addTask(service: string): Promise<void> {
    const { control, containers } = this.#world;
    const task = await control.addTask({ service, aliases: this.#aliases() });
    await containers.attach(task);
    await control.setTaskState(task.id, 'running');
  }

  async #onTask(change: (task: Task) => Promise<unknown>): Promise<void> {
    const { services, tasks: all } = this.#world.catalog.snapshot;
    const tasks = [...all.values()].filter((task) => services.get(task.serviceId)?.spec.name !== this.#options.spared);
    if (tasks.length > 0) await change(this.#pick(tasks));
  }

  async #stack(): Promise<void> {
    const name = this.#stackName();
    const network = { ...this.#network(), name: stackName(name, 'default'), labels: { [STACK_LABEL]: name } };
    const services = Array.from({ length: this.#draw(4) }, (_, i) => ({
      ...this.#service(stackName(name, `s${i}`)),
      labels: { [STACK_LABEL]: name },
      networks: [{ network: network.name, aliases: this.#aliases() }],
    }));
    await this.#world.control.applyStack(name, { networks: [network], services }, { prune: this.#draw(4) > 0 });
  }

  #network(): NetworkSpec {
    const n = this.#draw(this.#options.subnets.length);
    return {
      name: `net${n}`,
      driver: this.#options.driver,
      subnets: [this.#options.subnets[n] as Subnet],
      ipv6: false,
      internal: this.#draw(2) === 0,
      attachable: true,
      labels: {},
      options: {},
    };
  }

  #service(name: string): ServiceSpec {
    const names = this.#networkNames();
    const count = Math.min(names.length, 1 + this.#draw(2));
    const from = this.#draw(names.length);
    return {
      name,
      labels: {},
      mode: { kind: 'replicated', replicas: this.#draw(4) },
      endpointMode: this.#pick(['vip', 'vip', 'dnsrr']),
      networks: Array.from({ length: count }, (_, i) => ({
        network: names[(from + i) % names.length] as string,
        aliases: this.#aliases(),
      })),
      publish: Array.from({ length: this.#draw(3) }, () => this.#publish()),
      expose: this.#draw(2) === 0 ? [] : [{ protocol: this.#pick(['tcp', 'udp']), port: this.#port() }],
      endpoints: Array.from({ length: this.#draw(4) }, () => this.#endpoint()),
      ...(this.#draw(2) === 0 ? {} : { health: 'none' as const }),
      drainTimeoutMs: 0,
    };
  }

  #publish(): PublishSpec {
    const base = { protocol: this.#pick(['tcp', 'udp'] as const), mode: this.#pick(['ingress', 'host'] as const) };
    const port = this.#draw(4) === 0 ? {} : { publishedPort: this.#port() };
    return { ...base, targetPort: this.#port(), ...port, hostAddress: '127.0.0.1' };
  }

  #endpoint(): StaticEndpoint {
    const address = this.#pick(this.#options.endpoints);
    return this.#draw(3) === 0 ? { address } : { address, port: 8000 + this.#draw(3) };
  }

  #aliases(): readonly string[] {
    return this.#draw(3) === 0 ? [`alias${this.#draw(10)}`] : [];
  }

  #port(): PortNumber {
    return (FIRST_PORT + this.#draw(PORTS)) as PortNumber;
  }

  #networkNames(): readonly string[] {
    const names = [...this.#world.catalog.snapshot.networks.values()]
      .map(({ spec }) => spec.name)
      .filter((name) => name !== this.#options.spared)
      .sort();
    return names.length === 0 ? ['net0'] : names;
  }

  #serviceName(): string {
    return `service${this.#draw(SERVICES)}`;
  }

  #stackName(): string {
    return `stack${this.#draw(STACKS)}`;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#draw(values.length)] as T;
  }

  #draw(below: number): number {
    return Math.floor(this.#options.random.unit() * below);
  }
}
