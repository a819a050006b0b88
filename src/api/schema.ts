// The API's JSON, both ways. What Docker Engine has keeps Docker's paths and field names (API 1.41); what it lacks is under
// /vipmesh/ and in the fields named `Vipmesh`. The client validates answers with the same schemas, so that an agent of
// another version is a clear error and not an undefined somewhere.
import { BALANCE_METHODS, PROXY_PROTOCOLS } from '../model/service.ts';
import { z } from 'zod';
import { limitsShape } from './limits-shape.ts';

const labels = z.record(z.string(), z.string());
const version = z.object({ Index: z.number() });
const port = z.number().int().min(1).max(65535);

export const dockerPort = z.object({
  Name: z.string().optional(),
  Protocol: z.enum(['tcp', 'udp']),
  TargetPort: port,
  PublishedPort: port.optional(),
  PublishMode: z.enum(['ingress', 'host']),
  /** Not in Docker: the one local address that listens, or the interface, as `%eth1`. */
  HostIP: z.string().optional(),
});
export type DockerPort = z.infer<typeof dockerPort>;

/** Of a task's request. */
export const PUBLISH_TEXT =
  'Ports that the service publishes from now on; one that does not exist is made, on the networks.';

const endpointSpec = z.looseObject({
  Mode: z.enum(['vip', 'dnsrr']).optional(),
  Ports: z.array(dockerPort).optional(),
});

const networkTarget = z.object({ Target: z.string(), Aliases: z.array(z.string()).optional() });

/**
 * Durations in nanoseconds, as everywhere in Docker's API. What is absent is Docker's default: every 30 s, within 30 s,
 * 3 failures, no start period.
 */
const healthConfig = z.looseObject({
  Test: z.array(z.string()),
  Interval: z.number().optional(),
  Timeout: z.number().optional(),
  Retries: z.number().optional(),
  StartPeriod: z.number().optional(),
});
export type DockerHealth = z.infer<typeof healthConfig>;

const serviceMode = z.union([
  z.object({ Replicated: z.object({ Replicas: z.number().int().min(0) }) }),
  z.object({ Global: z.object({}) }),
]);

/** A check that the agent makes itself. Durations in nanoseconds. */
const probeConfig = z.object({
  TCP: z.object({ Port: port.optional() }).optional(),
  HTTP: z.object({ Port: port.optional(), Path: z.string(), Status: z.number().optional() }).optional(),
  Interval: z.number(),
  Timeout: z.number(),
  Retries: z.number(),
  StartPeriod: z.number().optional(),
});
export type ProbeShape = z.infer<typeof probeConfig>;

/** Parts that have no meaning here (the image, mounts, UpdateConfig) are there as they were sent. */
const dockerServiceSpec = z.looseObject({
  Name: z.string(),
  Labels: labels,
  TaskTemplate: z.looseObject({
    ContainerSpec: z.looseObject({ Image: z.string().optional(), Healthcheck: healthConfig.optional() }),
    Networks: z.array(networkTarget),
    ForceUpdate: z.number(),
    Runtime: z.string(),
  }),
  Mode: serviceMode,
  EndpointSpec: endpointSpec,
  UpdateConfig: z.looseObject({ Order: z.string().optional() }).optional(),
  Vipmesh: z.object({
    /** A tcp or http check; a command is in TaskTemplate.ContainerSpec.Healthcheck. */
    Health: probeConfig.optional(),
    Expose: z.array(z.object({ Protocol: z.enum(['tcp', 'udp']), Port: port, Name: z.string().optional() })),
    /** A weight that is absent is 1. */
    Endpoints: z.array(
      z.object({
        Address: z.string(),
        TargetPort: port.optional(),
        Port: port.optional(),
        Weight: z.number().optional(),
      }),
    ),
    /** Nanoseconds. */
    DrainTimeout: z.number(),
    /** Nanoseconds. Absent: as its network says. */
    DNSTTL: z.number().optional(),
    /** How connections are shared out; Affinity in nanoseconds, 0: none. */
    Balance: z.object({ Method: z.enum(BALANCE_METHODS), Affinity: z.number(), LocalFirst: z.boolean() }),
    /** Absent: none. */
    Limits: limitsShape.optional(),
    /** Absent: none. */
    ProxyProtocol: z.enum(PROXY_PROTOCOLS).optional(),
    /** Who may come to its published ports, subnets; an absent list says nothing. */
    Access: z
      .object({
        Allow: z.array(z.string()).optional(),
        Deny: z.array(z.string()).optional(),
        AcceptProxy: z.array(z.string()).optional(),
      })
      .optional(),
    /** What becomes of connections to a task that becomes unhealthy. */
    OnUnhealthy: z.enum(['keep', 'close']),
  }),
});
export type DockerServiceSpec = z.infer<typeof dockerServiceSpec>;

