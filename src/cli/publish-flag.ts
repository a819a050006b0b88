// `--publish`, `--publish-rm` and `--expose`: ports as Docker's command line writes them. PURE.
import type { DockerPort } from '../api/schema.ts';
import { parsePlace, PLACE_RULE } from '../model/publish-place.ts';
import { isPortNumber, parsePort, portNameProblem, type Protocol } from '../model/port.ts';
import { parseFields } from './flag-fields.ts';
import { CliError } from './shell.ts';

export interface ExposedPort {
  readonly Protocol: Protocol;
  readonly Port: number;
  readonly Name?: string;
}

/** First and last, both included. */
type Range = readonly [number, number];

/**
 * `[[ADDRESS:]PUBLISHED[-LAST]:]TARGET[-LAST][/PROTOCOL]`, or `published=…,target=…,protocol=…,mode=…,host_ip=…,name=…`: one entry
 * for each published port. Throws CliError.
 */
export function parsePublish(flag: string, text: string): readonly DockerPort[] {
  return text.includes('=') ? [longPort(flag, text)] : shortPorts(flag, text);
}

/** `PORT[-LAST][/PROTOCOL]`, or `target=…,protocol=…,name=…`. Throws CliError. */
export function parseExpose(flag: string, text: string): readonly ExposedPort[] {
  if (text.includes('=')) {
    const fields = parseFields(flag, text, EXPOSE_FIELDS);
    return [
      {
        Protocol: protocolField(flag, text, fields),
        Port: targetField(flag, text, fields),
        ...nameField(flag, text, fields),
      },
    ];
  }
  const { rest, protocol } = splitProtocol(flag, text);
  return numbers(readRange(flag, text, rest)).map((port) => ({ Protocol: protocol, Port: port }));
}

/**
 * What `--publish-rm` takes away. `80` and `80/tcp` mean the target port, published wherever, as in Docker; `8080:80` and the
 * long form mean only what has all of that.
 */
export function parseUnpublish(flag: string, text: string): (port: DockerPort) => boolean {
  const wanted = parsePublish(flag, text);
  const mode = /(^|,)mode=/.test(text);
  return (port) =>
    wanted.some(
      (one) =>
        one.Protocol === port.Protocol &&
        one.TargetPort === port.TargetPort &&
        (one.PublishedPort === undefined || one.PublishedPort === port.PublishedPort) &&
        (one.HostIP === undefined || one.HostIP === port.HostIP) &&
        (!mode || one.PublishMode === port.PublishMode),
    );
}

function shortPorts(flag: string, text: string): readonly DockerPort[] {
  const { rest, protocol } = splitProtocol(flag, text);
  const parts = /^(?:(?:(\[[^\]]*\]|.*):)?([^:]*):)?([^:]+)$/.exec(rest);
  if (parts === null) throw misused(flag, text, 'should be [[ADDRESS:]PUBLISHED:]TARGET[/tcp|/udp], IPv6 in brackets');
  const [, address, publishedText, targetText = ''] = parts;
  const target = readRange(flag, text, targetText);
  const host = address === undefined || address === '' ? {} : { HostIP: readAddress(flag, text, address) };
  const port = (TargetPort: number): DockerPort => ({
    Protocol: protocol,
    TargetPort,
    PublishMode: 'ingress',
    ...host,
  });
  if (publishedText === undefined || publishedText === '') return numbers(target).map(port);
  const published = readRange(flag, text, publishedText);
  const [wanted, given] = [count(target), count(published)];
  // As in Docker, several published ports may lead to one target port.
  if (wanted !== 1 && wanted !== given) {
    throw misused(
      flag,
      text,
      `has ${given} published ports for ${wanted} target ports; the ranges should be equally long`,
    );
  }
  return numbers(published).map((PublishedPort, index) => {
    const { PublishMode, ...rest } = port(target[0] + (wanted === 1 ? 0 : index));
    return { ...rest, PublishedPort, PublishMode };
  });
}

