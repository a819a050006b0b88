// `vipmesh doctor`: looks at the kernel, the network and the agent, and says what is wrong and what to do about it.
import { release } from 'node:os';
import type { Command } from 'commander';
import { z } from 'zod';
import type { ApiClient } from '../api/client.ts';
import { dockerNetwork, dockerTask } from '../api/schema.ts';
import { type AgentStatus, agentStatus } from '../api/status-schema.ts';
import { type IpAddress, parseIp, parseSubnet } from '../model/address.ts';
import type { CleanupMachine } from './cleanup.ts';
import { checkAddresses, type MeshNetwork } from './doctor/addresses.ts';
import { type Finding, findingsOf, formatFindings } from './doctor/finding.ts';
import { checkKernel, checkPrivileges } from './doctor/kernel.ts';
import { checkClock, checkDescriptors } from './doctor/limits.ts';
import {
  askServer,
  askUpstream,
  lookAtDescriptors,
  lookAtDisk,
  lookAtForwarding,
  lookAtOldIptables,
  lookAtPrivileges,
  namespaceOf,
  read,
} from './doctor/look.ts';
import { lookAtPorts } from './doctor/look-at-ports.ts';
import type { DoctorMachine, NodeNetwork, Place, Settings } from './doctor/machine.ts';
import { type AgentFact, checkAgent, checkNodes, checkStore } from './doctor/mesh.ts';
import { checkEgress, checkLeftovers } from './doctor/outside.ts';
import { checkPorts, type PortFact } from './doctor/ports.ts';
import { checkContainerResolvers, checkRoutes, checkUpstreams, nameservers } from './doctor/resolvers.ts';
import { checkUnderlay } from './doctor/underlay.ts';
import { formatObjects } from './format.ts';
import { apiCommand, clientOf, errorCode, type Shell } from './shell.ts';

export interface DoctorParts {
  readonly doctor: DoctorMachine;
  readonly cleanup: CleanupMachine;
}

/** What all checks are about: the agent that runs, or the one that this user would start now. */
interface Subject {
  readonly isRoot: boolean;
  readonly client: ApiClient;
  readonly agent: AgentFact;
  readonly status: AgentStatus | undefined;
  readonly settings: Settings;
  /** The agent is root's. */
  readonly isRoots: boolean;
  readonly isCluster: boolean;
  readonly network: NodeNetwork;
  readonly shell: Shell;
  readonly parts: DoctorParts;
}

/** An agent answers in milliseconds; one that does not within this time is stopped or hangs. */
const ANSWER_TIMEOUT_MS = 5000;
/** RFC 7348 section 8. */
const VXLAN_PORT = 4789;
const PROBE_PORT = 7946;
/** A node of a large mesh need not try the way to each of the others. */
const MOST_PATHS = 100;

export function doctorCommand(shell: Shell, parts: DoctorParts): Command {
  return apiCommand('doctor', 'check this node, and say what is wrong and what to do about it', [
    'vipmesh doctor',
    'vipmesh doctor --format json',
    "vipmesh doctor --format '{{.Level}} {{.Check}} {{.What}}'",
  ])
    .option('--format <FORMAT>', "json or a template such as '{{.Level}} {{.What}}'")
    .addHelpText(
      'after',
      `
Each line is ok, warn (it works less well than it could, or may fail later) or bad (something does not work); the exit status is 1
when anything is bad. Works with and without an agent, and sees more as root. It changes nothing; each other node is sent two
packets, and each upstream and each server of a --dns-route is asked for the root's name servers.`,
    )
    .action(async ({ format }: { readonly format?: string }, self: Command) => {
      const findings = await examine(self, shell, parts);
      shell.out(format === undefined ? formatFindings(findings) : formatObjects(findings.map(shape), format));
      if (findings.some(({ level }) => level === 'bad')) shell.fail(1);
    });
}

function shape(finding: Finding) {
  const { level, check, what } = finding;
  return { Level: level, Check: check, What: what, Advice: finding.level === 'ok' ? '' : finding.advice };
}