export const dockerService = z.object({
  ID: z.string(),
  Version: version,
  CreatedAt: z.string(),
  UpdatedAt: z.string(),
  Spec: dockerServiceSpec,
  PreviousSpec: dockerServiceSpec.optional(),
  Endpoint: z.object({
    Spec: endpointSpec,
    Ports: z.array(dockerPort).optional(),
    VirtualIPs: z.array(z.object({ NetworkID: z.string(), Addr: z.string() })).optional(),
  }),
  /** On Docker's paths only. */
  UpdateStatus: z
    .object({ State: z.literal('completed'), StartedAt: z.string(), CompletedAt: z.string(), Message: z.string() })
    .optional(),
  ServiceStatus: z
    .object({ RunningTasks: z.number(), DesiredTasks: z.number(), CompletedTasks: z.number() })
    .optional(),
});
export type DockerService = z.infer<typeof dockerService>;

export const dockerNetwork = z.object({
  Name: z.string(),
  Id: z.string(),
  Created: z.string(),
  Scope: z.enum(['local', 'swarm']),
  Driver: z.string(),
  /** From API 1.48 on. */
  EnableIPv4: z.boolean(),
  EnableIPv6: z.boolean(),
  IPAM: z.object({
    Driver: z.string(),
    Options: labels.nullable(),
    Config: z.array(z.object({ Subnet: z.string(), Gateway: z.string().optional() })),
  }),
  Internal: z.boolean(),
  Attachable: z.boolean(),
  Ingress: z.boolean(),
  ConfigFrom: z.object({ Network: z.string() }),
  ConfigOnly: z.boolean(),
  Containers: z
    .record(
      z.string(),
      z.object({
        Name: z.string(),
        EndpointID: z.string(),
        MacAddress: z.string(),
        IPv4Address: z.string(),
        IPv6Address: z.string(),
      }),
    )
    .nullable(),
  Options: labels,
  Labels: labels,
  /** As Docker gives them with `verbose`; on single networks only. */
  Services: z
    .record(
      z.string(),
      z.object({
        VIP: z.string(),
        Ports: z.array(z.string()),
        LocalLBIndex: z.number(),
        Tasks: z.array(z.object({ Name: z.string(), EndpointID: z.string(), EndpointIP: z.string(), Info: labels })),
      }),
    )
    .optional(),
});
export type DockerNetwork = z.infer<typeof dockerNetwork>;

