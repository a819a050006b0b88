// What Docker's client asks about the node that answers: version, info, and what is known of images.
import { z } from 'zod';

const labels = z.record(z.string(), z.string());

export const dockerVersion = z.object({
  Platform: z.object({ Name: z.string() }),
  Components: z.array(z.object({ Name: z.string(), Version: z.string(), Details: labels })),
  Version: z.string(),
  ApiVersion: z.string(),
  MinAPIVersion: z.string(),
  Os: z.string(),
  Arch: z.string(),
  KernelVersion: z.string(),
});
export type DockerVersion = z.infer<typeof dockerVersion>;

/** GET /distribution/{image}/json */
export const dockerDistribution = z.object({
  Descriptor: z.object({ mediaType: z.string(), digest: z.string(), size: z.number() }),
  Platforms: z.array(z.never()),
});

export const dockerInfo = z.object({
  ID: z.string(),
  Name: z.string(),
  ServerVersion: z.string(),
  OSType: z.string(),
  Architecture: z.string(),
  KernelVersion: z.string(),
  NCPU: z.number(),
  MemTotal: z.number(),
  Labels: z.array(z.string()),
  Swarm: z.object({
    NodeID: z.string(),
    NodeAddr: z.string(),
    LocalNodeState: z.literal('active'),
    ControlAvailable: z.literal(true),
    Error: z.string(),
    Nodes: z.number(),
    Managers: z.number(),
  }),
  Plugins: z.object({ Network: z.array(z.string()) }),
  DockerRootDir: z.string(),
  OperatingSystem: z.string(),
  /** What Docker's client warns of when it is false, and what makes no difference here. */
  MemoryLimit: z.literal(true),
  SwapLimit: z.literal(true),
  KernelMemory: z.literal(true),
  OomKillDisable: z.literal(true),
  CpuCfsQuota: z.literal(true),
  CpuCfsPeriod: z.literal(true),
  CPUShares: z.literal(true),
  CPUSet: z.literal(true),
  IPv4Forwarding: z.literal(true),
  BridgeNfIptables: z.literal(true),
  BridgeNfIp6tables: z.literal(true),
  /** Whole sentences for whoever runs the agent. */
  Warnings: z.array(z.string()),
});
export type DockerInfo = z.infer<typeof dockerInfo>;
