// `ports` and `expose`: the short and the long syntax → published and target ports.
import { parsePlace, PLACE_RULE } from '../model/publish-place.ts';
import {
  isPortNumber,
  type PortNumber,
  portNameProblem,
  type Protocol,
  type PublishMode,
  type PublishSpec,
  type TargetPort,
} from '../model/port.ts';
import { quote } from './diagnostics.ts';
import { MAX_RANGE_PORTS, type Reader } from './reader.ts';
import type { Place, Tree } from './tree.ts';

export interface PlacedPublish {
  readonly spec: PublishSpec;
  readonly place: Place;
}

export interface ServicePorts {
  readonly publish: readonly PlacedPublish[];
  /** Target ports that got a name in the long syntax. */
  readonly named: readonly TargetPort[];
}

/** The `ports` of a service. */
export function readPorts(reader: Reader, tree: Tree, what: string): ServicePorts {
  const publish: PlacedPublish[] = [];
  const named: TargetPort[] = [];
  for (const item of reader.list(tree, what)?.items ?? []) {
    const mapping = item.kind === 'map' ? readLong(reader, item, what) : readShort(reader, item, what);
    if (mapping === undefined) continue;
    const fits = reader.takeRange(length(mapping.published ?? mapping.target));
    const specs = fits ? publishSpecs(mapping) : TOO_WIDE;
    if (typeof specs === 'string') {
      reader.diagnostics.error(item.place, `${what}: ${specs}`);
    } else {
      publish.push(...specs.map((spec) => ({ spec, place: item.place })));
    }
    if (mapping.name !== undefined)
      named.push({ protocol: mapping.protocol, port: mapping.target.first, name: mapping.name });
  }
  return { publish, named };
}

/** The `expose` of a service: `80`, `"53/udp"`, `"8000-8005"`. */
export function readExpose(reader: Reader, tree: Tree, what: string): readonly TargetPort[] {
  const targets: TargetPort[] = [];
  for (const item of reader.list(tree, what)?.items ?? []) {
    const text = reader.text(item, what);
    if (text === undefined) continue;
    const parsed = splitProtocol(text);
    const range = parsed === undefined ? undefined : parseRange(parsed.rest);
    if (parsed === undefined || range === undefined) {
      reader.diagnostics.error(item.place, `${what}: ${quote(text)} is no PORT[-PORT][/tcp|/udp]${sctpHint(text)}`);
    } else if (reader.takeRange(length(range))) {
      targets.push(...ports(range).map((port) => ({ protocol: parsed.protocol, port })));
    } else {
      reader.diagnostics.error(item.place, `${what}: ${TOO_WIDE}`);
    }
  }
  return targets;
}

const TOO_WIDE = `the ranges of a file may hold ${MAX_RANGE_PORTS} ports together`;

/** First and last, both included. */
interface Range {
  readonly first: PortNumber;
  readonly last: PortNumber;
}

interface Mapping {
  readonly protocol: Protocol;
  readonly target: Range;
  /** Absent: allocated. */
  readonly published?: Range;
  readonly mode: PublishMode;
  readonly hostAddress?: string;
  readonly name?: string;
}

/** One spec per published port; a sentence about the ranges where they do not fit. */
function publishSpecs(mapping: Mapping): readonly PublishSpec[] | string {
  const { protocol, mode, hostAddress, target, published } = mapping;
  const rest = { mode, ...(hostAddress === undefined ? {} : { hostAddress }) };
  if (published === undefined) return ports(target).map((targetPort) => ({ protocol, targetPort, ...rest }));
  // As in Swarm, several published ports may lead to one target port.
  const step = length(target) === 1 ? 0 : 1;
  if (step === 1 && length(target) !== length(published)) {
    return `the ranges differ in length: ${length(published)} published ports, ${length(target)} target ports`;
  }
  return ports(published).map((publishedPort, i) => ({
    protocol,
    targetPort: (target.first + i * step) as PortNumber,
    publishedPort,
    ...rest,
  }));
}

/** `[[ADDRESS:]PUBLISHED[-LAST]:]TARGET[-LAST][/PROTOCOL]`; an IPv6 address stands in brackets. */
function readShort(reader: Reader, item: Tree, what: string): Mapping | undefined {
  const text = reader.text(item, what);
  if (text === undefined) return undefined;
  const fail = (reason: string): undefined => {
    reader.diagnostics.error(item.place, `${what}: ${quote(text)}${reason}`);
    return undefined;
  };
  const parsed = splitProtocol(text.trim());
  if (parsed === undefined) return fail(` is neither /tcp nor /udp${sctpHint(text)}`);
  const parts = /^(?:(?:(\[[^\]]*\]|.*):)?([^:]*):)?([^:]+)$/.exec(parsed.rest);
  const [, address = '', publishedText = '', targetText = ''] = parts ?? [];
  const target = parseRange(targetText);
  if (target === undefined)
    return fail(' is no [[ADDRESS:]PUBLISHED:]TARGET[/tcp|/udp]; ports are 1 to 65535, ranges FIRST-LAST');
  const published = parsePublished(publishedText);
  if (published === undefined)
    return fail(`: ${quote(publishedText)} is no port of 1 to 65535 and no range FIRST-LAST`);
  const hostAddress = parseHostAddress(address);
  if (hostAddress === undefined) return fail(`: ${quote(address)} ${PLACE_RULE} (no host names; IPv6 in brackets)`);
  return { protocol: parsed.protocol, target, mode: 'ingress', ...published, ...hostAddress };
}

