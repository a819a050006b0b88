// What is known of a lab, in a file: written before anything is made, so that whatever was made can be found and removed, also
// by another process and after the one that made it was killed.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { CliError } from '../shell.ts';

/** Root's alone, and gone after a restart of the machine, as labs are. */
export const LABS = '/run/vipmesh-lab';

const process = z.strictObject({
  pid: z.number(),
  /** Since the boot, in ticks of 10 ms: process ids are used again. */
  startTicks: z.number(),
});

const node = z.strictObject({
  name: z.string(),
  /** Absent: the machine's own, in which `lab up` ran. */
  namespace: z.string().optional(),
  address: z.string(),
  socket: z.string(),
  /** State and log of its agent. */
  folder: z.string(),
  /** Its namespace and link are as they should be. */
  isWired: z.boolean(),
  agent: process.optional(),
  /** As its agents told them: by these, what they left in the kernel is known. More than one when the node was wiped. */
  nodeIds: z.array(z.string()),
});

const lab = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  subnet: z.string(),
  /** Everything that is written for the lab. */
  folder: z.string(),
  /** The `lab up` or `lab down` that is at it. */
  busy: process.optional(),
  isWired: z.boolean(),
  /** Further flags of the agents. */
  agentFlags: z.array(z.string()),
  /** `ADDRESS:PORT` */
  etcd: z.strictObject({ endpoint: z.string(), folder: z.string(), process: process.optional() }),
  nodes: z.array(node),
});

export type LabProcess = z.infer<typeof process>;
export type LabNode = z.infer<typeof node>;
export type Lab = z.infer<typeof lab>;

/** Where the sockets of a lab's agents are, except the first one's. */
export function socketFolder(name: string): string {
  return join(LABS, name);
}

/** Names of all labs of this machine. */
export function labNames(): readonly string[] {
  try {
    return readdirSync(LABS)
      .flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -'.json'.length)] : []))
      .sort();
  } catch {
    return [];
  }
}

/** A lab's file, and what stands in it. */
export class LabRecord {
  #lab: Lab;

  private constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** Throws CliError when there is one of that name. */
  static create(first: Lab): LabRecord {
    mkdirSync(LABS, { recursive: true, mode: 0o755 });
    try {
      writeFileSync(fileOf(first.name), textOf(first), { flag: 'wx', mode: 0o600 });
    } catch (cause) {
      throw unwritable(first.name, cause);
    }
    return new LabRecord(first);
  }

  /** Undefined when there is none of that name. Throws CliError for a file that is damaged. */
  static open(name: string): LabRecord | undefined {
    const file = fileOf(name);
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      return undefined;
    }
    try {
      return new LabRecord(lab.parse(JSON.parse(text)));
    } catch (cause) {
      throw damaged(file, cause);
    }
  }

  get lab(): Lab {
    return this.#lab;
  }

  node(name: string): LabNode {
    const found = this.#lab.nodes.find((one) => one.name === name);
    if (found === undefined) {
      const names = this.#lab.nodes.map((one) => one.name).join(', ');
      throw new CliError('FAILED', `the lab "${this.#lab.name}" has no node "${name}"; it has ${names}`);
    }
    return found;
  }

  change(part: Partial<Lab>): void {
    this.#lab = { ...this.#lab, ...part };
    const file = fileOf(this.#lab.name);
    writeFileSync(`${file}.new`, textOf(this.#lab), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  changeNode(name: string, part: Partial<LabNode>): void {
    this.change({ nodes: this.#lab.nodes.map((one) => (one.name === name ? { ...one, ...part } : one)) });
  }

  remove(): void {
    for (const file of [`${fileOf(this.#lab.name)}.new`, fileOf(this.#lab.name)]) rmSync(file, { force: true });
    try {
      rmdirSync(LABS);
    } catch {
      // There is another lab.
    }
  }
}

function fileOf(name: string): string {
  return join(LABS, `${name}.json`);
}

function textOf(value: Lab): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function unwritable(name: string, cause: unknown): CliError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new CliError('FAILED', `the lab "${name}" cannot be written down: ${why}`, { cause });
}

function damaged(file: string, cause: unknown): CliError {
  return new CliError(
    'FAILED',
    `${file} is damaged, or of another version of vipmesh; remove it, and \`vipmesh lab down\` removes the namespaces of the lab`,
    { cause },
  );
}