async function examine(self: Command, shell: Shell, parts: DoctorParts): Promise<readonly Finding[]> {
  const client = clientOf(self, shell);
  const agent = await askAgent(client);
  const { settings, problem } = readSettings(shell, parts.doctor);
  const status = agent.kind === 'running' ? agent.status : undefined;
  const isRoot = process.getuid?.() === 0;
  const network = await readNetwork(parts.doctor, isRoot, dataAddress(status, settings));
  const subject: Subject = {
    isRoot,
    client,
    agent,
    status,
    settings,
    isRoots: status?.Privileged ?? settings.privileged,
    isCluster: status === undefined ? settings.cluster !== undefined : status.Cluster !== undefined,
    network: network.found,
    shell,
    parts,
  };
  const findings: Finding[] = [...checkAgent(agent), ...problem, ...network.problem];
  for (const [name, section] of SECTIONS) {
    try {
      findings.push(...(await section(subject)));
    } catch (error) {
      findings.push(notChecked(name, error));
    }
  }
  return findings;
}

function notChecked(name: string, error: unknown): Finding {
  const why = error instanceof Error ? error.message : String(error);
  return findingsOf(name).warn(`${name}: not checked: ${why}`, 'mend that, and run this again');
}

type Section = (subject: Subject) => Promise<readonly Finding[]>;

const SECTIONS: readonly (readonly [string, Section])[] = [
  ['kernel', lookAtKernel],
  ['capabilities', async ({ status, settings }) => privileges(status, settings)],
  ['ports', ports],
  ['descriptors', async ({ status }) => checkDescriptors({ pid: status?.PID, ...lookAtDescriptors(status?.PID) })],
  ['clock', async ({ isCluster, parts }) => checkClock({ state: await parts.doctor.clock(), isCluster })],
  ['store', store],
  ['nodes', async ({ status }) => checkNodes(status?.Cluster)],
  ['mtu', underlay],
  ['addresses', addresses],
  ['resolv.conf', resolvers],
  ['egress', egress],
  ['leftovers', leftovers],
];

async function askAgent(client: ApiClient): Promise<AgentFact> {
  try {
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), ANSWER_TIMEOUT_MS).unref());
    const status = await Promise.race([client.get('/vipmesh/status', agentStatus), late]);
    if (status !== undefined) return { kind: 'running', status };
    return { kind: 'mute', why: `the agent at ${client.socket} does not answer` };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (errorCode(error) !== 'AGENT_NOT_RUNNING') return { kind: 'mute', why };
    const isForbidden = error instanceof Error && ['EACCES', 'EPERM'].includes(errorCode(error.cause) ?? '');
    return { kind: isForbidden ? 'forbidden' : 'none', why };
  }
}

const NO_NETWORK: NodeNetwork = {
  links: [],
  addresses: [],
  routes: [],
  underlay: undefined,
  egressPoolIsTaken: false,
  tunnels: [],
};

async function readNetwork(
  machine: DoctorMachine,
  isRoot: boolean,
  address: IpAddress | undefined,
): Promise<{ readonly found: NodeNetwork; readonly problem: readonly Finding[] }> {
  try {
    return { found: await machine.network(isRoot, address), problem: [] };
  } catch (error) {
    return { found: NO_NETWORK, problem: [notChecked('network', error)] };
  }
}

/** With a setting that is wrong, everything else is checked as if none were given. */
function readSettings(
  shell: Shell,
  machine: DoctorMachine,
): { readonly settings: Settings; readonly problem: readonly Finding[] } {
  try {
    return { settings: machine.settings(shell.env), problem: [] };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const { HOME, XDG_STATE_HOME } = shell.env;
    const problem = findingsOf('settings').bad(why, 'correct or unset that variable, or no agent starts from here');
    return { settings: machine.settings({ HOME, XDG_STATE_HOME }), problem: [problem] };
  }
}

function dataAddress(status: AgentStatus | undefined, { cluster }: Settings): IpAddress | undefined {
  if (status === undefined) return cluster?.dataAddress ?? cluster?.advertise;
  return parseIp(status.Cluster?.Nodes.find(({ Self }) => Self)?.Address ?? '');
}

