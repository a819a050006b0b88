// What clients send, and what commands and streams answer. Docker's names where Docker has the request; its clients send empty
// fields as null, as "" or not at all, so all three mean the same here. What is not named in a schema is refused in our own
// requests, and kept or passed over in Docker's.
import { MAX_SOURCES } from '../model/access.ts';
import { BALANCE_METHODS, PROXY_PROTOCOLS } from '../model/service.ts';
import { MAX_WEIGHT } from '../model/weight.ts';
import { z } from 'zod';
import { limitsRequest } from './limits-shape.ts';
import { dockerPort, PUBLISH_TEXT } from './schema.ts';

const port = z.number().int().min(1).max(65535);
const weight = z.number().int().min(0).max(MAX_WEIGHT);
/** Docker's clients say 0 for "none". */
const portOrNone = z.number().int().min(0).max(65535);
const labels = z.record(z.string(), z.string());
const protocol = z.enum(['tcp', 'udp']);
/** Nanoseconds, as everywhere in Docker's API; at most 100 days, so that every number is exact. */
const duration = z.number().int().min(0).max(8_640_000_000_000_000);
const sources = z.array(z.string().max(64)).max(MAX_SOURCES);
const aliases = z.array(z.string()).max(100);

const portRequest = z.object({
  Name: z.string().nullish().describe('For SRV records: `_NAME._tcp.SERVICE`.'),
  Protocol: z.enum(['', 'tcp', 'udp', 'sctp']).nullish(),
  TargetPort: portOrNone.nullish(),
  PublishedPort: portOrNone.nullish(),
  PublishMode: z.enum(['', 'ingress', 'host']).nullish(),
  HostIP: z
    .string()
    .nullish()
    .describe(
      'Not in Docker: the one local address that listens, or the interface, as %eth1. Absent in an update: as it was; "" for every address.',
    ),
});

const networkTarget = z.object({ Target: z.string().min(1), Aliases: aliases.nullish() });

const timing = {
  Interval: duration.nullish(),
  Timeout: duration.nullish(),
  Retries: z.number().int().min(0).max(1_000_000).nullish(),
  StartPeriod: duration.nullish(),
};

const healthRequest = z.looseObject({
  Test: z
    .array(z.string())
    .max(1000)
    .nullish()
    .describe('[], or NONE, CMD or CMD-SHELL and what to run inside the task.'),
  ...timing,
});

/** A check that the agent makes itself, without starting anything. Timing in nanoseconds. */
const probeRequest = z.strictObject({
  TCP: z.strictObject({ Port: port.optional() }).optional(),
  HTTP: z
    .strictObject({
      Port: port.optional(),
      Path: z.string().max(2000),
      Status: z.number().int().min(100).max(599).optional(),
    })
    .optional(),
  ...timing,
});

const vipmeshRequest = z
  .strictObject({
    Health: probeRequest.nullish().describe("A tcp or http check in place of Docker's Healthcheck; null removes it."),
    Expose: z
      .array(z.strictObject({ Protocol: protocol.optional(), Port: port, Name: z.string().max(62).optional() }))
      .max(1000)
      .nullish()
      .describe('Target ports that are not published. Name is for SRV records.'),
    Endpoints: z
      .array(
        z.strictObject({
          Address: z.string(),
          TargetPort: port.optional(),
          Port: port.optional(),
          Weight: weight.optional(),
        }),
      )
      .max(1000)
      .nullish()
      .describe('Endpoints that something else runs.'),
    OnUnhealthy: z
      .enum(['keep', 'close'])
      .nullish()
      .describe('What becomes of connections to a task that becomes unhealthy; keep is the default.'),
    Balance: z
      .strictObject({
        Method: z.enum(BALANCE_METHODS).nullish().describe('Who gets the next connection; round-robin is the default.'),
        Affinity: duration
          .nullish()
          .describe(
            'How long after its last connection a client comes back to the same endpoint, nanoseconds; 0: not at all.',
          ),
        LocalFirst: z.boolean().nullish().describe('On each node its own endpoints before all others.'),
      })
      .nullish()
      .describe('How connections are shared out among the endpoints; null: each in turn.'),
    Limits: limitsRequest
      .nullish()
      .describe('How many TCP connections, and how long. It replaces all limits there were; null: none.'),
    ProxyProtocol: z
      .enum(PROXY_PROTOCOLS)
      .nullish()
      .describe('With which version of the PROXY protocol connections to its tasks begin; null: with none.'),
    Access: z
      .strictObject({ Allow: sources.nullish(), Deny: sources.nullish(), AcceptProxy: sources.nullish() })
      .nullish()
      .describe(
        'Who may come to its published ports, subnets and addresses. Deny goes before Allow; TCP connections from AcceptProxy begin with a PROXY header. Null: everybody.',
      ),
    DNSTTL: duration
      .nullish()
      .describe('How long clients may keep answers about its names, nanoseconds; null: as its network says.'),
    DrainTimeout: duration.nullish().describe('How long open connections of a leaving endpoint may take, nanoseconds.'),
  })
  .describe(
    "What Docker's service spec has no words for. In an update, what is absent here (or all of it, as Docker's own client leaves it out) stays as it was.",
  );