const LONG_FIELDS = ['published', 'target', 'protocol', 'mode', 'host_ip', 'name'] as const;
const EXPOSE_FIELDS = ['target', 'protocol', 'name'] as const;

type Fields = ReadonlyMap<string, readonly string[]>;

function longPort(flag: string, text: string): DockerPort {
  const fields = parseFields(flag, text, LONG_FIELDS);
  const target = targetField(flag, text, fields);
  const published = portField(flag, text, 'published', fields.get('published'));
  const [mode = 'ingress'] = fields.get('mode') ?? [];
  if (mode !== 'ingress' && mode !== 'host') {
    throw misused(flag, text, `: mode should be ingress or host, not "${mode}"`);
  }
  const [address] = fields.get('host_ip') ?? [];
  return {
    ...nameField(flag, text, fields),
    Protocol: protocolField(flag, text, fields),
    TargetPort: target,
    ...(published === undefined ? {} : { PublishedPort: published }),
    PublishMode: mode,
    ...(address === undefined ? {} : { HostIP: readAddress(flag, text, address) }),
  };
}

function portField(flag: string, text: string, field: string, values: readonly string[] | undefined) {
  const [value] = values ?? [];
  if (value === undefined) return undefined;
  const port = parsePort(value);
  if (port === undefined) throw misused(flag, text, `: ${field} should be a port of 1 to 65535, not "${value}"`);
  return port;
}

function targetField(flag: string, text: string, fields: Fields): number {
  const target = portField(flag, text, 'target', fields.get('target'));
  if (target === undefined) throw misused(flag, text, 'has no target=PORT, the port that tasks listen on');
  return target;
}

function protocolField(flag: string, text: string, fields: Fields): Protocol {
  return readProtocol(flag, text, fields.get('protocol')?.[0] ?? 'tcp');
}

function nameField(flag: string, text: string, fields: Fields): { readonly Name?: string } {
  const [name] = fields.get('name') ?? [];
  if (name === undefined) return {};
  const problem = portNameProblem(name);
  if (problem !== undefined) throw misused(flag, text, `: the name "${name}" ${problem}`);
  return { Name: name };
}

function splitProtocol(flag: string, text: string): { readonly rest: string; readonly protocol: Protocol } {
  const slash = text.lastIndexOf('/');
  if (slash < 0) return { rest: text, protocol: 'tcp' };
  return { rest: text.slice(0, slash), protocol: readProtocol(flag, text, text.slice(slash + 1)) };
}

function readProtocol(flag: string, text: string, word: string): Protocol {
  const protocol = word.toLowerCase();
  if (protocol === 'tcp' || protocol === 'udp') return protocol;
  const why = protocol === 'sctp' ? 'sctp is not balanced; there are tcp and udp' : `"${word}" is neither tcp nor udp`;
  throw misused(flag, text, `: ${why}`);
}

function readAddress(flag: string, text: string, word: string): string {
  const address = parsePlace(word.replace(/^\[(.*)\]$/, '$1'));
  if (address === undefined) throw misused(flag, text, `: "${word}" ${PLACE_RULE} (IPv6 in brackets)`);
  return address;
}

function readRange(flag: string, text: string, range: string): Range {
  const [first, last = first] = range.split('-', 2).map(rangeEnd);
  if (first === undefined || last === undefined || range.split('-').length > 2) {
    throw misused(flag, text, `: "${range}" is no port of 1 to 65535 and no range FIRST-LAST`);
  }
  if (last < first) throw misused(flag, text, `: the range ${range} ends before it begins`);
  return [first, last];
}

/** As Docker and Compose take them: zeros in front mean nothing. */
function rangeEnd(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && isPortNumber(Number(text)) ? Number(text) : undefined;
}

function count([first, last]: Range): number {
  return last - first + 1;
}

function numbers(range: Range): readonly number[] {
  return Array.from({ length: count(range) }, (_, index) => range[0] + index);
}

function misused(flag: string, text: string, why: string): CliError {
  return new CliError('USAGE', `${flag} "${text}"${why.startsWith(':') ? why : ` ${why}`}`);
}
