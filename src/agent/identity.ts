// Who this node is: how its things are called in the kernel, and, in a cluster, which of the nodes it is.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { NodeId } from '../model/node.ts';

/** Six letters and digits, the same at every start of one agent (the id is kept in its store), another for every other. */
export function kernelInstance(nodeId: NodeId): string {
  return createHash('sha256').update(nodeId).digest('hex').slice(0, 6);
}

/** What a node of a cluster remembers without the store. */
export interface Identity {
  readonly nodeId: NodeId;
  /** Of the agent's run that wrote this. */
  readonly instance: string;
  /** Of runs before it, oldest first, that may still be on record: no later one is known to have been put there. */
  readonly earlier: readonly string[];
  /** Base64. With it agents know each other's probes. */
  readonly probeKey: string;
}

const instance = z.string().regex(/^[0-9a-f]{16}$/);
const identity: z.ZodType<Identity> = z.object({
  nodeId: z.custom<NodeId>((value) => typeof value === 'string' && /^[a-z0-9]{25}$/.test(value)),
  instance,
  earlier: z.array(instance).default([]),
  probeKey: z.string().min(1),
});

/** Undefined when the node has never been one of a cluster. Throws an error that names the file when that is damaged. */
export function readIdentity(stateDir: string): Identity | undefined {
  const path = identityPath(stateDir);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return identity.parse(JSON.parse(text));
  } catch (error) {
    const message = `${path} is damaged; remove it, and the node finds itself again by its name in the store`;
    throw new Error(message, { cause: error });
  }
}

export function writeIdentity(stateDir: string, value: Identity): void {
  const path = identityPath(stateDir);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function identityPath(stateDir: string): string {
  return join(stateDir, 'node.json');
}
