// Top-level `networks` → NetworkSpecs, and the names by which services mean them.
import { ipVersion, parseSubnet, prefixLength, type Subnet, subnetsOverlap } from '../model/address.ts';
import { nameProblem, STACK_LABEL, stackName } from '../model/name.ts';
import type { NetworkDriver, NetworkSpec } from '../model/network.ts';
import { quote } from './diagnostics.ts';
import { IPAM_KEYS, NETWORK_KEYS, SUBNET_KEYS } from './keys.ts';
import type { Reader } from './reader.ts';
import { type Entry, isNull, type Place, type Tree } from './tree.ts';

/** Where services without `networks` go. */
export const DEFAULT_NETWORK = 'default';

/** What a network's key in the file stands for. */
export interface Declaration {
  readonly key: string;
  readonly place: Place;
  /** The network's own name: `shop_backend`, or what `name` says. */
  readonly name: string;
  /** Absent: the network is external, made by somebody else. */
  readonly spec?: NetworkSpec;
}

export interface Surroundings {
  readonly stack: string;
  readonly defaultDriver: NetworkDriver;
}

export function readNetworks(
  reader: Reader,
  tree: Tree | undefined,
  around: Surroundings,
): ReadonlyMap<string, Declaration> {
  const declarations = new Map<string, Declaration>();
  const entries = tree === undefined ? [] : (reader.map(tree, 'networks')?.entries ?? []);
  for (const entry of entries) {
    const declaration = readNetwork(reader, entry, around);
    if (declaration !== undefined) declarations.set(entry.key, declaration);
  }
  if (!declarations.has(DEFAULT_NETWORK) && !entries.some((entry) => entry.key === DEFAULT_NETWORK)) {
    const name = stackName(around.stack, DEFAULT_NETWORK);
    const place = { line: 1, column: 1 };
    declarations.set(DEFAULT_NETWORK, { key: DEFAULT_NETWORK, place, name, spec: plainNetwork(name, around) });
  }
  refuseSharedNames(reader, declarations.values());
  return declarations;
}

function plainNetwork(name: string, around: Surroundings): NetworkSpec {
  return {
    name,
    driver: around.defaultDriver,
    subnets: [],
    ipv6: false,
    internal: false,
    attachable: false,
    labels: { [STACK_LABEL]: around.stack },
    options: {},
  };
}

function readNetwork(reader: Reader, entry: Entry, around: Surroundings): Declaration | undefined {
  const { key, keyPlace: place, value } = entry;
  const what = `network ${quote(key)}`;
  const fields = isNull(value) ? new Map<string, Entry>() : reader.fields(value, what, NETWORK_KEYS);
  if (fields === undefined) return undefined;
  const nameTree = fields.get('name')?.value;
  const ownName = nameTree === undefined ? undefined : reader.text(nameTree, `${what}: name`);
  const external = readExternal(reader, fields.get('external'), what);
  if (external !== undefined) {
    for (const [field, { keyPlace }] of fields) {
      if (field === 'name' || field === 'external') continue;
      reader.diagnostics.warn(keyPlace, `${what} is external: "${field}" is not used, the network stays as it is`);
    }
    const name = external.name ?? ownName ?? key;
    if (name === '')
      reader.diagnostics.error(nameTree?.place ?? place, `${what}: the name of an external network is empty`);
    return { key, place, name };
  }
  const name = ownName ?? stackName(around.stack, key);
  const problem = nameProblem(name);
  if (problem !== undefined) {
    reader.diagnostics.error(nameTree?.place ?? place, `${what}: its name ${quote(name)} ${problem}`);
    return undefined;
  }
  return { key, place, name, spec: readSpec(reader, fields, what, plainNetwork(name, around)) };
}

/** `external: true`, or the older `external: {name: NAME}`. Undefined: not external. */
function readExternal(reader: Reader, entry: Entry | undefined, what: string): { readonly name?: string } | undefined {
  if (entry === undefined) return undefined;
  if (entry.value.kind !== 'map') return reader.boolean(entry.value, `${what}: external`) === true ? {} : undefined;
  const keys = { path: 'networks.*.external', used: ['name'], unused: [] };
  const nameTree = reader.fields(entry.value, `${what}: external`, keys)?.get('name')?.value;
  const name = nameTree === undefined ? undefined : reader.text(nameTree, `${what}: external.name`);
  return name === undefined ? {} : { name };
}