async function lookAtKernel({ isRoot, isRoots, status, parts }: Subject): Promise<readonly Finding[]> {
  const trials = isRoot ? await parts.doctor.facilities() : undefined;
  const findings = checkKernel({ release: release(), isRoots, trials });
  const [own, its] = [namespaceOf('self'), status === undefined ? undefined : namespaceOf(status.PID)];
  if (own === its || its === undefined) return findings;
  const { warn } = findingsOf('kernel');
  const advice = `run this there: nsenter --net=/proc/${status?.PID}/ns/net vipmesh doctor`;
  return [
    ...findings,
    warn('the agent is in another network namespace; links, routes and rules are of this one', advice),
  ];
}

function privileges(status: AgentStatus | undefined, settings: Settings): readonly Finding[] {
  const dnsPort = placesOf(status, settings).dns.port;
  return checkPrivileges({ pid: status?.PID, ...lookAtPrivileges(status?.PID), dnsPort });
}

function placesOf(
  status: AgentStatus | undefined,
  { dns, admin }: Settings,
): { readonly dns: Place; readonly admin: Place } {
  const [listen = ''] = status?.DNS.Listen ?? [];
  return { dns: readPlace(listen) ?? dns, admin: readPlace(status?.Admin ?? '') ?? admin };
}

/** `127.0.0.11:53/udp`, `127.0.0.1:7980`, `[::1]:53/tcp`. */
function readPlace(text: string): Place | undefined {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d+)(?:\/\w+)?$/.exec(text) ?? [];
  const address = parseIp(bracketed ?? plain ?? '');
  return address === undefined ? undefined : { address, port: Number(port) };
}

async function ports(subject: Subject): Promise<readonly Finding[]> {
  // They are the agent's then, most likely, and it is not for this user to see.
  if (subject.agent.kind === 'forbidden') return [];
  return checkPorts(await lookAtPorts(portsOf(subject), subject.status?.PID), subject.status !== undefined);
}

function portsOf({ status, settings, isRoots, isCluster, network }: Subject): readonly Omit<PortFact, 'state'>[] {
  const { dns, admin } = placesOf(status, settings);
  const any = '0.0.0.0' as IpAddress;
  const reached = network.underlay?.address ?? any;
  const probes = { address: reached, port: settings.cluster?.probePort ?? PROBE_PORT, isNeeded: isCluster };
  return [
    { use: 'resolver', protocol: 'udp', ...dns, flag: '--dns', isNeeded: true },
    { use: 'resolver', protocol: 'tcp', ...dns, flag: '--dns', isNeeded: true },
    { use: 'health and metrics', protocol: 'tcp', ...admin, flag: '--admin', isNeeded: true },
    // An agent that runs in a cluster has its port, wherever that is.
    ...(status === undefined
      ? [{ use: 'probes between agents', protocol: 'udp', ...probes, flag: '--probe-port' } as const]
      : []),
    ...(isRoots
      ? [{ use: 'VXLAN', protocol: 'udp', address: any, port: VXLAN_PORT, isNeeded: isCluster } as const]
      : []),
  ];
}

async function store({ isRoot, status, settings, shell }: Subject): Promise<readonly Finding[]> {
  const folder = status?.StateDir ?? settings.stateDir;
  const endpoints = status === undefined ? (settings.cluster?.store.endpoints ?? []) : [];
  return checkStore({
    cluster: status?.Cluster,
    folder,
    // Another user's is theirs to write to.
    disk: status === undefined || isRoot ? lookAtDisk(folder) : undefined,
    servers: await Promise.all(endpoints.map(askServer)),
    now: shell.now(),
  });
}

async function underlay({ isCluster, network, parts, settings, status }: Subject): Promise<readonly Finding[]> {
  const others = (status?.Cluster?.Nodes ?? []).filter(({ Self, State }) => !Self && State !== 'down');
  const nodes = others.flatMap(({ Name, Address }) => {
    const address = parseIp(Address);
    return address === undefined ? [] : [{ node: Name, address }];
  });
  const tried = network.underlay === undefined ? [] : nodes.slice(0, MOST_PATHS);
  const addresses = tried.map(({ address }) => address);
  const results = tried.length === 0 ? [] : await parts.doctor.paths(addresses, VXLAN_PORT, network.underlay?.mtu ?? 0);
  const paths = results.map((result, i) => ({ node: tried[i]?.node ?? '', ...result }));
  const told = dataAddress(status, settings);
  return checkUnderlay({ underlay: network.underlay, told, isCluster, tunnels: network.tunnels, paths });
}

