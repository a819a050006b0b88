// Which processes live, by /proc. A process id alone names nobody: ids are used again, so its start time goes with it.
import { readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Since the boot, in ticks of 10 ms (USER_HZ, the same on all machines; proc(5), field 22 of stat). */
  readonly startTicks: number;
  /** Milliseconds since the epoch, as exact as the ticks. */
  readonly startedAt: number;
}

export interface ProcessTable {
  /** Undefined: there is no such process, or it has ended and waits for its parent. */
  find(pid: number): ProcessIdentity | undefined;
}

const TICK_MS = 10;

export const systemProcesses: ProcessTable = {
  find(pid) {
    const stat = readProc(`/proc/${pid}/stat`);
    const uptime = readProc('/proc/uptime');
    if (stat === undefined || uptime === undefined) return undefined;
    const startTicks = parseStartTicks(stat);
    if (startTicks === undefined) return undefined;
    const bootedAt = Date.now() - Number.parseFloat(uptime) * 1000;
    return { pid, startTicks, startedAt: bootedAt + startTicks * TICK_MS };
  },
};

/** Field 22 of /proc/PID/stat; undefined for a process that has ended (states Z and X). */
export function parseStartTicks(stat: string): number | undefined {
  // The second field is the program's name in parentheses, and may hold anything, parentheses included.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const start = Number(fields[19]);
  return state === 'Z' || state === 'X' || !Number.isInteger(start) ? undefined : start;
}

/** Whether `pid` is still the process it was then. */
export function isAlive(processes: ProcessTable, one: ProcessIdentity): boolean {
  return processes.find(one.pid)?.startTicks === one.startTicks;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