function readSpec(reader: Reader, fields: ReadonlyMap<string, Entry>, what: string, plain: NetworkSpec): NetworkSpec {
  const flag = (key: string): boolean => {
    const value = fields.get(key)?.value;
    return value !== undefined && reader.boolean(value, `${what}: ${key}`) === true;
  };
  const record = (key: string): Readonly<Record<string, string>> => {
    const value = fields.get(key)?.value;
    return value === undefined ? {} : reader.record(value, `${what}: ${key}`);
  };
  const driver = readDriver(reader, fields.get('driver'), what) ?? plain.driver;
  const ipam = fields.get('ipam');
  const subnets = ipam === undefined ? [] : readSubnets(reader, ipam.value, what, driver);
  return {
    ...plain,
    driver,
    subnets,
    ipv6:
      readIpv6(reader, fields.get('enable_ipv6'), what, driver) || subnets.some((subnet) => ipVersion(subnet) === 6),
    internal: flag('internal'),
    attachable: flag('attachable'),
    labels: { ...record('labels'), ...plain.labels },
    options: record('driver_opts'),
  };
}

/** Undefined: the default one, which is what plain Docker's `bridge` is meant to be. */
function readDriver(reader: Reader, entry: Entry | undefined, what: string): NetworkDriver | undefined {
  if (entry === undefined) return undefined;
  const text = reader.text(entry.value, `${what}: driver`);
  if (text === 'overlay' || text === 'local') return text;
  if (text === undefined || text === '' || text === 'bridge' || text === 'default') return undefined;
  const known = ['overlay', 'local', 'bridge'];
  reader.diagnostics.error(
    entry.value.place,
    `${what}: there is no driver ${quote(text)}; it is overlay, local or (the default of the two) bridge${reader.diagnostics.hint(text, known)}`,
  );
  return undefined;
}

function readIpv6(reader: Reader, entry: Entry | undefined, what: string, driver: NetworkDriver): boolean {
  if (entry === undefined || reader.boolean(entry.value, `${what}: enable_ipv6`) !== true) return false;
  if (driver === 'overlay') return true;
  reader.diagnostics.warn(
    entry.keyPlace,
    `${what}: enable_ipv6 is not used: a local network has only addresses of ${LOCAL_RANGE}`,
  );
  return false;
}

const LOCAL_RANGE = '127.64.0.0/10' as Subnet;

/** A network needs room for its gateway, a VIP and two tasks; IPv6 subnets are never smaller than what RFC 4291 calls one. */
const LONGEST_PREFIX = { 4: 29, 6: 120 } as const;

function readSubnets(reader: Reader, tree: Tree, what: string, driver: NetworkDriver): readonly Subnet[] {
  const config = reader.fields(tree, `${what}: ipam`, IPAM_KEYS)?.get('config')?.value;
  const items = config === undefined ? [] : (reader.list(config, `${what}: ipam.config`)?.items ?? []);
  const subnets: Subnet[] = [];
  for (const item of items) {
    const value = reader.fields(item, `${what}: ipam.config`, SUBNET_KEYS)?.get('subnet')?.value;
    const text = value === undefined ? undefined : reader.text(value, `${what}: subnet`);
    if (value === undefined || text === undefined) continue;
    const subnet = parseSubnet(text);
    const problem = subnet === undefined ? 'is no subnet such as 10.64.7.0/24' : subnetProblem(subnet, subnets);
    if (problem !== undefined) {
      reader.diagnostics.error(value.place, `${what}: ${quote(text)} ${problem}`);
    } else if (subnet !== undefined && driver === 'local' && !insideLocalRange(subnet)) {
      reader.diagnostics.warn(
        value.place,
        `${what}: subnet ${subnet} is not used: a local network has addresses of ${LOCAL_RANGE}`,
      );
    } else if (subnet !== undefined) {
      subnets.push(subnet);
    }
  }
  return subnets;
}

function subnetProblem(subnet: Subnet, others: readonly Subnet[]): string | undefined {
  const version = ipVersion(subnet);
  if (prefixLength(subnet) > LONGEST_PREFIX[version])
    return `is too small: at most /${LONGEST_PREFIX[version]} leaves room for tasks`;
  if (prefixLength(subnet) === 0) return 'is the whole address space';
  return others.some((other) => ipVersion(other) === version)
    ? `is a second IPv${version} subnet; a network has one of each family`
    : undefined;
}

function insideLocalRange(subnet: Subnet): boolean {
  return subnetsOverlap(subnet, LOCAL_RANGE) && prefixLength(subnet) >= prefixLength(LOCAL_RANGE);
}

/** Two keys may mean one external network, but one name cannot be made twice. */
function refuseSharedNames(reader: Reader, declarations: Iterable<Declaration>): void {
  const owners = new Map<string, Declaration>();
  for (const declaration of declarations) {
    if (declaration.spec === undefined) continue;
    const first = owners.get(declaration.name);
    if (first === undefined) {
      owners.set(declaration.name, declaration);
    } else {
      const both = `networks ${quote(first.key)} (${reader.diagnostics.at(first.place)}) and ${quote(declaration.key)}`;
      reader.diagnostics.error(declaration.place, `${both} have the same name ${quote(declaration.name)}`);
    }
  }
}