const modeRequest = z.looseObject({
  Replicated: z.object({ Replicas: z.number().int().min(0).nullish() }).nullish(),
  Global: z.looseObject({}).nullish(),
});

/** POST /services/create and /services/{id}/update. Parts that are not named here are kept and shown as they were sent. */
export const serviceSpecRequest = z.looseObject({
  Name: z.string().min(1).describe('May be absent from a new service with an image, which then gives it one.'),
  Labels: labels.nullish(),
  TaskTemplate: z
    .looseObject({
      ContainerSpec: z.looseObject({ Image: z.string().nullish(), Healthcheck: healthRequest.nullish() }).nullish(),
      Networks: z.array(networkTarget).max(100).nullish(),
      Runtime: z.string().nullish(),
      ForceUpdate: z.number().nullish(),
    })
    .nullish(),
  Mode: modeRequest.nullish(),
  EndpointSpec: z
    .looseObject({
      Mode: z.enum(['', 'vip', 'dnsrr']).nullish(),
      Ports: z.array(portRequest).max(2000).nullish(),
    })
    .nullish(),
  UpdateConfig: z.looseObject({ Order: z.string().nullish() }).nullish(),
  Networks: z.array(networkTarget).max(100).nullish().describe('The place of old clients for TaskTemplate.Networks.'),
  Vipmesh: vipmeshRequest.nullish(),
});

/** POST /services/create with an image and without a name. */
export const namelessRequest = z.looseObject({
  Name: z.literal('').nullish(),
  TaskTemplate: z.looseObject({ ContainerSpec: z.looseObject({ Image: z.string().min(1) }) }),
});
export type ServiceSpecRequest = z.input<typeof serviceSpecRequest>;

/** `version`: the Version.Index that the client has seen. `rollback=previous`: back to the spec before, whatever is sent. */
export const serviceUpdateQuery = z.object({
  version: z.string().regex(/^\d{1,15}$/, 'is the Version.Index of the service, a whole number'),
  rollback: z.enum(['', 'previous']).optional(),
});

export const serviceCreated = z.object({ ID: z.string(), Warnings: z.array(z.string()).optional() });

export const serviceUpdated = z.object({ Warnings: z.array(z.string()).nullable() });

/** POST /networks/create. `Driver`: `overlay`, `local`, or `bridge` or nothing for the agent's default of the two. */
export const networkCreateRequest = z.looseObject({
  Name: z.string().min(1),
  Driver: z.string().nullish(),
  Internal: z.boolean().nullish(),
  Attachable: z.boolean().nullish(),
  Ingress: z.boolean().nullish(),
  ConfigOnly: z.boolean().nullish(),
  ConfigFrom: z.looseObject({ Network: z.string().nullish() }).nullish(),
  EnableIPv4: z.boolean().nullish(),
  EnableIPv6: z.boolean().nullish(),
  Scope: z.enum(['', 'local', 'swarm']).nullish(),
  IPAM: z
    .looseObject({
      Driver: z.string().nullish(),
      Config: z
        .array(
          z.looseObject({
            Subnet: z.string().nullish(),
            Gateway: z.string().nullish(),
            IPRange: z.string().nullish(),
            AuxiliaryAddresses: labels.nullish(),
          }),
        )
        .max(100)
        .nullish(),
    })
    .nullish(),
  Options: labels.nullish(),
  Labels: labels.nullish(),
});
export type NetworkCreateRequest = z.input<typeof networkCreateRequest>;

export const networkCreated = z.object({ Id: z.string(), Warning: z.string() });
/** POST /networks/prune. Filters: `label`, `label!`, `until`. */
export const pruneQuery = z.object({ filters: z.string().optional() });
export const networksPruned = z.object({ NetworksDeleted: z.array(z.string()).nullable() });

/** POST /nodes/{id}/update?version=N */
export const nodeSpecRequest = z.looseObject({
  Name: z.string().nullish(),
  Labels: labels.nullish(),
  Role: z.string().nullish(),
  Availability: z.enum(['active', 'pause', 'drain']).nullish(),
});
export const nodeUpdateQuery = z.object({
  version: z.string().regex(/^\d{1,15}$/, 'is the Version.Index of the node, a whole number'),
});

/** DELETE /nodes/{id}. Docker's `force` is taken and changes nothing: a node whose agent runs would be back at once. */
export const nodeRemoveQuery = z.object({ force: z.string().optional() });

/** GET /events: one of these a line, for as long as the client wants or until `until`. */
export const dockerEvent = z.object({
  Type: z.enum(['service', 'network', 'node', 'task']),
  /** create, update, remove (networks of this node alone: destroy); of tasks also start, drain, `health_status: healthy`. */
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: labels }),
  scope: z.enum(['swarm', 'local']),
  /** Seconds since the epoch. */
  time: z.number(),
  timeNano: z.number(),
});
export type DockerEvent = z.infer<typeof dockerEvent>;

