// PURE: the model as Docker Engine's API (1.41) shows it. Field names and nesting are those of swarm.Service, swarm.Task,
// swarm.Node and types.NetworkResource; what has no meaning here keeps Docker's empty value.
import type { Snapshot } from '../catalog/snapshot.ts';
import { nodeState } from '../catalog/standing.ts';
import type { IpAddress } from '../model/address.ts';
import { gatewayOf, type Network, type NetworkId } from '../model/network.ts';
import type { Node, NodeId } from '../model/node.ts';
import { type Service, vipsOn } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import type { AgentFacts } from './context.ts';
import { keptParts } from './docker-rest.ts';
import type { DockerNetwork, DockerNode, DockerTask } from './schema.ts';
import type { DockerInfo, DockerVersion } from './system-schema.ts';
import { cidr, rfc3339, type ShapeSource, shapeTaskState } from './shape.ts';
import { shapeNetworkTargets, shapePort } from './service-shape.ts';

/** The newest API whose own client was tried (Docker 28), and the oldest prefix that is accepted. Docker 29 needs 1.44. */
export const API_VERSION = { newest: '1.50', oldest: '1.25' } as const;

export function shapeTask(task: Task, source: ShapeSource): DockerTask {
  const service = source.snapshot.services.get(task.serviceId);
  const hostPorts = service?.ports.filter((port) => port.mode === 'host').map(shapePort) ?? [];
  return {
    ID: task.id,
    Version: { Index: source.revisionOf(task.id) },
    CreatedAt: rfc3339(task.createdAt),
    UpdatedAt: rfc3339(task.updatedAt),
    Name: task.name,
    Labels: {},
    Spec: {
      ContainerSpec: { Image: imageOf(service) },
      Networks: service === undefined ? [] : shapeNetworkTargets(service.spec, source.snapshot),
      ForceUpdate: 0,
    },
    ServiceID: task.serviceId,
    Slot: task.slot,
    NodeID: task.nodeId,
    Status: {
      Timestamp: rfc3339(task.updatedAt),
      State: shapeTaskState(task),
      Message: task.state === 'draining' ? 'draining' : task.health === 'unhealthy' ? 'unhealthy' : 'started',
      ...(task.health === 'unhealthy' ? { Err: 'unhealthy' } : {}),
      ...(task.pid === undefined
        ? {}
        : { ContainerStatus: { ContainerID: task.container?.id ?? task.id, PID: task.pid, ExitCode: 0 } }),
      PortStatus: hostPorts.length > 0 ? { Ports: hostPorts } : {},
    },
    DesiredState: task.state === 'draining' ? 'shutdown' : 'running',
    NetworksAttachments: task.attachments.flatMap((attachment) => {
      const network = source.snapshot.networks.get(attachment.networkId);
      if (network === undefined) return [];
      const addresses = [attachment.address, ...(attachment.moreAddresses ?? [])];
      return [
        {
          Network: shapeAttachedNetwork(network, source),
          Addresses: addresses.map((address) => cidr(address, network)),
        },
      ];
    }),
  };
}

/** Docker's client reads the image without looking whether there is one. */
function imageOf(service: Service | undefined): string {
  const image = keptParts(service?.spec.docker).container.Image;
  return typeof image === 'string' ? image : '';
}

type AttachedNetwork = DockerTask['NetworksAttachments'][number]['Network'];

function shapeAttachedNetwork(network: Network, source: ShapeSource): AttachedNetwork {
  return {
    ID: network.id,
    Version: { Index: source.revisionOf(network.id) },
    CreatedAt: rfc3339(network.createdAt),
    UpdatedAt: rfc3339(network.updatedAt),
    Spec: { Name: network.spec.name, Labels: { ...network.spec.labels }, Scope: scopeOf(network) },
    DriverState: { Name: network.spec.driver, Options: networkOptions(network) },
    IPAMOptions: { Driver: { Name: 'default' }, Configs: ipamConfig(network) },
  };
}

