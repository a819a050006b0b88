// What `vipmesh status` says: how the agent is, and in a cluster how the store is and what each node has in effect.
import { z } from 'zod';
import { frontend } from './schema.ts';

export const clusterStatus = z.object({
  Store: z.object({
    /** Without user and password. */
    Endpoints: z.array(z.string()),
    Prefix: z.string(),
    Connected: z.boolean(),
    /** When that began; RFC 3339. */
    Since: z.string(),
    Error: z.string().optional(),
    /** What is served was read from this node's own copy, and the store has not answered since. */
    ServingCopy: z.boolean(),
  }),
  Nodes: z.array(
    z.object({
      ID: z.string(),
      Name: z.string(),
      Self: z.boolean(),
      State: z.enum(['ready', 'unknown', 'down']),
      Availability: z.enum(['active', 'pause', 'drain']),
      Address: z.string(),
      /** The newest commit that is in effect there; absent: it has not answered. */
      Revision: z.number().optional(),
      /** How many commits that is behind this node. */
      Behind: z.number().optional(),
      /** Milliseconds. */
      RoundTrip: z.number().optional(),
      /** From a commit to its being in effect there, in milliseconds, over the last ten minutes. */
      P50: z.number().optional(),
      P99: z.number().optional(),
    }),
  ),
});
export type ClusterStatus = z.infer<typeof clusterStatus>;

/** GET /vipmesh/status. Times in milliseconds since the epoch or, where named so, durations. */
export const agentStatus = z.object({
  Version: z.string(),
  PID: z.number(),
  Node: z.object({ ID: z.string(), Name: z.string() }),
  Privileged: z.boolean(),
  StartedAt: z.string(),
  State: z.enum(['starting', 'ready', 'draining']),
  Socket: z.string(),
  StateDir: z.string(),
  Admin: z.string(),
  /** The newest commit that the agent knows. */
  Revision: z.number(),
  /** Everything up to this commit is in effect in every worker: names are answered and connections sent accordingly. */
  AppliedRevision: z.number(),
  DNS: z.object({
    Listen: z.array(z.string()),
    /** Asked in this order for names that are not ours. */
    Upstreams: z.array(z.string()),
    /** Asked instead for names that end in a suffix; the longest decides. */
    Routes: z.array(z.object({ Suffix: z.string(), Upstreams: z.array(z.string()) })),
    /** Each of these servers once. Silent: some worker got no answer lately. Loop: it asks us what we ask it. */
    Servers: z.array(
      z.object({
        Address: z.string(),
        State: z.enum(['unused', 'answers', 'silent', 'loop']),
        Questions: z.number(),
        Answers: z.number(),
      }),
    ),
    /** What is kept of their answers, over all workers, and the most bytes that it may take. */
    Cache: z.object({ Entries: z.number(), Bytes: z.number(), Limit: z.number() }),
  }),
  Workers: z.array(
    z.object({ ID: z.number(), State: z.enum(['running', 'restarting']), Connections: z.number(), Flows: z.number() }),
  ),
  Stacks: z.array(
    z.object({
      Name: z.string(),
      File: z.string(),
      State: z.enum(['applied', 'rejected']),
      Error: z.string().optional(),
    }),
  ),
  Counts: z.object({
    Networks: z.number(),
    Services: z.number(),
    Tasks: z.number(),
    EligibleTasks: z.number(),
  }),
  Frontends: z.array(frontend),
  /** Absent on a node that is alone. */
  Cluster: clusterStatus.optional(),
  Warnings: z.array(z.string()),
});
export type AgentStatus = z.infer<typeof agentStatus>;

/** GET /vipmesh/dns/cache: what the resolver keeps of upstreams' answers, the newest first. */
export const dnsCache = z.object({
  Entries: z.array(
    z.object({
      Name: z.string(),
      Type: z.string(),
      /** Stale: its time is over, and it stands in when nobody answers. Failed: nobody answered. */
      State: z.enum(['fresh', 'stale', 'failed']),
      /** Seconds until it ends or, of a failure, until it is asked again; negative when its time is over. */
      Left: z.number(),
      Rcode: z.string(),
      /** Records in its answer. */
      Answers: z.number(),
      Bytes: z.number(),
      /** Each worker keeps its own. */
      Worker: z.number(),
    }),
  ),
  /** How many there are, shown or not. */
  Total: z.number(),
});
export type DnsCacheListing = z.infer<typeof dnsCache>;

/** POST /vipmesh/dns/cache/flush. */
export const flushRequest = z.strictObject({
  /** This name and those below it; absent: everything. */
  Below: z.string().min(1).max(254).optional(),
});
export const flushed = z.object({ Forgotten: z.number() });

/** GET /vipmesh/connections: what this node's data path has open, the oldest first. */
export const connectionListing = z.object({
  Connections: z.array(
    z.object({
      /** Empty while it is not known yet. */
      Service: z.string(),
      Protocol: z.enum(['tcp', 'udp']),
      /** Each `ADDRESS:PORT`. */
      Client: z.string(),
      /** What the client connected to. */
      Frontend: z.string(),
      /** Absent while there is none; without a port while it is being connected to. */
      Endpoint: z.string().optional(),
      Task: z.string().optional(),
      /** Milliseconds since the client came. */
      AgeMs: z.number(),
      BytesToEndpoint: z.number(),
      BytesToClient: z.number(),
      /**
       * Stalled: one side does not read, and the other waits for it. Client-ended, endpoint-ended: that side sends no more.
       * Waiting: a UDP flow that nobody has answered yet.
       */
      State: z.enum(['connecting', 'open', 'stalled', 'client-ended', 'endpoint-ended', 'waiting']),
      Worker: z.number(),
    }),
  ),
  /** How many there are, shown or not. */
  Total: z.number(),
});
export type ConnectionListing = z.infer<typeof connectionListing>;

const counted = {
  /** Connections and flows, now and since the agent started. */
  Open: z.number(),
  Total: z.number(),
  /** Attempts to connect to an endpoint that failed. */
  Failures: z.number(),
  BytesToClient: z.number(),
  BytesToEndpoint: z.number(),
};

/** GET /vipmesh/traffic: what this node's data path has moved; two readings make a rate. */
export const trafficReading = z.object({
  /** When, in milliseconds on a clock that only goes forward. */
  AtMs: z.number(),
  Services: z.array(
    z.object({
      Name: z.string(),
      ...counted,
      /** Clients that were reset because no endpoint could be reached. */
      Refused: z.number(),
      Endpoints: z.array(
        z.object({
          Task: z.string(),
          Network: z.string(),
          Address: z.string(),
          Eligible: z.boolean(),
          /** Not chosen for a while, because connecting to it failed. */
          Ejected: z.boolean(),
          ...counted,
        }),
      ),
    }),
  ),
});
export type TrafficReading = z.infer<typeof trafficReading>;
