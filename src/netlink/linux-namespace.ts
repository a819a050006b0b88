// One network namespace on Linux: rtnetlink and nf_tables through netlink sockets, sysctls through /proc.
import { fstatSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { ipVersion, parseSubnet } from '../model/address.ts';
import { closeNetns, inNetns, OWN_NETNS } from '../native/netns.ts';
import type {
  Address,
  FdbEntry,
  Link,
  Namespace,
  Notice,
  Observed,
  OnLink,
  Operation,
  Route,
  RoutedSubnet,
  StopWatching,
} from './kernel.ts';
import { KernelError } from './kernel-error.ts';
import type { Message, Request } from './message.ts';
import { codeOf, failure, netnsPath, openIfThere } from './netns-names.ts';
import { NamespaceRules } from './namespace-rules.ts';
import type { TableFamily } from './nftables.ts';
import { objectOf } from './operation-object.ts';
import {
  addBridgeRequest,
  addVethRequest,
  addVxlanRequest,
  deleteFarEndsRequest,
  deleteLinkRequest,
  getLinkRequest,
  readLink,
  readLinkNotice,
  setLinkRequest,
} from './rtnetlink-link.ts';
import {
  addAddressRequest,
  addRouteRequest,
  type Dumpable,
  deleteAddressRequest,
  deleteFdbRequest,
  deleteNeighbourRequest,
  deleteRouteRequest,
  dumpRequest,
  ROUTE_PROTOCOL,
  readAddress,
  readFdbEntry,
  readNeighbour,
  readNeighbourNotice,
  readRoute,
  setFdbRequest,
  setNeighbourRequest,
} from './rtnetlink.ts';
import { NetlinkSocket, type NoticeKind, type Purpose } from './socket.ts';
import { untilJoined } from './solicited-nodes.ts';

export class LinuxNamespace implements Namespace {
  readonly name: string;
  readonly path: string;
  readonly fd: number;
  #route: NetlinkSocket | undefined;
  #nftables: NamespaceRules | undefined;
  readonly #notices = new Set<NetlinkSocket>();
  /** Of links, by their index, when they were last observed. */
  #names: ReadonlyMap<number, string> = new Map();
  #isClosed = false;
  #afterClose: () => void = () => {};

  /** Takes the descriptor over. */
  constructor(name: string, fd: number, path = netnsPath(name)) {
    this.name = name;
    this.path = path;
    this.fd = fd;
  }

  get identity(): string {
    const { dev, ino } = this.#isOwn ? statSync(this.path) : fstatSync(this.fd);
    return `${dev}:${ino}`;
  }

  async observe(): Promise<Observed> {
    const links = await this.#links();
    const names = this.#names;
    const addresses = (await this.#dump('address')).map(({ body }) => readAddress(body)).filter(isDefined);
    const routes = this.#isOwn ? [] : await this.#routes();
    const neighbours = (await this.#dump('neighbour')).map(({ body }) => readNeighbour(body)).filter(isDefined);
    return {
      links: links.map((link) => plainLink(link, names)),
      addresses: placed(addresses, names),
      routes: placed(
        routes.filter(({ protocol }) => protocol === ROUTE_PROTOCOL),
        names,
      ),
      neighbours: placed(neighbours, names),
      forwarding: placed(await this.#forwarding(links), names),
    };
  }

  async observeLinks(names?: readonly string[]): Promise<readonly Link[]> {
    const links = names === undefined ? await this.#links() : await this.#linksNamed(names);
    return links.map((link) => plainLink(link, this.#names));
  }

  async routed(): Promise<readonly RoutedSubnet[]> {
    await this.#links();
    const routes = (await this.#routes()).filter(({ kind }) => kind === 'unicast');
    return placed(routes, this.#names).flatMap(destinationOf);
  }

  async apply(operation: Operation): Promise<void> {
    const purpose = { operation: operation.kind.replace('-', ' '), object: `${objectOf(operation)}${this.#where()}` };
    try {
      switch (operation.kind) {
        case 'set-sysctl':
          this.#setSysctl(operation.path, operation.value);
          break;
        case 'set-ruleset':
        case 'remove-ruleset':
        case 'set-elements':
        case 'change-elements':
          await this.#rules().apply(operation, purpose);
          break;
        case 'add-vxlan':
          await this.#addVxlan(operation, purpose);
          break;
        case 'add-veth':
          await this.#addVeth(operation, purpose);
          break;
        case 'set-link':
          await this.#setLink(operation, purpose);
          break;
        default:
          await this.#socket().request(await this.#requestFor(operation, purpose), purpose);
      }
      if (operation.kind === 'add-address') await this.#untilHeard(operation.link, operation.address);
    } catch (error) {
      const isRemoval = operation.kind.startsWith('remove-');
      if (isRemoval && error instanceof KernelError && error.code === 'absent') return;
      throw error;
    }
  }

  async #untilHeard(link: string, { address }: Address): Promise<void> {
    if (ipVersion(address) === 6) await untilJoined(this.fd, link, address);
  }

  hasRuleset(name: string): Promise<boolean> {
    return this.#rules().has(name);
  }

  packetsCounted(table: string, counter: string, family?: TableFamily): Promise<number | undefined> {
    return this.#rules().packetsCounted(table, counter, family);
  }

  rulesGeneration(): Promise<number> {
    return this.#rules().generation();
  }

  sysctl(path: string): string | undefined {
    try {
      return inNetns(this.fd, () => readFileSync(`/proc/sys/net/${path}`, 'latin1')).trim();
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw failure('read sysctl', `net/${path}${this.#where()}`, error);
    }
  }

  watch(changed: (notice: Notice) => void): StopWatching {
    // In the node's own namespace the agent has no routes and forwarding entries.
    return this.#listen(
      this.#isOwn ? ['links', 'nftables'] : ['links', 'routes', 'neighbours', 'nftables'],
      (kind, messages) => {
        if (kind === 'nftables') changed({ kind: 'rules' });
        else if (kind === 'routes' || messages.length === 0) changed({ kind: 'any' });
        else for (const notice of messages.flatMap((one) => this.#readNotice(kind, one) ?? [])) changed(notice);
      },
    );
  }

  watchLinks(changed: () => void): StopWatching {
    return this.#listen(['links'], changed);
  }

  #listen(kinds: readonly NoticeKind[], tell: (kind: NoticeKind, messages: readonly Message[]) => void): StopWatching {
    const sockets = kinds.map((kind) => NetlinkSocket.watching(this.fd, kind, (messages) => tell(kind, messages)));
    for (const socket of sockets) this.#notices.add(socket);
    return () => {
      for (const socket of sockets) {
        this.#notices.delete(socket);
        socket.close();
      }
    };
  }

  #readNotice(kind: 'links' | 'neighbours', message: Message): Notice | undefined {
    if (kind === 'links') return readLinkNotice(message) ?? { kind: 'any' };
    return readNeighbourNotice(message, (index) => this.#names.get(index));
  }

  onClose(then: () => void): void {
    this.#afterClose = then;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#route?.close();
    this.#nftables?.close();
    for (const socket of this.#notices) socket.close();
    if (!this.#isOwn) closeNetns(this.fd);
    this.#afterClose();
  }

  async #requestFor(operation: LinkOperation, purpose: Purpose): Promise<Request> {
    // biome-ignore lint/nursery/useExhaustiveSwitchCases: it does not see what Exclude leaves; the compiler does.
    switch (operation.kind) {
      case 'add-bridge':
        return addBridgeRequest(operation.name, operation.mac);
      case 'remove-far-ends':
        return deleteFarEndsRequest();
      case 'remove-link':
        return deleteLinkRequest(await this.#indexOf(operation.name, purpose));
      case 'add-address':
        return addAddressRequest(await this.#indexOf(operation.link, purpose), operation.address);
      case 'remove-address':
        return deleteAddressRequest(await this.#indexOf(operation.link, purpose), operation.address);
      case 'add-route':
        return addRouteRequest(await this.#indexOf(operation.link, purpose), operation.route);
      case 'remove-route':
        return deleteRouteRequest(await this.#indexOf(operation.link, purpose), operation.route);
      case 'set-neighbour':
        return setNeighbourRequest(await this.#indexOf(operation.link, purpose), operation.neighbour);
      case 'remove-neighbour':
        return deleteNeighbourRequest(await this.#indexOf(operation.link, purpose), operation.neighbour);
      case 'set-forwarding':
        return setFdbRequest(await this.#indexOf(operation.link, purpose), operation.entry);
      case 'remove-forwarding':
        return deleteFdbRequest(await this.#indexOf(operation.link, purpose), operation.entry);
    }
  }

  async #setLink(
    { kind: _kind, name, master, port, ...change }: Extract<Operation, { kind: 'set-link' }>,
    purpose: Purpose,
  ): Promise<void> {
    const index = await this.#indexOf(name, purpose);
    const bridge = master === undefined ? {} : { master: await this.#indexOf(master, purpose) };
    await this.#socket().request(setLinkRequest(index, { ...change, ...bridge }), purpose);
    // The kernel looks at settings of a port before it makes the link one, so they need a request of their own.
    if (port !== undefined) await this.#socket().request(setLinkRequest(index, { port }), purpose);
  }

  async #addVeth({ name, peer }: Extract<Operation, { kind: 'add-veth' }>, purpose: Purpose): Promise<void> {
    const netnsFd = openIfThere(peer.namespace);
    if (netnsFd === undefined) {
      throw new KernelError(
        'absent',
        purpose.operation,
        purpose.object,
        `there is no network namespace ${netnsPath(peer.namespace)}`,
      );
    }
    try {
      await this.#socket().request(addVethRequest({ name }, { name: peer.name, mac: peer.mac, netnsFd }), purpose);
    } finally {
      closeNetns(netnsFd);
    }
  }

  /** Made by the node's own namespace, where its UDP socket is to be, right into this one. */
  async #addVxlan({ name, tunnel }: Extract<Operation, { kind: 'add-vxlan' }>, purpose: Purpose): Promise<void> {
    const socket = new NetlinkSocket(OWN_NETNS, 'route');
    try {
      await socket.request(addVxlanRequest(name, tunnel, this.fd), purpose);
    } finally {
      socket.close();
    }
  }

  async #indexOf(link: string, purpose: Purpose): Promise<number> {
    const [answer] = await this.#socket().request(getLinkRequest(link), purpose);
    const index = answer === undefined ? undefined : readLink(answer.body)?.index;
    if (index === undefined)
      throw new KernelError('absent', purpose.operation, purpose.object, `there is no link ${link}`);
    return index;
  }

  #rules(): NamespaceRules {
    this.#nftables ??= new NamespaceRules(this.fd, this.#where());
    return this.#nftables;
  }

  get #isOwn(): boolean {
    return this.fd === OWN_NETNS;
  }

  async #links(): Promise<readonly IndexedLink[]> {
    const links = (await this.#dump('link')).map(({ body }) => readLink(body)).filter(isDefined);
    this.#names = new Map(links.map(({ index, name }) => [index, name]));
    return links;
  }

  async #linksNamed(names: readonly string[]): Promise<readonly IndexedLink[]> {
    const links: IndexedLink[] = [];
    for (const name of names) {
      const link = await this.#linkNamed(name);
      if (link === undefined) continue;
      links.push(link);
      // Bridges are told by their index.
      if (link.masterIndex !== 0 && !this.#names.has(link.masterIndex)) await this.#links();
    }
    return links;
  }

  async #linkNamed(name: string): Promise<IndexedLink | undefined> {
    const purpose = { operation: 'look up', object: `link ${name}${this.#where()}` };
    try {
      const [answer] = await this.#socket().request(getLinkRequest(name), purpose);
      return answer === undefined ? undefined : readLink(answer.body);
    } catch (error) {
      if (error instanceof KernelError && error.code === 'absent') return undefined;
      throw error;
    }
  }

  async #routes(): Promise<readonly (Route & { linkIndex: number; protocol: number })[]> {
    return (await this.#dump('route')).map(({ body }) => readRoute(body)).filter(isDefined);
  }

  /** Only of namespaces of networks: the table has an entry for each multicast group of each link, which nobody asks for. */
  async #forwarding(links: readonly Link[]): Promise<readonly (FdbEntry & { linkIndex: number })[]> {
    if (this.#isOwn || !links.some(({ kind }) => kind === 'bridge' || kind === 'vxlan')) return [];
    return (await this.#dump('fdb')).map(({ body }) => readFdbEntry(body)).filter(isDefined);
  }

  async #dump(what: Dumpable): Promise<readonly Message[]> {
    return this.#socket().dump(dumpRequest(what), { operation: 'list', object: `${PLURAL[what]}${this.#where()}` });
  }

  #socket(): NetlinkSocket {
    this.#route ??= new NetlinkSocket(this.fd, 'route');
    return this.#route;
  }

  #setSysctl(path: string, value: string): void {
    const present = this.sysctl(path);
    if (present === undefined || present === value) return;
    try {
      // Which namespace /proc/sys/net shows depends on the thread, so this must not be left to Node's thread pool.
      inNetns(this.fd, () => writeFileSync(`/proc/sys/net/${path}`, value));
    } catch (error) {
      throw failure('set sysctl', `net/${path} to ${value}${this.#where()}`, error);
    }
  }

  #where(): string {
    if (this.#isOwn) return " in the node's namespace";
    return ` in ${this.name.startsWith('/') ? this.path : this.name}`;
  }
}

/** Operations that are one rtnetlink request on one link. */
type LinkOperation = Exclude<
  Operation,
  {
    kind:
      | 'set-sysctl'
      | 'set-ruleset'
      | 'remove-ruleset'
      | 'set-elements'
      | 'change-elements'
      | 'add-veth'
      | 'add-vxlan'
      | 'set-link';
  }
>;

const PLURAL: Readonly<Record<Dumpable, string>> = {
  link: 'links',
  address: 'addresses',
  route: 'routes',
  neighbour: 'neighbours',
  fdb: 'forwarding entries',
};

type IndexedLink = Link & { readonly index: number; readonly masterIndex: number };

function plainLink({ index: _index, masterIndex, ...link }: IndexedLink, names: ReadonlyMap<number, string>): Link {
  return { ...link, master: names.get(masterIndex) };
}

/** Puts the link's name in place of its index. What is on a link that has just gone is left out. */
function placed<T extends object>(
  things: readonly (T & { readonly linkIndex: number })[],
  names: ReadonlyMap<number, string>,
): readonly OnLink<T>[] {
  return things.flatMap(({ linkIndex, ...thing }) => {
    const link = names.get(linkIndex);
    return link === undefined ? [] : [{ ...(thing as unknown as T), link }];
  });
}

function destinationOf({ destination, prefixLength, link }: OnLink<Route>): RoutedSubnet[] {
  const subnet = parseSubnet(`${destination}/${prefixLength}`);
  return subnet === undefined ? [] : [{ destination: subnet, link }];
}

function isDefined<T>(value: T | undefined): value is T {
  return value !== undefined;
}
