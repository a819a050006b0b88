// Published ports as `docker service ls` writes them: `*:8080->80/tcp, *:9000-9002->9000-9002/udp`. PURE.
import type { DockerPort } from '../api/schema.ts';

interface Range {
  readonly address: string;
  readonly protocol: string;
  readonly published: readonly [number, number];
  readonly target: readonly [number, number];
}

/** Ports of one publish mode; consecutive ones with consecutive (or one and the same) target ports as one range. */
export function formatPorts(ports: readonly DockerPort[], mode: DockerPort['PublishMode']): string {
  const wanted = ports
    .filter((port) => port.PublishMode === mode && port.PublishedPort !== undefined)
    .sort((a, b) => compare(a.Protocol, b.Protocol) || (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0));
  const ranges: Range[] = [];
  for (const port of wanted) {
    const next = single(port);
    const joined = join(ranges.at(-1), next);
    if (joined === undefined) ranges.push(next);
    else ranges[ranges.length - 1] = joined;
  }
  return ranges.map(formatRange).join(', ');
}

function single(port: DockerPort): Range {
  const published = port.PublishedPort ?? 0;
  return {
    address: port.HostIP ?? '*',
    protocol: port.Protocol,
    published: [published, published],
    target: [port.TargetPort, port.TargetPort],
  };
}

function join(range: Range | undefined, next: Range): Range | undefined {
  if (range === undefined || range.protocol !== next.protocol || range.address !== next.address) return undefined;
  if (next.published[0] !== range.published[1] + 1) return undefined;
  const publishedCount = range.published[1] - range.published[0];
  const targetCount = range.target[1] - range.target[0];
  const parallel = next.target[0] === range.target[1] + 1 && targetCount === publishedCount;
  const same = next.target[0] === range.target[1] && targetCount === 0;
  if (!parallel && !same) return undefined;
  return { ...range, published: [range.published[0], next.published[1]], target: [range.target[0], next.target[1]] };
}

function formatRange({ address, protocol, published, target }: Range): string {
  const host = address.includes(':') ? `[${address}]` : address;
  return `${host}:${span(published)}->${span(target)}/${protocol}`;
}

function span([first, last]: readonly [number, number]): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
