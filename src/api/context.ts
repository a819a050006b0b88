// What the API needs of the agent. The composition root fulfils it; tests fulfil it with plain data.
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { Network, NetworkId, NetworkSpec } from '../model/network.ts';
import type { Availability, Node, NodeId } from '../model/node.ts';
import type { Protocol, PublishMode, PublishSpec } from '../model/port.ts';
import type { Service, ServiceId, ServiceSpec } from '../model/service.ts';
import type { Task, TaskId, TaskState } from '../model/task.ts';
import type { StackChange } from '../control/stacks.ts';
import type { AttachRequest, RunTaskRequest } from './requests.ts';
import type {
  AgentStatus,
  ClusterStatus,
  ConnectionListing,
  DnsCacheListing,
  TrafficReading,
} from './status-schema.ts';
import type { Resolution, TaskEvent } from './schema.ts';

/** What is fixed for as long as the agent runs. */
export interface AgentFacts {
  readonly version: string;
  readonly pid: number;
  readonly nodeId: NodeId;
  readonly nodeName: string;
  readonly privileged: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly socket: string;
  readonly stateDir: string;
  /** `ADDRESS:PORT`. */
  readonly admin: string;
  /** As `os.arch()` and `os.release()` give them. */
  readonly architecture: string;
  readonly kernelVersion: string;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** One place where this node accepts, as it is now. */
export interface FrontendFacts {
  readonly serviceId: ServiceId;
  readonly kind: 'published' | 'vip';
  readonly networkId?: NetworkId;
  readonly protocol: Protocol;
  /** Absent: every address of the node. */
  readonly address?: string;
  /** Absent: every port (the VIP of an overlay network). */
  readonly port?: number;
  readonly targetPort?: number;
  readonly publishMode?: PublishMode;
  /** `refusing`: no eligible endpoint. `blocked`: the address and port could not be taken; it is retried. */
  readonly state: 'listening' | 'refusing' | 'blocked';
  /** Who or what holds the port, what privilege is missing. Present when blocked. */
  readonly reason?: string;
  /** Absent on the VIP of an overlay network: what comes there is counted by endpoint only. */
  readonly connections?: { readonly open: number; readonly total: number };
}

/** What this node knows of an endpoint beyond the catalog. */
export interface EndpointFacts {
  readonly openConnections: number;
  readonly totalConnections: number;
  readonly connectFailures: number;
  /** Not chosen by this node for a while, because connecting to it failed. */
  readonly ejected: boolean;
  /** What the last failed probe said. */
  readonly lastProbeFailure?: string;
}

/** The part of the agent's status that changes; the rest follows from the facts and the snapshot. */
export interface RuntimeStatus {
  readonly state: AgentStatus['State'];
  /** Everything up to this commit is in effect in every worker; undefined: everything there is. */
  readonly appliedRevision: number | undefined;
  readonly dns: AgentStatus['DNS'];
  readonly workers: readonly AgentStatus['Workers'][number][];
  readonly stacks: readonly AgentStatus['Stacks'][number][];
  readonly cluster?: ClusterStatus;
  /** Whole sentences for whoever runs the agent. */
  readonly warnings: readonly string[];
}

/** A task that a client is about to run, or runs. */
export interface TaskSession {
  readonly taskId: TaskId;
  /** `prepared` first. Ends when the task is gone, when another client has taken it over, or the agent stops. */
  readonly events: AsyncIterable<TaskEvent>;
  /** The client is gone. Idempotent; also called after a regular end, and when the API is closed. */
  abandon(): void;
}

/** A request whose ports have been read. */
export type Publishing<Request> = Omit<Request, 'Publish'> & { readonly Publish?: readonly PublishSpec[] };

/** Tasks of the kind `process`. What they reject with becomes a status by its `code` (server.ts). */
export interface TaskRunner {
  /** Gives the task its addresses and, on an overlay, its namespace. Not eligible before `running`. */
  start(request: Publishing<RunTaskRequest>): Promise<TaskSession>;
  /** The command runs. */
  running(taskId: TaskId, pid: number): Promise<void>;
  /** Takes the endpoint out of balancing and DNS; resolves when its connections have ended or the drain time is over. */
  leave(taskId: TaskId): Promise<void>;
  /** The command has ended: the task is removed. */
  exited(taskId: TaskId, how: { readonly exitCode: number | null; readonly signal: string | null }): Promise<void>;
  /** The result of probe number `number`, which an event asked for. */
  probed(taskId: TaskId, number: number, result: { readonly exitCode: number; readonly output: string }): Promise<void>;
}

/** Containers that something else started. Each rejects like TaskRunner's methods, and changes nothing when `attach` does. */
export interface Attachments {
  /** Makes the container a task. The warnings are whole sentences for the user. */
  attach(request: Publishing<AttachRequest>): Promise<{ readonly task: Task; readonly warnings: readonly string[] }>;
  /** Resolves when the endpoint is drained and the links are gone. */
  detach(taskId: TaskId): Promise<void>;
  /** The tasks that a container is. */
  at(place: Pick<AttachRequest, 'PID' | 'Netns'>): readonly TaskId[];
}

/** Commands that write. Each rejects like TaskRunner's methods and changes nothing when it does. */
export interface Commands {
  /** `endpoint`: ADDR, ADDR:PORT or TARGET=ADDR:PORT. Resolves with the task that stands for it. */
  addEndpoint(service: ServiceId, endpoint: string, weight: number | undefined): Promise<Task>;
  /** Only for tasks whose source is `static`. */
  removeEndpoint(task: TaskId): Promise<void>;
  setTaskState(task: TaskId, state: TaskState): Promise<void>;
  createService(spec: ServiceSpec): Promise<Service>;
  /** `expectedVersion`: the revision of the service that the caller has seen. */
  updateService(service: ServiceId, spec: ServiceSpec, expectedVersion: number): Promise<Service>;
  removeService(service: ServiceId): Promise<Service>;
  createNetwork(spec: NetworkSpec): Promise<Network>;
  removeNetwork(network: NetworkId): Promise<Network>;
  /** `labels`: all of them. */
  updateNode(
    node: NodeId,
    change: {
      readonly availability?: Availability;
      readonly labels?: Readonly<Record<string, string>>;
    },
  ): Promise<Node>;
  /** Only for a node that is down. */
  removeNode(node: NodeId): Promise<Node>;
  deployStack(name: string, file: StackFileInput): Promise<StackDeployment>;
  removeStack(name: string): Promise<StackChange>;
}

export interface StackFileInput {
  /** How messages call it. */
  readonly file: string;
  readonly text: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Remove what the stack had and the file does not name. */
  readonly prune: boolean;
}

/** Not `ok`: the file has mistakes, each told in a line that begins with its place, and nothing was changed. */
export type StackDeployment =
  | { readonly ok: false; readonly errors: readonly string[] }
  | {
      readonly ok: true;
      readonly change: StackChange;
      readonly warnings: readonly string[];
      readonly unused: readonly string[];
    };

export interface ApiContext {
  readonly facts: AgentFacts;
  readonly commands: Commands;
  readonly tasks: TaskRunner;
  readonly attachments: Attachments;
  snapshot(): Snapshot;
  /** Called after every commit, in order. Returns how to stop. */
  subscribe(listener: (snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]) => void): () => void;
  /** The commit that last changed this object: Docker's Version.Index. */
  revisionOf(id: string): number;
  frontends(): readonly FrontendFacts[];
  /** Undefined: nothing is known yet. */
  endpoint(taskId: TaskId, networkId: NetworkId): EndpointFacts | undefined;
  /** What a service asks for and this node cannot give, as whole sentences. */
  warnings(serviceId: ServiceId): readonly string[];
  status(): RuntimeStatus;
  /** What the resolver keeps of upstreams' answers about a name and those below it, or about all; at most so many. */
  dnsCache(below: string | undefined, atMost: number): Promise<DnsCacheListing>;
  /** Forgets that. Resolves when it is gone. */
  flushDnsCache(below: string | undefined): Promise<void>;
  /** What the data path has open, of one service or of all; at most so many. */
  connections(service: ServiceId | undefined, atMost: number): Promise<ConnectionListing>;
  /** What the data path has moved since the agent started. */
  traffic(): TrafficReading;
  /** What a client would be told about a name. */
  resolve(question: NameQuestion): Promise<Resolution>;
}

export interface NameQuestion {
  readonly name: string;
  /** Who asks: a process of this node, a container on one network alone, or a task. */
  readonly as:
    | { readonly kind: 'node' }
    | { readonly kind: 'network'; readonly id: NetworkId }
    | { readonly kind: 'task'; readonly id: TaskId };
  /** Where was looked is wanted, and servers outside are asked for it. */
  readonly explain: boolean;
}