export const dockerTask = z.object({
  ID: z.string(),
  Version: version,
  CreatedAt: z.string(),
  UpdatedAt: z.string(),
  Name: z.string(),
  Labels: labels,
  Spec: z.object({
    ContainerSpec: z.object({ Image: z.string() }),
    Networks: z.array(networkTarget),
    ForceUpdate: z.number(),
  }),
  ServiceID: z.string(),
  Slot: z.number(),
  NodeID: z.string(),
  Status: z.object({
    Timestamp: z.string(),
    State: z.enum(['starting', 'running']),
    Message: z.string(),
    /** What Docker's client shows as the task's error. */
    Err: z.string().optional(),
    ContainerStatus: z.object({ ContainerID: z.string(), PID: z.number(), ExitCode: z.number() }).optional(),
    PortStatus: z.object({ Ports: z.array(dockerPort).optional() }),
  }),
  DesiredState: z.enum(['running', 'shutdown']),
  NetworksAttachments: z.array(
    z.object({
      Network: z.object({
        ID: z.string(),
        Version: version,
        CreatedAt: z.string(),
        UpdatedAt: z.string(),
        Spec: z.object({ Name: z.string(), Labels: labels, Scope: z.string() }),
        DriverState: z.object({ Name: z.string(), Options: labels.optional() }),
        IPAMOptions: z.object({
          Driver: z.object({ Name: z.string() }),
          Configs: z.array(z.object({ Subnet: z.string(), Gateway: z.string() })),
        }),
      }),
      Addresses: z.array(z.string()),
    }),
  ),
});
export type DockerTask = z.infer<typeof dockerTask>;

export const dockerNode = z.object({
  ID: z.string(),
  Version: version,
  CreatedAt: z.string(),
  UpdatedAt: z.string(),
  Spec: z.object({ Labels: labels, Role: z.literal('manager'), Availability: z.enum(['active', 'pause', 'drain']) }),
  Description: z.object({
    Hostname: z.string(),
    Platform: z.object({ Architecture: z.string(), OS: z.string() }),
    Resources: z.object({ NanoCPUs: z.number(), MemoryBytes: z.number() }),
    Engine: z.object({ EngineVersion: z.string() }),
  }),
  Status: z.object({ State: z.enum(['ready', 'down', 'unknown']), Addr: z.string() }),
  ManagerStatus: z
    .object({ Leader: z.boolean(), Reachability: z.enum(['reachable', 'unreachable']), Addr: z.string() })
    .optional(),
});
export type DockerNode = z.infer<typeof dockerNode>;

/** `Errors`: the lines of the message one by one, when a file has several mistakes. */
export const errorBody = z.object({ message: z.string(), Errors: z.array(z.string()).optional() });

// What Docker lacks.

export const frontend = z.object({
  Kind: z.enum(['published', 'vip']),
  Service: z.string(),
  Protocol: z.enum(['tcp', 'udp']),
  /** `*`: every address of the node. */
  Address: z.string(),
  /** `*`: every port, on the VIP of an overlay network. */
  Port: z.union([port, z.literal('*')]),
  TargetPort: port.optional(),
  PublishMode: z.enum(['ingress', 'host']).optional(),
  Network: z.string().optional(),
  /** `refusing`: no eligible endpoint. `blocked`: the port could not be taken here; it is retried. */
  State: z.enum(['listening', 'refusing', 'blocked']),
  Reason: z.string().optional(),
  OpenConnections: z.number().optional().describe('Absent for the VIP of an overlay network: see the endpoints.'),
  TotalConnections: z.number().optional(),
});
export type FrontendShape = z.infer<typeof frontend>;

const endpoint = z.object({
  TaskID: z.string(),
  Task: z.string(),
  Slot: z.number(),
  Node: z.string(),
  Network: z.string(),
  Address: z.string(),
  Ports: z.array(z.object({ TargetPort: port, Port: port })),
  Source: z.enum(['process', 'attached', 'bridged', 'static']),
  State: z.enum(['starting', 'running', 'draining']),
  Health: z.enum(['none', 'starting', 'healthy', 'unhealthy']),
  /** Its share of new connections; 0: it gets none. */
  Weight: z.number(),
  Eligible: z.boolean(),
  /** Why it is not eligible, or what limits it. */
  Reason: z.string().optional(),
  OpenConnections: z.number(),
  TotalConnections: z.number(),
  ConnectFailures: z.number(),
});
export type EndpointShape = z.infer<typeof endpoint>;