async function addresses({ client, isRoots, network, settings, status }: Subject): Promise<readonly Finding[]> {
  const networks = status === undefined ? [] : await client.get('/networks', z.array(dockerNetwork));
  return checkAddresses({
    networks: networks.map(
      ({ Name, Driver, Internal, IPAM }): MeshNetwork => ({
        name: Name,
        driver: Driver,
        internal: Internal,
        subnets: IPAM.Config.flatMap(({ Subnet }) => parseSubnet(Subnet) ?? []),
      }),
    ),
    // One that runs has chosen already.
    isRoots: isRoots && status === undefined,
    addresses: network.addresses,
    routes: network.routes,
    egressSubnet: settings.egressSubnet,
    egressPoolIsTaken: network.egressPoolIsTaken,
  });
}

async function resolvers({ client, isRoot, parts, settings, status }: Subject): Promise<readonly Finding[]> {
  const servers = status?.DNS.Upstreams.flatMap((text) => readPlace(text) ?? []) ?? settings.upstreams;
  const own = placesOf(status, settings).dns;
  const isOwn = (one: Place) => one.address === own.address && one.port === own.port;
  const name = ({ address, port }: Place) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);
  // It need not be asked whether it answers itself.
  const askAll = (all: readonly Place[]) =>
    Promise.all(all.map((one) => (isOwn(one) ? { address: name(one), error: undefined } : askUpstream(one))));
  const ofUpstreams = checkUpstreams({
    own: [name(own)],
    upstreams: await askAll(servers),
    resolved: nameservers(read('/run/systemd/resolve/resolv.conf') ?? ''),
    resolvConf: read('/etc/resolv.conf'),
  });
  const routes = routesOf(status, settings).map(async ({ suffix, upstreams }) => {
    return { suffix, upstreams: await askAll(upstreams) };
  });
  const findings = [...ofUpstreams, ...checkRoutes(await Promise.all(routes), [name(own)])];
  if (status === undefined) return findings;
  const tasks = await client.get('/tasks', z.array(dockerTask));
  const containers = tasks.flatMap(({ Name, NodeID, NetworksAttachments, Status }) => {
    const isHere = NodeID === status.Node.ID;
    const isContainer = NetworksAttachments.some(({ Network }) => Network.DriverState.Name === 'overlay');
    const pid = Status.ContainerStatus?.PID ?? 0;
    return isHere && isContainer && pid > 0 ? [{ task: Name, pid }] : [];
  });
  if (containers.length === 0) return findings;
  const seen = containers.map(({ task, pid }) => ({ task, resolvConf: parts.doctor.resolvConfOf(pid) }));
  return [...findings, ...checkContainerResolvers(isRoot ? seen : undefined)];
}

function routesOf(status: AgentStatus | undefined, settings: Settings): Settings['dnsRoutes'] {
  const running = status?.DNS.Routes.map(({ Suffix, Upstreams }) => {
    return { suffix: Suffix, upstreams: Upstreams.flatMap((text) => readPlace(text) ?? []) };
  });
  return running ?? settings.dnsRoutes;
}

async function egress({ isRoot, isRoots, network, parts }: Subject): Promise<readonly Finding[]> {
  const dropping = isRoot ? [...(await parts.doctor.droppingChains()), ...(await lookAtOldIptables())] : undefined;
  const isUp = network.links.some(({ name }) => name.startsWith('vmeg-'));
  return checkEgress({ isRoots, isUp, dropping, ...lookAtForwarding() });
}

async function leftovers({ isRoot, parts, status }: Subject): Promise<readonly Finding[]> {
  const survey = isRoot ? await parts.cleanup.survey(false) : undefined;
  return checkLeftovers({ survey, isAgentRunning: status !== undefined });
}
