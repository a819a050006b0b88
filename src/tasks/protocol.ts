// What the agent and `vipmesh run` say to each other about a task, and what `vipmesh attach` asks for. The API validates it at its edge, with the same shapes.
import type { PublishSpec } from '../model/port.ts';

/** What `vipmesh run` asks for before it starts its command. */
export interface RunTaskRequest {
  readonly Service: string;
  /** Absent: every network of the service. */
  readonly Networks?: readonly string[] | undefined;
  readonly Name?: string | undefined;
  readonly Hostname?: string | undefined;
  /** Where the task will listen, when that is not its target port. */
  readonly Port?: number | undefined;
  readonly Aliases?: readonly string[] | undefined;
  /** Ports that the service publishes from now on; one that does not exist is made. */
  readonly Publish?: readonly PublishSpec[] | undefined;
  /** Its share of new connections; absent: 1. */
  readonly Weight?: number | undefined;
  /** At most one for each subnet of the networks. */
  readonly Addresses?: readonly string[] | undefined;
  /** The agent was away: the task exists, and its command runs already. */
  readonly Resume?: { readonly TaskID: string; readonly PID?: number | undefined } | undefined;
}

/** What the user names of a container: one of its processes, or the path of its network namespace; one of the two. */
export interface ContainerPlace {
  readonly PID?: number | undefined;
  readonly Netns?: string | undefined;
}

/** What `vipmesh attach` asks for. */
export interface AttachRequest extends ContainerPlace {
  readonly Service: string;
  /** In the order in which names are looked up; absent: every network of the service. */
  readonly Networks?: readonly string[] | undefined;
  readonly Name?: string | undefined;
  readonly Hostname?: string | undefined;
  /** Where the container listens, when that is not the target port. */
  readonly Port?: number | undefined;
  readonly Aliases?: readonly string[] | undefined;
  /** Ports that the service publishes from now on; one that does not exist is made. */
  readonly Publish?: readonly PublishSpec[] | undefined;
  /** Its share of new connections; absent: 1. */
  readonly Weight?: number | undefined;
  /** At most one for each subnet of the networks. */
  readonly Addresses?: readonly string[] | undefined;
  /** The engine's container that it is; said by who follows the engine, never asked for over the API. */
  readonly Container?: { readonly ID: string; readonly HasCheck: boolean } | undefined;
}

export interface PreparedEvent {
  readonly Event: 'prepared';
  readonly TaskID: string;
  readonly Name: string;
  readonly Service: string;
  readonly Addresses: { readonly Network: string; readonly Address: string }[];
  /** What the command finds in its environment besides its own. */
  readonly Env: Record<string, string>;
  /** Path of the network namespace to run the command in; absent: the node's own. */
  readonly Namespace?: string | undefined;
  /** What the command sees in place of the node's files: path → content. */
  readonly Files?: Record<string, string> | undefined;
  readonly Hostname?: string | undefined;
  /** What the user should know, as whole sentences. */
  readonly Notes?: string[] | undefined;
}

export type TaskEvent =
  | PreparedEvent
  /** Run this inside the task, and tell its exit code under this number. */
  | {
      readonly Event: 'probe';
      readonly Number: number;
      readonly Command: string[];
      readonly Shell: boolean;
      readonly TimeoutMs: number;
    }
  /** The task is to end: stop the command. */
  | { readonly Event: 'stop'; readonly Reason: string };

export interface ProbeOutcome {
  /** 0: healthy. */
  readonly exitCode: number;
  /** At most PROBE_OUTPUT_BYTES. */
  readonly output: string;
}

/** Enough for an error message and a stack trace; what a check writes is kept only to be shown to people. */
export const PROBE_OUTPUT_BYTES = 4096;
