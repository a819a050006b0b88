// The kernel port without a kernel: what is applied is what is observed, links come and go in pairs as the real ones do.
import { parseSubnet } from '../../src/model/address.ts';
import type {
  FdbEntry,
  Kernel,
  Link,
  Namespace,
  Notice,
  Observed,
  OnLink,
  Operation,
  PortSettings,
  RoutedSubnet,
  StopWatching,
} from '../../src/netlink/kernel.ts';
import type { Ruleset, TableFamily } from '../../src/netlink/nftables.ts';
import { KernelError } from '../../src/netlink/kernel-error.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };
interface FakeLink extends Writable<Link> {
  peer?: { readonly namespace: FakeNamespace; readonly name: string };
  isFarEnd?: boolean;
}

export class FakeKernel implements Kernel {
  readonly namespaces = new Map<string, FakeNamespace>();
  readonly own = new FakeNamespace('', this);
  /** Operations for which this is true are refused. */
  refuses: (operation: Operation, namespace: Namespace) => boolean = () => false;
  /** Every operation that was carried out, as `NAMESPACE: KIND NAME`. */
  readonly history: string[] = [];

  listNamespaces(prefix: string): readonly string[] {
    return [...this.namespaces.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  async ensureNamespace(name: string): Promise<FakeNamespace> {
    const namespace = this.namespaces.get(name) ?? new FakeNamespace(name, this);
    this.namespaces.set(name, namespace);
    return namespace;
  }

  async openNamespace(path: string): Promise<FakeNamespace | undefined> {
    return this.namespaces.get(path);
  }

  deleteNamespace(name: string): void {
    for (const link of this.namespaces.get(name)?.links.keys() ?? []) this.namespaces.get(name)?.removeLink(link);
    this.namespaces.delete(name);
  }

  close(): void {}
}

export class FakeNamespace implements Namespace {
  readonly name: string;
  readonly path: string;
  readonly fd: number;
  readonly links = new Map<string, FakeLink>();
  addresses: Observed['addresses'] = [];
  routes: Observed['routes'] = [];
  neighbours: Observed['neighbours'] = [];
  forwarding: Observed['forwarding'] = [];
  readonly sysctls = new Map<string, string>([['ipv4/ip_forward', '1']]);
  /** By name; those of the family `bridge` as `bridge NAME`. */
  readonly rulesets = new Map<string, Ruleset>();
  #generation = 1;
  readonly watchers = new Set<(notice: Notice) => void>();
  routedElsewhere: readonly RoutedSubnet[] = [];
  readonly #kernel: FakeKernel;

  constructor(name: string, kernel: FakeKernel) {
    this.name = name;
    this.path = name === '' ? '/proc/self/ns/net' : name.startsWith('/') ? name : `/run/netns/${name}`;
    this.fd = name === '' ? 0 : kernel.namespaces.size + 100;
    this.#kernel = kernel;
    this.links.set('lo', { ...newLink('lo', 'other'), up: true });
  }

  async observe(): Promise<Observed> {
    const links = [...this.links.values()].map(({ peer: _peer, isFarEnd: _isFarEnd, ...link }) => ({
      ...link,
      ready: true,
    }));
    return {
      links,
      addresses: this.addresses,
      routes: this.routes,
      neighbours: this.neighbours,
      forwarding: this.forwarding,
    };
  }

  async observeLinks(names?: readonly string[]): Promise<readonly Link[]> {
    const { links } = await this.observe();
    return names === undefined ? links : links.filter(({ name }) => names.includes(name));
  }

  async routed(): Promise<readonly RoutedSubnet[]> {
    const connected = this.addresses.flatMap(({ address, prefixLength, link }) => {
      const destination = parseSubnet(`${address}/${prefixLength}`);
      return destination === undefined ? [] : [{ destination, link }];
    });
    return [...connected, ...this.routedElsewhere];
  }

  async apply(operation: Operation): Promise<void> {
    const object = objectOf(operation);
    if (this.#kernel.refuses(operation, this)) {
      throw new KernelError('refused', operation.kind, object, 'the test wants it so');
    }
    this.#kernel.history.push(`${this.name}: ${operation.kind} ${object}`);
    this.#carryOut(operation);
  }

  async hasRuleset(name: string): Promise<boolean> {
    return this.rulesets.has(name);
  }

  async packetsCounted(table: string, _counter: string, family?: TableFamily): Promise<number | undefined> {
    return this.rulesets.has(tableKey(table, family)) ? 0 : undefined;
  }

  async rulesGeneration(): Promise<number> {
    return this.#generation;
  }

  /** As when something else does. */
  removeRuleset(key: string): void {
    this.rulesets.delete(key);
    this.#generation++;
    for (const told of this.watchers) told({ kind: 'rules' });
  }

  sysctl(path: string): string | undefined {
    const [, , link] = path.split('/');
    return link === undefined || link === 'all' || this.links.has(link)
      ? (this.sysctls.get(path) ?? 'default')
      : undefined;
  }

  watch(changed: (notice: Notice) => void): StopWatching {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  }

  watchLinks(changed: () => void): StopWatching {
    return this.watch(({ kind }) => {
      if (kind !== 'rules') changed();
    });
  }

  get identity(): string {
    return this.path;
  }

  close(): void {
    this.watchers.clear();
  }

  removeLink(name: string): void {
    const link = this.links.get(name);
    if (link === undefined) return;
    this.links.delete(name);
    const stays = (thing: { readonly link: string }): boolean => thing.link !== name;
    this.addresses = this.addresses.filter(stays);
    this.routes = this.routes.filter(stays);
    this.neighbours = this.neighbours.filter(stays);
    this.forwarding = this.forwarding.filter(stays);
    for (const port of this.links.values()) if (port.master === name) port.master = undefined;
    link.peer?.namespace.removeLink(link.peer.name);
  }

  #carryOut(operation: Operation): void {
    switch (operation.kind) {
      case 'add-bridge':
        this.#add({ ...newLink(operation.name, 'bridge'), mac: operation.mac });
        return;
      case 'add-veth': {
        const { peer, name } = operation;
        const other = peer.namespace === '' ? this.#kernel.own : this.#kernel.namespaces.get(peer.namespace);
        if (other === undefined)
          throw new KernelError('absent', operation.kind, name, `no namespace ${peer.namespace}`);
        other.#add({ ...newLink(peer.name, 'veth'), mac: peer.mac, isFarEnd: true, peer: { namespace: this, name } });
        this.#add({ ...newLink(name, 'veth'), peer: { namespace: other, name: peer.name } });
        return;
      }
      case 'add-vxlan':
        this.#add({ ...newLink(operation.name, 'vxlan'), tunnel: operation.tunnel });
        return;
      case 'remove-link':
        this.removeLink(operation.name);
        return;
      case 'remove-far-ends':
        for (const [name, { isFarEnd }] of this.links) if (isFarEnd === true) this.removeLink(name);
        return;
      case 'set-link': {
        const { kind: _kind, name, port, ...change } = operation;
        const link = this.#link(name);
        if (change.master !== undefined && change.master !== link.master) link.port = PORT_DEFAULTS;
        Object.assign(link, change);
        if (port !== undefined) link.port = { ...PORT_DEFAULTS, ...link.port, ...port };
        return;
      }
      case 'add-address':
      case 'remove-address': {
        const { link, address } = operation;
        this.#link(link);
        const rest = this.addresses.filter((one) => one.link !== link || one.address !== address.address);
        this.addresses = operation.kind === 'add-address' ? [...rest, { ...address, link }] : rest;
        return;
      }
      case 'add-route':
      case 'remove-route': {
        const { link, route } = operation;
        this.#link(link);
        const rest = this.routes.filter((one) => one.link !== link || one.destination !== route.destination);
        this.routes = operation.kind === 'add-route' ? [...rest, { ...route, link }] : rest;
        return;
      }
      case 'set-neighbour':
      case 'remove-neighbour': {
        const { link, neighbour } = operation;
        this.#link(link);
        const rest = this.neighbours.filter((one) => one.link !== link || one.address !== neighbour.address);
        this.neighbours = operation.kind === 'set-neighbour' ? [...rest, { ...neighbour, link }] : rest;
        return;
      }
      case 'set-forwarding':
      case 'remove-forwarding': {
        const { link, entry } = operation;
        this.#link(link);
        const isSame = (one: FdbEntry): boolean => one.kind === entry.kind && one.mac === entry.mac;
        // Setting moves an entry of the bridge, removing one that is elsewhere does nothing.
        const stays = operation.kind === 'set-forwarding' ? () => false : (one: OnLink<FdbEntry>) => one.link !== link;
        const rest = this.forwarding.filter((one) => !isSame(one) || stays(one));
        this.forwarding = operation.kind === 'set-forwarding' ? [...rest, { ...entry, link }] : rest;
        return;
      }
      case 'set-sysctl':
        this.sysctls.set(operation.path, operation.value);
        return;
      case 'set-ruleset':
        this.#generation++;
        this.rulesets.set(tableKey(operation.name, operation.ruleset.family), operation.ruleset);
        return;
      case 'change-elements': {
        this.#generation++;
        const key = tableKey(operation.name, operation.family);
        const table = this.rulesets.get(key);
        if (table === undefined) throw new KernelError('absent', operation.kind, key, 'there is no such table');
        const sets = (table.sets ?? []).map((set) => {
          const change = operation.changes.find(({ name }) => name === set.name);
          if (change === undefined) return set;
          const [add, gone] = [change.add.map(String), new Set(change.remove.map(String))];
          const stays = set.elements.filter((one) => !gone.has(String(one)) && !add.includes(String(one)));
          return { ...set, elements: [...stays, ...change.add] };
        });
        this.rulesets.set(key, { ...table, sets });
        return;
      }
      case 'set-elements': {
        this.#generation++;
        const { name, set } = operation;
        const table = this.rulesets.get(name);
        if (table === undefined) throw new KernelError('absent', operation.kind, name, 'there is no such table');
        const sets = (table.sets ?? []).map((one) => (one.name === set.name ? set : one));
        this.rulesets.set(name, { ...table, sets });
        return;
      }
      case 'remove-ruleset':
        this.#generation++;
        this.rulesets.delete(operation.name);
        return;
    }
  }

  #add(link: FakeLink): void {
    if (this.links.has(link.name)) throw new KernelError('exists', 'add', link.name, 'it exists already');
    this.links.set(link.name, link);
  }

  #link(name: string): FakeLink {
    const link = this.links.get(name);
    if (link === undefined) throw new KernelError('absent', 'find', name, 'there is no such link');
    return link;
  }
}

function tableKey(name: string, family: TableFamily = 'inet'): string {
  return family === 'inet' ? name : `${family} ${name}`;
}

function objectOf(operation: Operation): string {
  if ('name' in operation) return operation.name;
  if ('link' in operation) return operation.link;
  return 'path' in operation ? operation.path : 'links';
}

const PORT_DEFAULTS: PortSettings = {
  isolated: false,
  learning: true,
  unicastFlood: true,
  multicastFlood: true,
  broadcastFlood: true,
  suppressNeighbours: false,
};

function newLink(name: string, kind: Link['kind']): FakeLink {
  return {
    name,
    kind,
    up: false,
    ready: true,
    mac: undefined,
    mtu: 1500,
    master: undefined,
    port: undefined,
    tunnel: undefined,
  };
}
