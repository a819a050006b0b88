// What `vipmesh status` says of a cluster: how the store is, and what each node has in effect.
import { z } from 'zod';

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