/** GET /vipmesh/services/{id}: Docker's service, and what a user wants to know when it does not work. */
export const serviceDetail = dockerService.extend({
  Vipmesh: z.object({
    /** How connections to its VIPs get to an endpoint. */
    Path: z.literal('proxied'),
    VIPs: z.array(z.object({ Network: z.string(), Address: z.string(), Names: z.array(z.string()) })),
    Endpoints: z.array(endpoint),
    Frontends: z.array(frontend),
    Warnings: z.array(z.string()),
  }),
});
export type ServiceDetail = z.infer<typeof serviceDetail>;

/** GET /vipmesh/resolve: what the resolver would say, and what it would not say because another network hid it. */
export const resolution = z.object({
  Name: z.string(),
  /** `forwarded`: not ours, outside DNS servers are asked. */
  Outcome: z.enum(['answer', 'nodata', 'nxdomain', 'forwarded', 'refused']),
  Answers: z.array(
    z.object({
      Network: z.string(),
      /** `port`: of `_PORT._PROTO.NAME`; `name`: of an address. */
      Kind: z.enum(['vip', 'endpoints', 'task', 'port', 'name', 'outside']),
      Service: z.string().optional(),
      /** For a port NAME.NETWORK:PORT, for an address its name. */
      Addresses: z.array(z.string()),
    }),
  ),
  /** The same name on networks that come later, or that the node itself does not see. */
  Hidden: z.array(
    z.object({
      Network: z.string(),
      Service: z.string().optional(),
      Addresses: z.array(z.string()),
      Reason: z.string(),
    }),
  ),
  /** Where was looked, for whoever asks why. */
  Explained: z
    .object({
      /** Whose question it is. */
      Client: z.string(),
      /** That it sees, in the order in which they are asked. */
      Networks: z.array(z.string()),
      /** Names of none of them are asked for outside. */
      Forwards: z.boolean(),
      Steps: z.array(z.object({ Where: z.string(), Found: z.string(), Milliseconds: z.number().optional() })),
      /** How long the client may keep the answer, in seconds. */
      TTL: z.number().optional(),
    })
    .optional(),
});
export type Resolution = z.infer<typeof resolution>;

export const endpointAdded = z.object({ ID: z.string(), Name: z.string() });

export const endpointListing = endpoint.extend({ Service: z.string() });
export type EndpointListing = z.infer<typeof endpointListing>;

/** The answer to POST /vipmesh/tasks, one JSON object a line, for as long as the connection lasts. Its end is the end of the task. */
export const taskEvent = z.discriminatedUnion('Event', [
  z.object({
    Event: z.literal('prepared'),
    TaskID: z.string(),
    Name: z.string(),
    Service: z.string(),
    Addresses: z.array(z.object({ Network: z.string(), Address: z.string() })),
    /** What the command finds in its environment besides its own. */
    Env: labels,
    /** The network namespace to run the command in; absent: the node's own. */
    Namespace: z.string().optional(),
    /** What the command sees in place of the node's files (/etc/resolv.conf, /etc/hosts): path → content. */
    Files: labels.optional(),
    Hostname: z.string().optional(),
    /** What the user should know, as whole sentences. */
    Notes: z.array(z.string()).optional(),
  }),
  /** Run this inside the task, and tell its exit code by POST …/probes/{Number}. */
  z.object({
    Event: z.literal('probe'),
    Number: z.number(),
    Command: z.array(z.string()),
    Shell: z.boolean(),
    TimeoutMs: z.number(),
  }),
  /** The agent wants the task to end: stop the command. */
  z.object({ Event: z.literal('stop'), Reason: z.string() }),
]);
export type TaskEvent = z.infer<typeof taskEvent>;

export const taskRunningRequest = z.strictObject({ PID: z.number().int().positive() });
export const taskExitedRequest = z.strictObject({
  ExitCode: z.number().int().nullable(),
  Signal: z.string().max(20).nullable(),
});
export const probeResultRequest = z.strictObject({ ExitCode: z.number().int(), Output: z.string().max(4096) });
