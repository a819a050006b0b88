#!/usr/bin/env node
// argv → the agent or one CLI command; the only place that ends the process. What is not needed is not loaded: a command that
// asks the agent is to be quick.
import { readFileSync } from 'node:fs';
import { availableParallelism, homedir, hostname } from 'node:os';
import { type AgentParts, runQuickly } from './cli/quick.ts';
import type { CommandRunner } from './cli/run-session.ts';
import type { Shell } from './cli/shell.ts';
import type { Machine } from './config.ts';
import type { NodeId } from './model/node.ts';
import { enterContainer } from './native/container-entry.ts';
import { programVersion } from './runtime/version.ts';
import { runProbe, startCommand } from './tasks/spawn.ts';
import { terminalPlace } from './tasks/terminal.ts';

const shell: Shell = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  env: process.env,
  now: () => Date.now(),
  fail: () => undefined,
};

const runner: CommandRunner = {
  enter: enterContainer,
  start: startCommand,
  probe: runProbe,
  terminal: () => terminalPlace(process.stdin.isTTY === true),
};

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

async function agentParts(): Promise<AgentParts> {
  const { parseConfig, SETTINGS } = await import('./config.ts');
  return {
    flags: SETTINGS,
    start: async (values) => {
      const config = parseConfig(values, machine());
      const { runAgent } = await import('./agent.ts');
      return runAgent(config);
    },
  };
}

async function runAll(words: readonly string[], version: string): Promise<number> {
  const { runProgram } = await import('./cli/program.ts');
  const { parseConfig } = await import('./config.ts');
  const { flags, start } = await agentParts();
  const { readIdentity } = await import('./agent/identity.ts');
  const { EGRESS_LINKS, namespacesOf } = await import('./agent/traces.ts');
  const { resolvConfOf } = await import('./tasks/container-dns.ts');
  const { systemProcesses } = await import('./tasks/process-table.ts');
  return runProgram(words, shell, {
    version,
    agentFlags: flags,
    startAgent: start,
    runner,
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
    screenLines: () => (process.stdout.isTTY === true ? process.stdout.rows : undefined),
    cleanup: {
      survey: async (force) => (await import('./agent/cleanup.ts')).surveyRemains(force),
      remove: async (remnant) => (await import('./agent/cleanup.ts')).removeRemnant(remnant),
    },
  });
}

// A reader that has seen enough (`vipmesh service ls | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const words = process.argv.slice(2);
const version = programVersion();
process.exit(
  (await runQuickly(words, shell, { version, runner, agent: agentParts })) ?? (await runAll(words, version)),
);
