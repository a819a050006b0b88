// What the commands about labs are given, and what they begin with.
import { CliError } from '../shell.ts';
import { findProgram } from '../programs.ts';
import type { LabProcess, LabRecord } from './record.ts';
import { identify, isAlive, type Processes } from './processes.ts';

/** What an agent makes in the kernel, by the id of its node. */
export interface AgentTraces {
  /** What the names of its namespaces begin with. */
  readonly prefix: string;
  /** Removes everything that a killed agent left: namespaces, the links and the table in the machine's own namespace. */
  remove(): Promise<void>;
}

/** What the machine is asked, beside the programs that are run. */
export interface LabMachine {
  readonly processes: Processes;
  /** Which node the agent with this state directory is; undefined when it has not found out. */
  nodeIdIn(stateDir: string): string | undefined;
  tracesOf(nodeId: string): AgentTraces;
}

export interface LabWorld {
  readonly machine: LabMachine;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user has had enough of it. */
  readonly stop: AbortSignal;
}

/** Program → Debian package. */
const PACKAGES = { ip: 'iproute2', nsenter: 'util-linux', etcd: 'etcd-server' };

export function needRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new CliError('FAILED', 'a lab is made of network namespaces, for which this must be root; use sudo');
}

export function needPrograms(): void {
  const missing = Object.entries(PACKAGES).filter(([program]) => findProgram(program) === undefined);
  if (missing.length === 0) return;
  const programs = missing.map(([program]) => program).join(', ');
  const packages = missing.map(([, name]) => name).join(' ');
  throw new CliError('FAILED', `a lab needs ${programs}; install it, on Debian with: apt-get install ${packages}`);
}

/** Claims the lab for this process. Throws CliError when another one is at it. */
export function occupy(world: LabWorld, record: LabRecord): void {
  const { busy, name } = record.lab;
  if (busy !== undefined && busy.pid !== process.pid && isAlive(world.machine.processes, busy)) {
    throw new CliError(
      'FAILED',
      `the lab "${name}" is being made or removed by another command (pid ${busy.pid}); wait for it, or stop it first`,
    );
  }
  record.change({ busy: selfOf(world) });
}

export function selfOf({ machine }: LabWorld): LabProcess | undefined {
  return identify(machine.processes, process.pid);
}