export function shapeNetwork(network: Network): DockerNetwork {
  return {
    Name: network.spec.name,
    Id: network.id,
    Created: rfc3339(network.createdAt),
    Scope: scopeOf(network),
    Driver: network.spec.driver,
    EnableIPv4: true,
    EnableIPv6: network.spec.ipv6,
    IPAM: { Driver: 'default', Options: null, Config: ipamConfig(network) },
    Internal: network.spec.internal,
    Attachable: network.spec.attachable,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: networkOptions(network),
    Labels: { ...network.spec.labels },
  };
}

/** With what is on it: this node's tasks as Containers, every service as Docker's `verbose` shows them. */
export function shapeNetworkDetail(network: Network, source: ShapeSource, facts: AgentFacts): DockerNetwork {
  const containers: NonNullable<DockerNetwork['Containers']> = {};
  const services: NonNullable<DockerNetwork['Services']> = {};
  for (const service of source.snapshot.servicesByNetwork.get(network.id)?.values() ?? []) {
    const tasks = [...(source.snapshot.tasksByService.get(service.id)?.values() ?? [])].sort((a, b) => a.slot - b.slot);
    services[service.spec.name] = {
      VIP: vipsOn(service, network.id)[0] ?? '<nil>',
      Ports: service.ports.map((port) => `Target: ${port.targetPort}, Publish: ${port.publishedPort}`),
      LocalLBIndex: 0,
      Tasks: tasks.flatMap((task) => shapeNetworkTask(task, network.id, source.snapshot)),
    };
    for (const task of tasks) {
      const attachment = task.attachments.find((one) => one.networkId === network.id);
      if (attachment === undefined || task.nodeId !== facts.nodeId || task.source === 'static') continue;
      const addresses = [attachment.address, ...(attachment.moreAddresses ?? [])];
      const ofFamily = (six: boolean) => addresses.find((address) => address.includes(':') === six);
      containers[task.id] = {
        Name: task.name,
        EndpointID: task.id,
        MacAddress: '',
        IPv4Address: cidrOrEmpty(ofFamily(false), network),
        IPv6Address: cidrOrEmpty(ofFamily(true), network),
      };
    }
  }
  return { ...shapeNetwork(network), Containers: containers, Services: services };
}

type NetworkTask = NonNullable<DockerNetwork['Services']>[string]['Tasks'][number];

function shapeNetworkTask(task: Task, networkId: NetworkId, snapshot: Snapshot): NetworkTask[] {
  const attachment = task.attachments.find((one) => one.networkId === networkId);
  if (attachment === undefined) return [];
  const node = snapshot.nodes.get(task.nodeId);
  return [
    {
      Name: task.name,
      EndpointID: task.id,
      EndpointIP: attachment.address,
      Info: node === undefined ? {} : { 'Host Name': node.name },
    },
  ];
}

/** `facts` are of the answering node; of another node only what the catalog holds is known. */
export function shapeNode(node: Node, source: ShapeSource, facts: AgentFacts): DockerNode {
  const own = node.id === facts.nodeId;
  return {
    ID: node.id,
    Version: { Index: source.revisionOf(node.id) },
    CreatedAt: rfc3339(node.createdAt),
    UpdatedAt: rfc3339(node.updatedAt),
    Spec: { Labels: { ...node.labels }, Role: 'manager', Availability: node.availability },
    Description: {
      Hostname: node.name,
      Platform: { Architecture: own ? unameArchitecture(facts.architecture) : '', OS: 'linux' },
      Resources: {
        NanoCPUs: own ? facts.cpus * 1_000_000_000 : 0,
        MemoryBytes: own ? facts.memoryBytes : 0,
      },
      Engine: { EngineVersion: own ? facts.version : (source.snapshot.presences.get(node.id)?.version ?? '') },
    },
    Status: {
      State: nodeState(source.snapshot, node.id),
      Addr: source.snapshot.presences.get(node.id)?.address ?? (own ? '127.0.0.1' : ''),
    },
    ManagerStatus: {
      Leader: leaderOf(source.snapshot, facts.nodeId) === node.id,
      Reachability: nodeState(source.snapshot, node.id) === 'ready' ? 'reachable' : 'unreachable',
      Addr: '',
    },
  };
}