const timestamp = z.string().regex(/^\d{1,11}(\.\d{1,9})?$/, 'is seconds since the epoch, such as 1795214023.5');
export const eventsQuery = z.object({
  since: timestamp.optional(),
  until: timestamp.optional(),
  filters: z.string().optional(),
});

/** POST /vipmesh/stacks/{name}: makes the stack what a Compose file says, all or nothing. */
export const stackDeployRequest = z.strictObject({
  /** How messages call the file; it is not opened. */
  File: z.string().min(1).max(4096),
  Text: z.string(),
  /** The client's variables that the file names; unset ones are left out. */
  Environment: labels.optional(),
  /** Remove the stack's services and networks that the file does not name. */
  Prune: z.boolean().optional(),
});

/** `service shop_web`, `network shop_default`; the warnings are whole lines. */
export const stackDeployed = z.object({
  Name: z.string(),
  Created: z.array(z.string()),
  Updated: z.array(z.string()),
  Removed: z.array(z.string()),
  Unchanged: z.array(z.string()),
  /** Of `Updated`: edits made by hand that this took back. */
  Overridden: z.array(z.string()),
  /** No longer in the file, and still used by services outside the stack. */
  Kept: z.array(z.string()),
  Warnings: z.array(z.string()),
  /** Keys of the file that are accepted and have no effect. */
  Unused: z.array(z.string()),
});
export type StackDeployed = z.infer<typeof stackDeployed>;

/** GET /vipmesh/stacks, by name. */
export const stackListing = z.object({
  Name: z.string(),
  Services: z.number(),
  Networks: z.number(),
  /** The file that keeps it, when the agent that answers was started with `--stack`. */
  File: z.string().optional(),
});
export type StackListing = z.infer<typeof stackListing>;

/** DELETE /vipmesh/stacks/{name} */
export const stackRemoved = z.object({ Removed: z.array(z.string()) });

/** POST /vipmesh/endpoints. `Endpoint`: ADDR, ADDR:PORT or TARGET=ADDR:PORT. */
export const addEndpointRequest = z.strictObject({
  Service: z.string().min(1),
  Endpoint: z.string().min(1).max(100),
  Weight: weight.optional().describe('Its share of new connections. An endpoint that is there already takes it.'),
});

/** POST /vipmesh/tasks: what `vipmesh run` asks for before it starts its command. */
export const runTaskRequest = z.strictObject({
  Service: z.string().min(1),
  /** In the order in which names are looked up; absent: every network of the service. */
  Networks: z.array(z.string().min(1)).min(1).max(64).optional(),
  Name: z.string().optional(),
  Hostname: z.string().max(253).optional(),
  /** Where the task will listen, when that is not its target port. */
  Port: port.optional(),
  Aliases: z.array(z.string()).max(100).optional(),
  Publish: z.array(dockerPort).max(1000).optional().describe(PUBLISH_TEXT),
  Weight: weight.optional(),
  Addresses: z.array(z.string().max(64)).max(200).optional().describe('At most one for each subnet of the networks.'),
  /** The agent was away: the task exists, and its command runs already. */
  Resume: z.strictObject({ TaskID: z.string(), PID: z.number().int().positive().optional() }).optional(),
});
export type RunTaskRequest = z.infer<typeof runTaskRequest>;

/** POST /vipmesh/attachments: a container that something else started, named by its `PID` or the path of its namespace. */
export const attachRequest = z.strictObject({
  Service: z.string().min(1),
  PID: z.number().int().positive().optional(),
  Netns: z.string().startsWith('/', 'expected an absolute path').max(4096).optional(),
  Networks: z
    .array(z.string().min(1))
    .min(1)
    .max(100)
    .optional()
    .describe('In the order in which names are looked up. Absent: every network of the service.'),
  Name: z.string().optional(),
  Hostname: z.string().max(253).optional(),
  Port: port.optional().describe('Where the container listens, when that is not the target port.'),
  Aliases: aliases.optional(),
  Publish: z.array(dockerPort).max(1000).optional().describe(PUBLISH_TEXT),
  Weight: weight.optional().describe('Its share of new connections; 1 is the default, 0 is none.'),
  Addresses: z.array(z.string().max(64)).max(200).optional().describe('At most one for each subnet of the networks.'),
});
export type AttachRequest = z.infer<typeof attachRequest>;

/** The answer to it, and what GET /vipmesh/attachments lists. */
export const attachment = z.object({
  ID: z.string(),
  Name: z.string(),
  Service: z.string(),
  PID: z.number().optional(),
  Netns: z.string().optional(),
  Addresses: z.array(z.object({ Network: z.string(), Address: z.string() })),
});

export const attached = attachment.extend({ Warnings: z.array(z.string()) });