const LONG_KEYS = {
  path: 'services.*.ports',
  used: ['target', 'published', 'protocol', 'mode', 'host_ip', 'name'],
  unused: ['app_protocol'],
} as const;

function readLong(reader: Reader, item: Tree, what: string): Mapping | undefined {
  const fields = reader.fields(item, what, LONG_KEYS);
  if (fields === undefined) return undefined;
  const read = <T>(key: string, parse: (text: string) => T | undefined, wanted: string): T | undefined => {
    const value = fields.get(key)?.value;
    const text = value === undefined ? undefined : reader.text(value, `${what}.${key}`);
    if (value === undefined || text === undefined) return undefined;
    const result = parse(text);
    if (result === undefined)
      reader.diagnostics.error(value.place, `${what}.${key} must be ${wanted}, not ${quote(text)}`);
    return result;
  };
  const protocol = read('protocol', parseProtocol, 'tcp or udp') ?? 'tcp';
  const target = read('target', parseSingle, 'a port of 1 to 65535');
  // Here Compose takes one port of a range, where the short syntax publishes all of them.
  const published = read('published', parsePublishedOne, 'a port of 1 to 65535 or a range "FIRST-LAST"');
  const hostAddress = read(
    'host_ip',
    parseHostAddress,
    'an address of this node (no host names) or an interface such as %eth1',
  );
  const name = read(
    'name',
    (text) => (portNameProblem(text) === undefined ? text : undefined),
    '1 to 62 letters, digits, "-" and "_"',
  );
  const modeTree = fields.get('mode')?.value;
  const mode = modeTree === undefined ? 'ingress' : reader.word(modeTree, `${what}.mode`, ['ingress', 'host']);
  if (!fields.has('target'))
    reader.diagnostics.error(item.place, `${what}: the long syntax needs "target", the port that tasks listen on`);
  if (target === undefined || mode === undefined) return undefined;
  return { protocol, target, mode, ...published, ...hostAddress, ...(name === undefined ? {} : { name }) };
}

/** Nothing and `0` leave the choice to the allocation. */
function parsePublished(text: string): { readonly published?: Range } | undefined {
  if (text === '' || text === '0') return {};
  const published = parseRange(text);
  return published === undefined ? undefined : { published };
}

function parsePublishedOne(text: string): { readonly published?: Range } | undefined {
  const { published } = parsePublished(text) ?? {};
  if (published === undefined) return parsePublished(text);
  return { published: { first: published.first, last: published.first } };
}

function parseSingle(text: string): Range | undefined {
  const range = parseRange(text);
  return range !== undefined && length(range) === 1 ? range : undefined;
}

function parseHostAddress(text: string): { readonly hostAddress?: string } | undefined {
  if (text === '') return {};
  const hostAddress = parsePlace(text.replace(/^\[(.*)\]$/, '$1'));
  return hostAddress === undefined ? undefined : { hostAddress };
}

function parseRange(text: string): Range | undefined {
  const [, firstText, lastText] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text.trim()) ?? [];
  const first = Number(firstText);
  const last = lastText === undefined ? first : Number(lastText);
  return isPortNumber(first) && isPortNumber(last) && first <= last ? { first, last } : undefined;
}

function splitProtocol(text: string): { readonly rest: string; readonly protocol: Protocol } | undefined {
  const slash = text.lastIndexOf('/');
  if (slash < 0) return { rest: text, protocol: 'tcp' };
  const protocol = parseProtocol(text.slice(slash + 1));
  return protocol === undefined ? undefined : { rest: text.slice(0, slash), protocol };
}

function parseProtocol(text: string): Protocol | undefined {
  const word = text.toLowerCase();
  return word === 'tcp' || word === 'udp' ? word : undefined;
}

function sctpHint(text: string): string {
  return /sctp$/i.test(text) ? ': sctp is not balanced' : '';
}

function length(range: Range): number {
  return range.last - range.first + 1;
}

function ports(range: Range): readonly PortNumber[] {
  return Array.from({ length: length(range) }, (_, i) => (range.first + i) as PortNumber);
}