/** Nodes here have no leader; Docker's clients want one, and the same from whichever node they ask. */
function leaderOf({ presences }: Snapshot, self: NodeId): NodeId {
  return [...presences.keys()].sort()[0] ?? self;
}

export function shapeVersion(facts: AgentFacts): DockerVersion {
  const details = { ApiVersion: API_VERSION.newest, MinAPIVersion: API_VERSION.oldest, Os: 'linux' };
  return {
    Platform: { Name: 'vipmesh' },
    Components: [
      { Name: 'vipmesh', Version: facts.version, Details: { ...details, KernelVersion: facts.kernelVersion } },
    ],
    Version: facts.version,
    ApiVersion: API_VERSION.newest,
    MinAPIVersion: API_VERSION.oldest,
    Os: 'linux',
    Arch: goArchitecture(facts.architecture),
    KernelVersion: facts.kernelVersion,
  };
}

/** Docker's client warns of each of these that is false or absent; here nothing is limited, and no bridge is filtered. */
const NOT_WORTH_A_WARNING = {
  MemoryLimit: true,
  SwapLimit: true,
  KernelMemory: true,
  OomKillDisable: true,
  CpuCfsQuota: true,
  CpuCfsPeriod: true,
  CPUShares: true,
  CPUSet: true,
  IPv4Forwarding: true,
  BridgeNfIptables: true,
  BridgeNfIp6tables: true,
} as const;

/** `warnings`: whole sentences, which Docker's client puts below the rest. */
export function shapeInfo(facts: AgentFacts, snapshot: Snapshot, warnings: readonly string[]): DockerInfo {
  return {
    ID: facts.nodeId,
    Name: facts.nodeName,
    ServerVersion: facts.version,
    OSType: 'linux',
    Architecture: unameArchitecture(facts.architecture),
    KernelVersion: facts.kernelVersion,
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    OperatingSystem: 'linux',
    DockerRootDir: facts.stateDir,
    Plugins: { Network: facts.privileged ? ['local', 'overlay'] : ['local'] },
    Labels: [],
    ...NOT_WORTH_A_WARNING,
    Warnings: warnings.map((warning) => `WARNING: ${warning}`),
    Swarm: {
      NodeID: facts.nodeId,
      NodeAddr: snapshot.presences.get(facts.nodeId)?.address ?? '127.0.0.1',
      LocalNodeState: 'active',
      ControlAvailable: true,
      Error: '',
      Nodes: snapshot.nodes.size,
      Managers: snapshot.nodes.size,
    },
  };
}

function scopeOf(network: Network): 'local' | 'swarm' {
  return network.spec.driver === 'overlay' ? 'swarm' : 'local';
}

function networkOptions(network: Network): Record<string, string> {
  const vni =
    network.vni === undefined ? {} : { 'com.docker.network.driver.overlay.vxlanid_list': String(network.vni) };
  return { ...network.spec.options, ...vni };
}

function ipamConfig(network: Network): { Subnet: string; Gateway: string }[] {
  return network.subnets.map((subnet) => ({ Subnet: subnet, Gateway: gatewayOf(subnet) }));
}

function cidrOrEmpty(address: IpAddress | undefined, network: Network): string {
  return address === undefined ? '' : cidr(address, network);
}

/** Node's names to those of `uname -m` (Docker's info and nodes) and of Go (Docker's version). */
function unameArchitecture(architecture: string): string {
  return { x64: 'x86_64', arm64: 'aarch64' }[architecture] ?? architecture;
}

function goArchitecture(architecture: string): string {
  return { x64: 'amd64' }[architecture] ?? architecture;
}
