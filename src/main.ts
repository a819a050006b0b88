#!/usr/bin/env node
// argv → the agent or one CLI command; the only place that ends the process.
import { readFileSync } from 'node:fs';
import { availableParallelism, homedir, hostname } from 'node:os';
import { readIdentity } from './agent/identity.ts';
import { EGRESS_LINKS, namespacesOf } from './agent/traces.ts';
import type { FlagValues } from './cli/agent.ts';
import { runProgram } from './cli/program.ts';
import type { Shell } from './cli/shell.ts';
import { type Machine, parseConfig, SETTINGS } from './config.ts';
import type { NodeId } from './model/node.ts';
import { enterContainer } from './native/container-entry.ts';
import { programVersion } from './runtime/version.ts';
import { systemProcesses } from './tasks/process-table.ts';
import { resolvConfOf } from './tasks/container-dns.ts';
import { runProbe, startCommand } from './tasks/spawn.ts';
import { terminalPlace } from './tasks/terminal.ts';

const shell: Shell = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  env: process.env,
  now: () => Date.now(),
  fail: () => undefined,
};

/** The data plane is loaded only by those who need it: a command that asks the agent is to be quick. */
async function startAgent(flags: FlagValues): Promise<number> {
  const config = parseConfig(flags, machine());
  const { runAgent } = await import('./agent.ts');
  return runAgent(config);
}

function machine(): Machine {
  return {
    env: process.env,
    uid: process.getuid?.() ?? 0,
    home: homedir(),
    cwd: process.cwd(),
    hostname: hostname(),
    cpus: availableParallelism(),
    stderrIsTerminal: process.stderr.isTTY === true,
    resolvConf: readResolvConf(),
  };
}

function readResolvConf(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}

// A reader that has seen enough (`vipmesh service ls | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exit(
  await runProgram(process.argv.slice(2), shell, {
    version: programVersion(),
    agentFlags: SETTINGS,
    startAgent,
    runner: {
      enter: enterContainer,
      start: startCommand,
      probe: runProbe,
      terminal: () => terminalPlace(process.stdin.isTTY === true),
    },
    lab: {
      processes: systemProcesses,
      nodeIdIn: (stateDir) => readIdentity(stateDir)?.nodeId,
      tracesOf: (nodeId) => ({
        prefix: namespacesOf(nodeId as NodeId),
        remove: async () => (await import('./agent/leftovers.ts')).removeLeftovers(nodeId as NodeId),
      }),
    },
    doctor: {
      settings: (env) => parseConfig({}, { ...machine(), env }),
      facilities: async () => (await import('./agent/facilities.ts')).tryFacilities(),
      network: async (isRoot, address) => (await import('./agent/node-network.ts')).readNodeNetwork(isRoot, address),
      paths: async (addresses, port, size) => (await import('./agent/path-check.ts')).checkPaths(addresses, port, size),
      clock: async () => (await import('./agent/clock-state.ts')).readClockState(),
      droppingChains: async () => (await import('./agent/nftables-listing.ts')).listDroppingChains(EGRESS_LINKS),
      resolvConfOf,
    },
    cleanup: {
      survey: async (force) => (await import('./agent/cleanup.ts')).surveyRemains(force),
      remove: async (remnant) => (await import('./agent/cleanup.ts')).removeRemnant(remnant),
    },
  }),
);
