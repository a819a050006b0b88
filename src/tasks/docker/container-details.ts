// A container as the Docker Engine describes it (GET /containers/ID/json), as far as it matters here. PURE.
import { z } from 'zod';
import { type IpAddress, parseIp, parseSubnet, type Subnet } from '../../model/address.ts';
import { aliasProblem } from '../../model/name.ts';

const texts = z.record(z.string(), z.string()).nullish();

/** Of the engine's answer only what is read; what older or newer engines leave out is as good as empty. */
export const containerDetails = z.object({
  Id: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits'),
  /** With a `/` before it. */
  Name: z.string(),
  State: z.object({
    Running: z.boolean(),
    Paused: z.boolean(),
    Restarting: z.boolean().optional(),
    /** 0 when it does not run. */
    Pid: z.number().int().nonnegative(),
    Health: z.object({ Status: z.string() }).nullish(),
  }),
  Config: z.object({
    Hostname: z.string().nullish(),
    Labels: texts,
    ExposedPorts: z.record(z.string(), z.unknown()).nullish(),
    StopSignal: z.string().nullish(),
    /** Seconds. */
    StopTimeout: z.number().nullish(),
  }),
  NetworkSettings: z.object({
    Networks: z
      .record(
        z.string(),
        z.object({
          NetworkID: z.string().nullish(),
          IPAddress: z.string().nullish(),
          IPPrefixLen: z.number().nullish(),
          GlobalIPv6Address: z.string().nullish(),
          GlobalIPv6PrefixLen: z.number().nullish(),
          Aliases: z.array(z.string()).nullish(),
        }),
      )
      .nullish(),
  }),
});

export type ContainerDetails = z.infer<typeof containerDetails>;
export type ContainerNetwork = NonNullable<ContainerDetails['NetworkSettings']['Networks']>[string];

/** As Docker abbreviates ids. */
export const SHORT_ID_LENGTH = 12;

/** Docker's own networks, on which its resolver knows no names; the last two are Swarm's. */
const BUILT_IN: ReadonlySet<string> = new Set(['bridge', 'host', 'none', 'ingress', 'docker_gwbridge']);

export function containerName({ Name }: ContainerDetails): string {
  return Name.replace(/^\//, '');
}

/** On which its resolver answers at 127.0.0.11: those that users made, in the order of their names. */
export function userNetworks({ NetworkSettings }: ContainerDetails): readonly (readonly [string, ContainerNetwork])[] {
  return Object.entries(NetworkSettings.Networks ?? {})
    .filter(([name]) => !BUILT_IN.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Where its node reaches it: on the first of its networks on which it has an address, Docker's `bridge` included. */
export function bridgeAddress({ NetworkSettings }: ContainerDetails): IpAddress | undefined {
  const networks = Object.entries(NetworkSettings.Networks ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const addresses = networks.flatMap(([, one]) => [one.IPAddress, one.GlobalIPv6Address]);
  return addresses.map((text) => parseIp(text ?? '')).find((address) => address !== undefined);
}

/** What a container is called on a network of Docker's on which names are known. */
export interface DockerPlace {
  /** The network's full id. */
  readonly network: string;
  readonly networkName: string;
  readonly subnets: readonly Subnet[];
  readonly addresses: readonly IpAddress[];
  /** Lower case; the first one is the container's own. */
  readonly names: readonly string[];
}

/** As Docker's own resolver tells it: nothing of a container that does not run. */
export function dockerPlaces(details: ContainerDetails): readonly DockerPlace[] {
  if (details.State.Pid === 0) return [];
  return userNetworks(details).flatMap(([networkName, network]) => {
    const given = [
      { address: network.IPAddress ?? '', length: network.IPPrefixLen },
      { address: network.GlobalIPv6Address ?? '', length: network.GlobalIPv6PrefixLen },
    ].flatMap(({ address, length }) => {
      const subnet = parseSubnet(`${address}/${length ?? ''}`);
      const parsed = parseIp(address);
      return subnet === undefined || parsed === undefined ? [] : [{ subnet, address: parsed }];
    });
    if (given.length === 0 || !network.NetworkID) return [];
    const names = [containerName(details), details.Id.slice(0, SHORT_ID_LENGTH), ...(network.Aliases ?? [])];
    return [
      {
        network: network.NetworkID,
        networkName,
        subnets: given.map(({ subnet }) => subnet),
        addresses: given.map(({ address }) => address),
        names: [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => aliasProblem(name) === undefined),
      },
    ];
  });
}

/** As far as Docker sees it; undefined: the container has no check. */
export function dockerHealth({ State }: ContainerDetails): 'starting' | 'healthy' | 'unhealthy' | undefined {
  const status = State.Health?.Status;
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : undefined;
}

/** Numbers of signals that ask a program to end, or that it does not mind, by name (signal(7), x86 and arm64). */
const SIGNALS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  KILL: 9,
  USR1: 10,
  USR2: 12,
  TERM: 15,
  CONT: 18,
  URG: 23,
  WINCH: 28,
};
export const SIGKILL = 9;
const SIGTERM = 15;
/** The last of the real-time signals. */
const MAX_SIGNAL = 64;

/** `TERM`, `sigterm`, `15`; undefined: there is no such signal. */
export function parseSignal(text: string): number | undefined {
  const name = text.trim().toUpperCase().replace(/^SIG/, '');
  const number = SIGNALS[name] ?? (/^\d{1,2}$/.test(name) ? Number(name) : 0);
  return number >= 1 && number <= MAX_SIGNAL ? number : undefined;
}

/** What `docker stop` sends it. */
export function stopSignal({ Config }: ContainerDetails): number {
  return parseSignal(Config.StopSignal ?? '') ?? SIGTERM;
}

/** Whether a signal is the end of the container: the one that `docker stop` sends it, or one that nothing survives. */
export function isStopSignal(details: ContainerDetails, signal: number): boolean {
  return signal === stopSignal(details) || signal === SIGKILL;
}
